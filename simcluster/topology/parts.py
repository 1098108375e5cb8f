"""A topology made of several: the nodes of each part under the part's name, such as `wafers/wafer0`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from simcluster.topology.graph import Graph
from simcluster.topology.model import Topology

MAX_PARTS = 64
SEPARATOR = "/"
"""Between a part and a node, as between an enclosure and its devices."""
GAP = 2.0
"""Between two parts in a drawing, in its units."""

_NAMES = ("group", "part_of")
"""Attributes that name a node or an enclosure."""


def joined(parts: Mapping[str, Topology]) -> Graph:
    """
    Put topologies side by side in one graph; no link joins them yet.

    Each node has the name of its part in front of its own and in the attribute `part`. Where all nodes of a part have
    places in a drawing, the part is moved to the right of those before.

    Args:
        parts: by name, in order.
    """
    graph = Graph()
    right = 0.0
    for name, part in parts.items():
        nodes = part.plain.nodes
        left, width = _extent(part)
        for node, said in nodes.items():
            renamed = {key: f"{name}{SEPARATOR}{said[key]}" for key in _NAMES if key in said}
            moved = {"x": said["x"] - left + right} if width is not None else {}
            graph.add_node(f"{name}{SEPARATOR}{node}", **said | renamed | moved, part=name)
        right += 0.0 if width is None else width + GAP
        for a, b, edge in part.plain.edges(data=True):
            graph.add_edge(f"{name}{SEPARATOR}{a}", f"{name}{SEPARATOR}{b}", **edge)
    return graph


def _extent(part: Topology) -> tuple[float, float | None]:
    """The left edge of a part in a drawing, and how wide it is; without a width where not all nodes have places."""
    nodes = part.plain.nodes.values()
    if any("x" not in said for said in nodes):
        return 0.0, None
    left = min(said["x"] - said.get("width", 0.0) / 2 for said in nodes)
    return left, max(said["x"] + said.get("width", 0.0) / 2 for said in nodes) - left


def between_parts(graph: Graph, ends: Sequence[str]) -> bool:
    """Whether a link joins nodes of different parts."""
    a, b = (graph.nodes[name]["part"] for name in ends)
    return bool(a != b)
