"""
The topology: a graph with defined attributes, and the functions that add nodes and links to it.

Links are undirected edges and full duplex: `bytes_per_s` holds in each direction at the same time.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

from simcluster.catalog.device import Link
from simcluster.topology.graph import Graph

if TYPE_CHECKING:
    import networkx as nx

NodeKind = Literal["device", "switch", "nic", "port", "die", "memory", "host"]
NODE_KINDS: tuple[str, ...] = get_args(NodeKind)

ENDPOINTS = ("host", "memory")
"""Kinds of node that send and receive but do not forward."""

MAX_NODES = 20_000
MAX_LINKS = 500_000


@dataclass(frozen=True, eq=False)
class Topology:
    """
    A cluster as a graph.

    Node attributes: `kind`, `group` (the enclosure), `device` (catalogue name, on devices only), optionally `part`
    (of a topology that is made of several), `rail`, `forwards` (whether paths lead through it), `x`, `y`, `width`,
    `height` and others from a generator or an imported file.
    Edge attributes: `link` (catalogue name or ''), `bytes_per_s` (per direction), `latency_s`, `count` (parallel
    links in this edge; `bytes_per_s` is their sum).
    """

    name: str
    title: str
    plain: Graph
    """The finished graph as dictionaries; it must not be changed."""
    devices: tuple[str, ...]
    """Names of the nodes of kind device, in order of creation."""
    kind: str
    """The generator's name, or `nodes`, `parts` or `import`."""
    source: str
    """The file it was read from."""

    @cached_property
    def graph(self) -> nx.Graph[str]:
        """The networkx graph, made at first use; it is frozen, so networkx rejects changes."""
        return self.plain.as_networkx()


def topology(name: str, title: str, graph: Graph, kind: str, source: str) -> Topology:
    """Freeze a finished graph into a topology."""
    devices = tuple(node for node, attributes in graph.nodes(data=True) if attributes["kind"] == "device")
    return Topology(name, title or name, graph, devices, kind, source)


def add_node(
    graph: Graph,
    name: str,
    kind: NodeKind,
    group: str,
    at: tuple[float, float] | None = None,
    size: tuple[float, float] = (0.8, 0.6),
    **attributes: Any,
) -> str:
    """
    Add a node; attributes of None are left out.

    Args:
        graph: changed in place.
        name: unique.
        kind: what it is.
        group: its enclosure.
        at: centre in a drawing; None leaves the place to the drawing.
        size: width and height in a drawing.
        **attributes: `device` of a device, and others.

    Returns:
        The name.
    """
    drawing = {} if at is None else {"x": at[0], "y": at[1], "width": size[0], "height": size[1]}
    said = {key: value for key, value in attributes.items() if value is not None}
    graph.add_node(name, kind=kind, group=group, **said, **drawing)
    return name


def add_link(
    graph: Graph, a: str, b: str, bytes_per_s: float, latency_s: float, link: str = "", count: int = 1
) -> None:
    """Join two nodes by `count` equal links; `bytes_per_s` is of one of them, in one direction."""
    graph.add_edge(a, b, link=link, bytes_per_s=bytes_per_s * count, latency_s=latency_s, count=count)


def add_catalogue_link(graph: Graph, a: str, b: str, link: Link, bandwidth_share: float = 1.0) -> None:
    """Join two nodes by a link of the catalogue, or by a share of its bandwidth; see `latency_share`."""
    latency_s = link.latency_s * latency_share(graph, a, b)
    add_link(graph, a, b, link.bytes_per_s * bandwidth_share, latency_s, link.name)


def latency_share(graph: Graph, a: str, b: str) -> float:
    """
    Find the share of a catalogue link's latency that the edge between two nodes has.

    The catalogue's figure is from end to end, with a switch in between if there is one. So an edge at a switch has
    half of it: device, switch, device add up to the published figure, and a second switch adds one more.
    """
    return 0.5 if "switch" in (graph.nodes[a]["kind"], graph.nodes[b]["kind"]) else 1.0
