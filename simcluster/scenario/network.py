"""The graph of a scenario whose links are shared, change, or carry every message; and the events on it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from simcluster.catalog.device import DeviceKind
from simcluster.files.problems import InputError, nearest
from simcluster.files.source import Document
from simcluster.noise.sources import Noise, Source
from simcluster.scenario.resolved import Event, Fault, Network, NetworkLink, NetworkNode, ReplicaLayout
from simcluster.scenario.spec import EventSpec
from simcluster.topology.measure import forwards
from simcluster.topology.model import Topology
from simcluster.topology.routes import Routes
from simcluster.topology.sharing import links_shared

_MAX_HINTS = 50
"""Unknown names for which a neighbour is searched."""
_MAX_NEIGHBOURS = 10
"""Neighbours of a node that an error message names."""


def network(topology: Topology, replicas: Sequence[ReplicaLayout], needed: bool) -> Network | None:
    """The graph, if it is needed or replicas share links; without the interior of wafers."""
    n_groups = sum(len(replica.stages) for replica in replicas)
    laid = [[stage.devices for stage in replica.stages] for replica in replicas]
    if not needed and (n_groups == 1 or not any(links_shared(Routes(topology), laid))):
        return None
    graph = topology.plain
    nodes = [
        NetworkNode(name=name, kind=said["kind"], group=said["group"], forwards=forwards(graph, name))
        for name, said in graph.nodes(data=True)
        if said["kind"] != "die"
    ]
    names = {node.name for node in nodes}
    links = [
        NetworkLink(a=a, b=b, bytes_per_s=edge["bytes_per_s"], latency_s=edge["latency_s"])
        for a, b, edge in graph.edges(data=True)
        if a in names and b in names
    ]
    return Network(nodes=tuple(nodes), links=tuple(links))


def events(document: Document, specs: Mapping[int, EventSpec], topology: Topology) -> tuple[Event, ...]:
    """
    Resolve events: the devices of an enclosure become a list.

    Args:
        document: for the lines.
        specs: the events as written, by their place in it.
        topology: that they are on.

    Raises:
        InputError: they name what the topology does not have.
    """
    known = _Known(topology)
    problems = [
        document.problem(("events", number, *path), found, expected)
        for number, given in specs.items()
        for path, found, expected in known.faults(given)
    ]
    if problems:
        raise InputError(problems)
    return tuple(_event(given, known.enclosures) for given in specs.values())


def noise_events(noise: Noise, kinds: Mapping[str, DeviceKind], topology: Topology) -> Iterator[Event]:
    """
    List what noise does to devices in use and to links between enclosures, as random events.

    A link has the noise of the devices in use of its part of the topology: the first of them with that source.

    Args:
        noise: the sources.
        kinds: of the devices in use, by name in order of use.
        topology: that they are on.
    """
    nodes = topology.plain.nodes
    links = [(a, b) for a, b, _ in topology.plain.edges(data=True) if nodes[a]["group"] != nodes[b]["group"]]
    kinds_of: dict[str, dict[DeviceKind, None]] = {}
    for name, kind in kinds.items():
        kinds_of.setdefault(nodes[name].get("part", ""), {})[kind] = None

    def on_links(source: Source) -> Iterator[tuple[tuple[str, str], dict[str, Any]]]:
        for link in links:
            near = [kind for end in link for kind in kinds_of.get(nodes[end].get("part", ""), ())]
            found = [values for kind in near if (values := noise.values(source, kind)) is not None]
            if found:
                yield link, found[0]

    for link, load in on_links("background_load"):
        yield Event(
            kind="link_slow", link=link, factor=load["bandwidth"], at_s=None, mtbf_s=load["every_s"],
            mttr_s=load["lasts_s"], noise="background_load",
        )  # fmt: skip
    for name, kind in kinds.items():
        if (failures := noise.values("failures", kind)) is not None:
            yield Event(
                kind="device_down", devices=(name,), at_s=None, mtbf_s=failures["device_every_s"],
                mttr_s=failures["device_repair_s"], noise="failures",
            )  # fmt: skip
    for link, failures in on_links("failures"):
        yield Event(
            kind="link_down", link=link, at_s=None, mtbf_s=failures["link_every_s"],
            mttr_s=failures["link_repair_s"], noise="failures",
        )  # fmt: skip


class _Known:
    """What a topology has that an event can name."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._hints = 0
        nodes = topology.plain.nodes
        inside: dict[str, list[str]] = {}
        for name in topology.devices:
            inside.setdefault(nodes[name]["group"], []).append(name)
        self.enclosures = {group: tuple(names) for group, names in inside.items()}
        """Devices by enclosure."""
        self._devices = set(topology.devices)
        self._nodes = {name for name, said in nodes.items() if said["kind"] != "die"}

    def faults(self, given: EventSpec) -> Iterator[Fault]:
        """Path within the event, what was found and what would be right, of unknown names."""
        if given.device is not None:
            yield from self._unknown(("device",), "device", given.device, self._devices)
        if given.node is not None:
            yield from self._unknown(("node",), "enclosure", given.node, self.enclosures)
        for key, name in (("from", given.from_), ("to", given.to)):
            if name is not None:
                yield from self._unknown((key,), "node", name, self._nodes)
        if given.link is None:
            return
        a, b = given.link
        unknown = [
            fault
            for place, name in enumerate((a, b))
            for fault in self._unknown(("link", place), "node", name, self._nodes)
        ]
        yield from unknown
        if not unknown and not self._topology.plain.has_edge(a, b):
            neighbours = ", ".join(sorted(self._nodes.intersection(self._topology.plain.adj[a]))[:_MAX_NEIGHBOURS])
            yield ("link",), f"no link between {a} and {b}", f"{a} is joined to {neighbours or 'nothing'}"

    def _unknown(self, path: tuple[str | int, ...], what: str, name: str, known: Collection[str]) -> Iterator[Fault]:
        """A name that is not among those known; only for few names a neighbour is searched, which takes long."""
        if name in known:
            return
        self._hints += 1
        expected = f"expected one of topology {self._topology.name}"
        if self._hints <= _MAX_HINTS and len(known) <= 20 * _MAX_HINTS:
            hint = nearest(name[:80], known)
            expected = hint if hint.startswith("did") or len(known) <= _MAX_HINTS else expected
        yield path, f"no {what} '{name[:80]}'", expected


def _event(given: EventSpec, enclosures: Mapping[str, tuple[str, ...]]) -> Event:
    devices = (
        enclosures[given.node] if given.node is not None else (given.device,) if given.device is not None else ()
    )
    ends = None if given.from_ is None or given.to is None else (given.from_, given.to)
    return Event(
        kind=given.kind,
        devices=devices,
        link=None if given.link is None else (given.link[0], given.link[1]),
        ends=ends,
        factor=given.times_slower or given.bandwidth or 1.0,
        extra_latency_s=given.extra_latency or 0.0,
        n_bytes=given.size or 0.0,
        at_s=given.at,
        lasts_s=given.lasts,
        every_s=given.every,
        mtbf_s=given.mtbf,
        mttr_s=given.mttr,
    )
