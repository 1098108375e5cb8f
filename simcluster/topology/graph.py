"""
An undirected graph of plain dictionaries, with networkx's names as far as they are used here.

Building a topology and finding paths need no more, and importing networkx takes longer than both: it is imported only
for `as_networkx`, which has the same nodes and edges in the same order.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import networkx as nx

Attributes = dict[str, Any]
Edge = tuple[str, str, Attributes]


class Nodes(dict[str, Attributes]):
    """Attributes by name; a call with `data=True` returns pairs of both, as in networkx."""

    def __call__(self, data: bool = True) -> ItemsView[str, Attributes]:
        return self.items()


class Edges:
    """The edges of a graph, each once; attributes by pair of ends, in either order."""

    def __init__(self, adj: dict[str, dict[str, Attributes]]) -> None:
        self._adj = adj

    def __getitem__(self, ends: tuple[str, str]) -> Attributes:
        return self._adj[ends[0]][ends[1]]

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return ((a, b) for a, b, _ in self())

    def __call__(self, data: bool = True) -> Iterator[Edge]:
        seen: set[str] = set()
        for a, neighbours in self._adj.items():
            yield from ((a, b, attributes) for b, attributes in neighbours.items() if b not in seen)
            seen.add(a)


class Graph:
    """Nodes and edges in order of creation."""

    def __init__(self) -> None:
        self.nodes = Nodes()
        self.adj: dict[str, dict[str, Attributes]] = {}
        """Neighbours of each node, with the attributes of the edge, which both directions share."""
        self.edges = Edges(self.adj)
        self._created: list[tuple[str, str]] = []

    def __len__(self) -> int:
        return len(self.nodes)

    def __iter__(self) -> Iterator[str]:
        return iter(self.nodes)

    def __contains__(self, name: object) -> bool:
        return name in self.nodes

    def number_of_edges(self) -> int:
        return len(self._created)

    def has_edge(self, a: str, b: str) -> bool:
        return b in self.adj.get(a, ())

    def add_node(self, name: str, **attributes: Any) -> None:
        """Add a node, or attributes to an existing one."""
        self.nodes.setdefault(name, {}).update(attributes)
        self.adj.setdefault(name, {})

    def add_edge(self, a: str, b: str, **attributes: Any) -> None:
        """Add an edge, or attributes to an existing one."""
        for name in (a, b):
            self.add_node(name)
        if b not in self.adj[a]:
            self._created.append((a, b))
            self.adj[a][b] = self.adj[b][a] = {}
        self.adj[a][b].update(attributes)

    def as_networkx(self) -> nx.Graph[str]:
        """Copy it to a frozen networkx graph."""
        import networkx as nx

        graph: nx.Graph[str] = nx.Graph()
        graph.add_nodes_from(self.nodes.items())
        graph.add_edges_from((a, b, self.adj[a][b]) for a, b in self._created)
        nx.freeze(graph)
        return graph
