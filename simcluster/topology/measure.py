"""
Measures of a topology: paths, distances, the bisection, and the fabric that a group of devices shares.

All of them hold for the idle graph. Hosts and memories send and receive, but no path leads through them, nor through
a node with `forwards: false`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import fsum
from typing import Any, NamedTuple

import numpy as np

from simcluster.files.problems import nearest
from simcluster.numerics.arrays import Floats, Integers
from simcluster.numerics.ticks import to_ticks
from simcluster.topology.graph import Graph
from simcluster.topology.model import ENDPOINTS, Topology


@dataclass(frozen=True)
class Route:
    """A path through a topology, from its first node to its last."""

    nodes: tuple[str, ...]
    links: tuple[str, ...]
    """Catalogue name, or '', of each edge of the path."""
    latency_s: float
    """Sum over the edges."""
    bytes_per_s: float
    """Bandwidth of the narrowest edge, in one direction; infinite without an edge."""


def path(topology: Topology, a: str, b: str) -> Route:
    """
    Find the path of messages between two nodes: fewest edges, then lowest latency, then nodes created first.

    Raises:
        ValueError: a node is not in the topology, or no path joins them.
    """
    graph = topology.plain
    for name in (a, b):
        if name not in graph:
            raise ValueError(f"no node '{name}' in topology {topology.name}; {nearest(name, topology.devices)}")
    hops = _hops_to(graph, b, a)
    if a not in hops:
        raise ValueError(f"no path from {a} to {b} in topology {topology.name}")
    order = {node: index for index, node in enumerate(graph)}
    remaining_ticks = {b: 0}  # integers, so that equal latencies are equal
    onward: dict[str, str] = {}
    for node in list(hops)[1:]:  # by distance from b, so all nearer nodes are done
        choices = [
            (to_ticks(edge["latency_s"]) + remaining_ticks[nearer], order[nearer], nearer)
            for nearer, edge in graph.adj[node].items()
            if hops.get(nearer, -1) == hops[node] - 1 and (nearer == b or forwards(graph, nearer))
        ]
        remaining_ticks[node], _, onward[node] = min(choices)
    nodes = [a]
    while nodes[-1] != b:
        nodes.append(onward[nodes[-1]])
    edges = [graph.edges[edge] for edge in pairwise(nodes)]
    return Route(
        nodes=tuple(nodes),
        links=tuple(edge["link"] for edge in edges),
        latency_s=fsum(edge["latency_s"] for edge in edges),
        bytes_per_s=min((edge["bytes_per_s"] for edge in edges), default=float("inf")),
    )


def forwards(graph: Graph, node: str) -> bool:
    """Whether paths lead through a node: by its attribute `forwards`, else by its kind."""
    attributes = graph.nodes[node]
    return bool(attributes.get("forwards", attributes["kind"] not in ENDPOINTS))


def _hops_to(graph: Graph, target: str, until: str | None = None) -> dict[str, int]:
    """Count the edges to the target from each node that reaches it, nearest first, up to the distance of `until`."""
    hops = {target: 0}
    waiting = deque([target])
    while waiting:
        node = waiting.popleft()
        if until in hops and hops[node] >= hops[until]:
            break
        if node != target and not forwards(graph, node):
            continue
        for neighbour in graph.adj[node]:
            if neighbour not in hops:
                hops[neighbour] = hops[node] + 1
                waiting.append(neighbour)
    return hops


def unreachable(graph: Graph, devices: Sequence[str]) -> list[str]:
    """List the devices to which no path leads from the first one."""
    reached = _hops_to(graph, devices[0]) if devices else {}
    return [name for name in devices if name not in reached]


class Distances(NamedTuple):
    """
    Distances between all pairs of devices; rows and columns are in the order of `Topology.devices`.

    Pairs that no path joins, as in parts without links between them, have -1 hops and an infinite latency.
    """

    hops: Integers
    latency_s: Floats


def distances(topology: Topology) -> Distances:
    """
    Find edges and latency of `path` for every two devices.

    Dijkstra's algorithm with weights of one plus a latency, scaled so that the latency of a whole path is below one
    half: the number of edges decides, latency breaks ties. A path starts at a copy of its device with outgoing edges
    only, so that devices which do not forward are only ends of paths.
    """
    from scipy.sparse import csr_matrix  # slow to import, and only needed here
    from scipy.sparse.csgraph import shortest_path

    graph = topology.plain
    index = {node: number for number, node in enumerate(graph)}
    start = {name: len(index) + number for number, name in enumerate(topology.devices)}
    hops = [
        (row, index[b], graph.edges[a, b]["latency_s"])
        for a in graph
        for b in graph.adj[a]
        for row in ([index[a]] if forwards(graph, a) else []) + ([start[a]] if a in start else [])
    ]
    n_nodes = len(index) + len(start)
    longest_s = max((latency_s for *_, latency_s in hops), default=0.0) * n_nodes
    scale = 0.5 / longest_s if longest_s else 0.0
    rows, columns, latencies_s = np.array(hops).reshape(-1, 3).T
    weights = csr_matrix((1 + latencies_s * scale, (rows.astype(int), columns.astype(int))), (n_nodes, n_nodes))
    total = shortest_path(weights, method="D", indices=list(start.values()))[:, [index[name] for name in start]]
    np.fill_diagonal(total, 0.0)
    joined = np.isfinite(total)
    whole = np.floor(np.where(joined, total, -1.0))
    latency_s = np.where(joined, total - whole, np.inf)
    return Distances(whole.astype(np.int64), latency_s / scale if scale else np.where(joined, 0.0, np.inf))


class Diameter(NamedTuple):
    """The largest number of edges and the largest latency between two devices, each maximised on its own."""

    hops: int
    latency_s: float


def diameter(topology: Topology) -> Diameter:
    """Find how far apart two devices can be that a path joins."""
    hops, latency_s = distances(topology)
    return Diameter(int(hops.max()), float(latency_s[hops >= 0].max()))


def bisection_bytes_per_s(topology: Topology, kind: str = "device") -> float:
    """
    Find the bandwidth from one half of the nodes of a kind to the other, in one direction.

    It is the smallest minimum cut over three ways to halve: by order, left and right in the drawing, top and bottom.
    Finding the worst halving of a graph is NP-hard: this is an upper bound, and exact for the shapes that are
    generated here.
    Among devices the cut may be anywhere; for another kind, such as the dies of a wafer, only the links between
    nodes of this kind count. With an odd number the first half is the smaller one.

    Raises:
        ValueError: fewer than two nodes of this kind.
    """
    graph = topology.plain
    members = [node for node, attributes in graph.nodes(data=True) if attributes["kind"] == kind]
    if len(members) < 2:
        raise ValueError(f"{len(members)} nodes of kind {kind} in topology {topology.name}; a bisection needs two")
    kept = [node for node in graph if forwards(graph, node)] if kind == "device" else members
    place = graph.nodes
    orders = [members]
    if all("x" in place[node] for node in members):
        orders.append(sorted(members, key=lambda node: (place[node]["x"], place[node]["y"])))
        orders.append(sorted(members, key=lambda node: (place[node]["y"], place[node]["x"])))
    halves = {frozenset(order[: len(order) // 2]): order for order in orders}
    return min(_cut_bytes_per_s(graph, kept, order) for order in halves.values())


def _cut_bytes_per_s(graph: Graph, kept: Sequence[str], order: Sequence[str]) -> float:
    """Find the minimum cut between the first half of `order` and the rest, in the graph of the kept nodes."""
    import networkx as nx  # slow to import, and only needed here

    flow: nx.Graph[str | int] = nx.Graph()
    flow.add_nodes_from(kept)
    within = set(kept)
    for a, b, edge in graph.edges(data=True):
        if a in within and b in within:
            flow.add_edge(a, b, capacity=edge["bytes_per_s"])
    for number, node in enumerate(order):
        flow.add_edge(0 if number < len(order) // 2 else 1, node)  # no capacity: unbounded
    return float(nx.minimum_cut_value(flow, 0, 1))


class GroupLink(NamedTuple):
    """The fabric between a group of devices."""

    links: tuple[str, ...]
    """Catalogue names, or '', innermost first: the links inside an enclosure, then those between enclosures."""
    spans_nodes: bool
    """Whether the devices are in more than one enclosure (`group`)."""


def group_link(topology: Topology, ranks: Sequence[str]) -> GroupLink:
    """
    Find the links that a collective among some devices uses.

    * All on one switch, or every two directly joined: the links there.
    * Otherwise in one enclosure: the links on the paths from the first to the others.
    * In several enclosures: the links between those that share an enclosure, then the links that lead out of it.

    Raises:
        ValueError: a device is not in the topology, or no path joins two of them.
    """
    graph = topology.plain
    routes = [path(topology, ranks[0], rank) for rank in ranks[1:]]
    enclosures: dict[str, list[str]] = {}
    for rank in ranks:
        enclosures.setdefault(graph.nodes[rank]["group"], []).append(rank)
    spans_nodes = len(enclosures) > 1
    domain = _domain_links(graph, ranks)
    if domain is not None:
        return GroupLink(domain, spans_nodes)
    if not spans_nodes:
        return GroupLink(_distinct(link for route in routes for link in route.links), spans_nodes)
    inside = (link for members in enclosures.values() for link in group_link(topology, members).links)
    firsts = [members[0] for members in enclosures.values()]
    between = (
        edge["link"]
        for first in firsts[1:]
        for a, b, edge in _edges(graph, path(topology, firsts[0], first))
        if graph.nodes[a]["group"] != graph.nodes[b]["group"]
    )
    return GroupLink(_distinct([*inside, *between]), spans_nodes)


def _domain_links(graph: Graph, ranks: Sequence[str]) -> tuple[str, ...] | None:
    """Find the links of the switch that all ranks are on, or of the edges between every two; None without either."""
    first, *others = ranks
    for switch in graph.adj[first]:
        if graph.nodes[switch]["kind"] == "switch" and all(graph.has_edge(rank, switch) for rank in others):
            return _distinct(graph.edges[rank, switch]["link"] for rank in ranks) if others else ()
    pairs = [(a, b) for number, a in enumerate(ranks) for b in ranks[number + 1 :]]
    if all(graph.has_edge(a, b) for a, b in pairs):
        return _distinct(graph.edges[pair]["link"] for pair in pairs)
    return None


def _edges(graph: Graph, route: Route) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for a, b in pairwise(route.nodes):
        yield a, b, graph.edges[a, b]


def _distinct(links: Iterable[str]) -> tuple[str, ...]:
    """Drop repeated links, in order of first appearance."""
    return tuple(dict.fromkeys(links))
