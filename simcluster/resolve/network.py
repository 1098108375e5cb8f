"""The graph of a scenario whose links are shared, change, or carry every message; and what happens on it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from simcluster.problems import InputError, nearest
from simcluster.scenario import Event, Network, NetworkLink, NetworkNode, Replica
from simcluster.source import Document
from simcluster.spec import Happening
from simcluster.topology.measure import forwards
from simcluster.topology.model import Topology
from simcluster.topology.routes import Routes
from simcluster.topology.sharing import links_shared


def network(topology: Topology, replicas: Sequence[Replica], needed: bool) -> Network | None:
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


def events(document: Document, happenings: Sequence[Happening], topology: Topology) -> tuple[Event, ...]:
    """
    Happenings with their devices by name.

    Raises:
        InputError: they name what the topology does not have.
    """
    found, problems = [], []
    for number, given in enumerate(happenings):
        faults = list(_unknown(given, topology))
        problems += [document.problem(("events", number, key), *fault) for key, *fault in faults]
        if not faults:
            found.append(_event(given, topology))
    if problems:
        raise InputError(problems)
    return tuple(found)


def _unknown(given: Happening, topology: Topology) -> Iterator[tuple[str, str, str]]:
    """Key, what was found and what would be right, of names that are not in the topology."""
    graph = topology.plain
    if given.device is not None and given.device not in topology.devices:
        yield "device", f"no device '{given.device}'", nearest(given.device, topology.devices)
    enclosures = {said["group"] for name, said in graph.nodes(data=True) if said["kind"] == "device"}
    if given.node is not None and given.node not in enclosures:
        yield "node", f"no enclosure '{given.node}'", nearest(given.node, enclosures)
    ends = [("link", name) for name in given.link or ()]
    ends += [(key, name) for key, name in (("from", given.from_), ("to", given.to)) if name is not None]
    known = [name for name, said in graph.nodes(data=True) if said["kind"] != "die"]
    unknown = [(key, name) for key, name in ends if name not in known]
    for key, name in unknown:
        yield key, f"no node '{name}'", nearest(name, known)
    if given.link is not None and not unknown and not graph.has_edge(*given.link):
        neighbours = ", ".join(sorted(graph.adj[given.link[0]])[:10])
        yield "link", f"no link between {' and '.join(given.link)}", f"{given.link[0]} is joined to {neighbours}"


def _event(given: Happening, topology: Topology) -> Event:
    devices: tuple[str, ...] = () if given.device is None else (given.device,)
    if given.node is not None:
        nodes = topology.plain.nodes
        devices = tuple(name for name in topology.devices if nodes[name]["group"] == given.node)
    is_transfer = given.from_ is not None and given.to is not None
    return Event(
        kind=given.kind,
        devices=devices,
        link=None if given.link is None else (given.link[0], given.link[1]),
        ends=(str(given.from_), str(given.to)) if is_transfer else None,
        factor=given.times_slower or given.bandwidth,
        extra_latency_s=given.extra_latency,
        n_bytes=given.size or 0.0,
        at_s=given.at,
        lasts_s=given.lasts,
        every_s=given.every,
        mtbf_s=given.mtbf,
        mttr_s=given.mttr,
    )
