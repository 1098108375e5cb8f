"""Check that events, network and replicas of a scenario fit each other, so that every message has a route."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import combinations, pairwise

from simcluster.costs.collectives import available
from simcluster.files.problems import nearest
from simcluster.noise.experts import MAX_EXPERTS
from simcluster.scenario.drawn import devices_drawn, drawn_sources
from simcluster.scenario.resolved import Event, Fault, Group, Hop, Network, Pool, ReplicaLayout, Scenario

MAX_EVENT_DEVICES = 100_000
"""Devices of all events together: each is written out in the resolved scenario, which must stay readable."""

_CONCERNS = {"device_slow": "devices", "device_down": "devices", "link_slow": "link", "link_down": "link",
         "transfer": "ends"}  # fmt: skip
"""The one key that says what an event concerns, by kind."""
_TIMES = (["at_s"], ["at_s", "lasts_s"], ["mtbf_s", "mttr_s"])


def crosscheck(scenario: Scenario) -> Iterator[Fault]:
    """What cannot be true together in events, network and replicas; paths are those of the resolved scenario."""
    for number, event in enumerate(scenario.events):
        for path, found, expected in _of_event(event):
            yield ("events", number, *path), found, expected
    n_devices = sum(len(event.devices) for event in scenario.events)
    if n_devices > MAX_EVENT_DEVICES:
        yield ("events",), f"{n_devices:,} devices, one by one", f"expected at most {MAX_EVENT_DEVICES:,}"
    yield from _of_source_seeds(scenario)
    n_experts = max((pool.model.moe.experts for pool in scenario.pools if pool.model.moe is not None), default=0)
    if "moe_routing" in drawn_sources(scenario) and n_experts > MAX_EXPERTS:
        found = f"moe_routing of {n_experts:,} experts"
        yield ("noise",), found, f"expected at most {MAX_EXPERTS:,}, or it among the sources that are left out"
    network = scenario.network
    if network is None:
        if scenario.events:
            yield ("network",), f"none for {len(scenario.events):,} events", "expected the graph that they are on"
        if scenario.fidelity == "message":
            yield ("network",), "none for fidelity message", "expected the graph that messages go over"
        return
    faults = list(_of_network(network))
    yield from faults
    if not faults:
        yield from _of_ways(scenario, _Graph(network))


def _of_source_seeds(scenario: Scenario) -> Iterator[Fault]:
    """Seeds of what nothing in the scenario draws."""
    drawn = drawn_sources(scenario)
    for name in scenario.source_seeds:
        source, _, device = name.partition("/")
        if source not in drawn:
            expected = f"expected one of {', '.join(drawn)}" if drawn else "expected none: nothing is drawn"
            yield ("source_seeds", name), f"'{source}', which is not drawn here", expected
        elif device and device not in (devices := devices_drawn(scenario, source)):
            yield ("source_seeds", name), f"'{device}' draws no {source}", nearest(device, devices)


def _of_event(event: Event) -> Iterator[Fault]:
    """What an event of its kind lacks, or should not have."""
    for key in ("devices", "link", "ends"):
        is_there, belongs = bool(getattr(event, key)), _CONCERNS[event.kind] == key
        if is_there != belongs:
            yield (key,), f"{event.kind} with{'' if is_there else 'out'} {key}", f"expected {_CONCERNS[event.kind]}"
    is_transfer = event.kind == "transfer"
    times = [key for key in ("at_s", "lasts_s", "mtbf_s", "mttr_s") if getattr(event, key) is not None]
    if times not in (_TIMES[:1] if is_transfer else _TIMES):
        expected = "expected at_s" if is_transfer else "expected at_s, with or without lasts_s, or mtbf_s with mttr_s"
        yield (), f"{event.kind} with {' and '.join(times) or 'no time'}", expected
    if event.every_s is not None and not is_transfer:
        yield ("every_s",), f"of a {event.kind}", "expected it of transfers only"
    if (event.n_bytes > 0) != is_transfer:
        yield ("n_bytes",), f"{event.n_bytes:g} of a {event.kind}", "expected bytes of transfers, and only of these"
    if event.extra_latency_s and event.kind != "link_slow":
        yield ("extra_latency_s",), f"of a {event.kind}", "expected it of link_slow only"
    least, most = {"device_slow": (1.0, 1000.0), "link_slow": (0.001, 1.0)}.get(event.kind, (1.0, 1.0))
    if not least <= event.factor <= most:
        yield ("factor",), f"{event.factor:g} of a {event.kind}", f"expected from {least:g} to {most:g}"


def _of_network(network: Network) -> Iterator[Fault]:
    """Repeated nodes and links, links from a node to itself or to one that is not there."""
    names: set[str] = set()
    for number, node in enumerate(network.nodes):
        if node.name in names:
            yield ("network", "nodes", number), f"repeated node '{node.name}'", "expected every name once"
        names.add(node.name)
    joined: set[frozenset[str]] = set()
    for number, link in enumerate(network.links):
        at = ("network", "links", number)
        for key, name in (("a", link.a), ("b", link.b)):
            if name not in names:
                yield (*at, key), f"no node '{name}'", "expected the name of a node"
        ends = frozenset((link.a, link.b))
        if len(ends) == 1:
            yield at, f"a link from '{link.a}' to itself", "expected two different nodes"
        elif ends in joined:
            yield at, f"a second link between '{link.a}' and '{link.b}'", "expected one"
        joined.add(ends)


class _Graph:
    """A network by name: neighbours, and which nodes a path joins."""

    def __init__(self, network: Network) -> None:
        self.nodes = {node.name: node for node in network.nodes}
        self.neighbours: dict[str, set[str]] = {name: set() for name in self.nodes}
        for link in network.links:
            self.neighbours[link.a].add(link.b)
            self.neighbours[link.b].add(link.a)
        self._part: dict[str, str] = {}
        """For each node that forwards, the first node of its connected component among the nodes that forward."""
        for first in self.nodes:
            self._spread(first)

    def _spread(self, first: str) -> None:
        waiting = [first]
        while waiting:
            name = waiting.pop()
            if self.nodes[name].forwards and name not in self._part:
                self._part[name] = first
                waiting += self.neighbours[name]

    def reach(self, name: str) -> set[str]:
        """The parts that a node is in or at."""
        if name in self._part:
            return {self._part[name]}
        return {self._part[near] for near in self.neighbours[name] if near in self._part}

    def apart(self, names: tuple[str, ...]) -> tuple[str, str] | None:
        """Two of some nodes that no path joins; None when all are joined."""
        if set.intersection(*(self.reach(name) for name in names)):
            return None
        for a, b in combinations(names, 2):
            if b not in self.neighbours[a] and self.reach(a).isdisjoint(self.reach(b)):
                return a, b
        return None

    def switch(self, names: tuple[str, ...]) -> bool:
        """Whether a switch joins all of them."""
        common = set.intersection(*(self.neighbours[name] for name in names))
        return any(self.nodes[name].kind == "switch" for name in common)


def _of_ways(scenario: Scenario, graph: _Graph) -> Iterator[Fault]:
    """Devices that are not in the network, and messages that have no way through it."""
    for number, pool in enumerate(scenario.pools):
        for path, found, expected in _of_pool(pool, graph):
            yield ("pools", number, *path), found, expected
    for number, event in enumerate(scenario.events):
        for path, found, expected in _of_named(event, graph):
            yield ("events", number, *path), found, expected


def _of_pool(pool: Pool, graph: _Graph) -> Iterator[Fault]:
    """The same for the replicas of a pool, with paths within it."""
    for number, replica in enumerate(pool.replicas):
        for path, found, expected in _of_replica(pool.group, replica, graph):
            yield ("replicas", number, *path), found, expected
    if pool.weight_stream is not None:
        ends = (*pool.weight_stream.nodes[:1], pool.replicas[0].stages[0].devices[0])
        yield from _of_hop(("weight_stream", "nodes"), pool.weight_stream, ends, graph)
    yield from _of_nvls(pool, graph)


def _of_replica(group: Group | None, replica: ReplicaLayout, graph: _Graph) -> Iterator[Fault]:
    """Ranks and stages that are not in the network, or that it does not join."""
    unknown = False
    for index, stage in enumerate(replica.stages):
        at = ("stages", index, "devices")
        for place, name in enumerate(stage.devices):
            if name not in graph.nodes or graph.nodes[name].kind != "device":
                unknown = True
                yield (*at, place), f"'{name}' is not a device of the network", "expected one"
        if unknown:
            continue
        yield from _apart(at, stage.devices, graph)
        per_node = set(Counter(graph.nodes[name].group for name in stage.devices).values())
        if group is not None and group.across is not None and per_node != {group.ranks_per_node}:
            found = f"{', '.join(map(str, sorted(per_node)))} ranks in the groups of the network"
            yield at, found, f"expected {group.ranks_per_node} in each, as the exchange has it"
    if unknown:
        return
    firsts = [stage.devices[0] for stage in replica.stages]
    for index, ends in enumerate(pairwise(firsts)):
        hop = replica.stages[index].next_hop
        if hop is not None:
            yield from _of_hop(("stages", index, "next_hop", "nodes"), hop, ends, graph)
    if replica.return_hop is not None:
        yield from _of_hop(("return_hop", "nodes"), replica.return_hop, (firsts[-1], firsts[0]), graph)


def _of_hop(at: tuple[str | int, ...], hop: Hop, ends: tuple[str, ...], graph: _Graph) -> Iterator[Fault]:
    """A hop leads from one end to the other, and the network has a way between them."""
    if (*hop.nodes[:1], *hop.nodes[-1:]) != ends or any(name not in graph.nodes for name in ends):
        found = f"from '{hop.nodes[0]}' to '{hop.nodes[-1]}'" if hop.nodes else "no nodes"
        yield at, found, f"expected a way to '{ends[-1]}' between nodes of the network"
        return
    yield from _apart(at, ends, graph)


def _apart(at: tuple[str | int, ...], names: tuple[str, ...], graph: _Graph) -> Iterator[Fault]:
    """Two nodes that have to reach each other and do not."""
    apart = graph.apart(names)
    if apart is not None:
        yield at, f"no path joins '{apart[0]}' to '{apart[1]}'", "expected links that join them"


def _of_named(event: Event, graph: _Graph) -> Iterator[Fault]:
    """Devices, links and ends that are not in the network, and ends that it does not join."""
    for place, name in enumerate(event.devices):
        if name not in graph.nodes or graph.nodes[name].kind != "device":
            yield ("devices", place), f"'{name}' is not a device of the network", "expected one"
    if event.link is not None and event.link[1] not in graph.neighbours.get(event.link[0], ()):
        yield ("link",), f"no link between '{event.link[0]}' and '{event.link[1]}'", "expected one of the network"
    if event.ends is None:
        return
    unknown = [name for name in event.ends if name not in graph.nodes]
    for name in unknown:
        yield ("ends",), f"no node '{name}'", "expected nodes of the network"
    if event.ends[0] == event.ends[1]:
        yield ("ends",), f"from '{event.ends[0]}' to itself", "expected two different nodes"
    elif not unknown:
        yield from _apart(("ends",), event.ends, graph)


def _of_nvls(pool: Pool, graph: _Graph) -> Iterator[Fault]:
    """The all-reduce that the switch does, without a switch."""
    group, engine = pool.group, pool.engine
    if group is None or group.across is not None:
        return
    try:
        usable = available(group.inside.all_reduce, group.ranks_per_node, engine.launch, engine.all_reduce)
    except ValueError:
        return  # reported elsewhere
    if not any(fit.algorithm == "nvls" for fit in usable):
        return
    others = sorted({fit.algorithm for fit in group.inside.all_reduce} - {"nvls"})
    for stage in (stage for replica in pool.replicas for stage in replica.stages):
        known = all(name in graph.nodes for name in stage.devices)
        if known and len(stage.devices) > 1 and not graph.switch(stage.devices):
            found = f"{engine.all_reduce} may take nvls, and no switch joins {', '.join(stage.devices[:8])}"
            yield ("engine", "all_reduce"), found, f"expected one of {', '.join(others)}"
            return
