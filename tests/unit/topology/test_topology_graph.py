"""The plain graph is what networkx makes of the same calls."""

from __future__ import annotations

import networkx as nx
from hypothesis import given
from hypothesis import strategies as st

from simcluster.topology.graph import Graph

NAMES = st.sampled_from("abcdefg")


@given(st.lists(NAMES), st.lists(st.tuples(NAMES, NAMES, st.integers(0, 9)).filter(lambda e: e[0] != e[1])))
def test_it_answers_as_networkx(nodes: list[str], edges: list[tuple[str, str, int]]) -> None:
    """Nodes, neighbours and edges come in the same order with the same attributes, and so they do converted."""
    ours, theirs = Graph(), nx.Graph()
    for graph in (ours, theirs):
        for place, name in enumerate(nodes):
            graph.add_node(name, place=place)
        for a, b, weight in edges:
            graph.add_edge(a, b, weight=weight)

    for graph in (ours, ours.as_networkx()):
        assert list(theirs.nodes(data=True)) == list(graph.nodes(data=True))
        assert list(theirs.edges(data=True)) == list(graph.edges(data=True))
        assert list(theirs.edges) == list(graph.edges)
        assert {a: list(b.items()) for a, b in theirs.adj.items()} == {
            a: list(b.items()) for a, b in graph.adj.items()
        }
        assert (len(theirs), theirs.number_of_edges()) == (len(graph), graph.number_of_edges())
    for a, b, _ in edges:
        assert ours.has_edge(b, a) and ours.edges[a, b] is ours.edges[b, a]
    assert not ours.has_edge("a", "z") and "z" not in ours
