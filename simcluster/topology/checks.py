"""What is wrong between the nodes and the links of a graph that someone wrote: names that do not meet, gaps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from simcluster.files.problems import Problem, nearest
from simcluster.files.source import Document, Path
from simcluster.topology.graph import Graph
from simcluster.topology.measure import unreachable

_MOST_HINTS = 50
"""Unknown names for which a neighbour is searched, and names among which it is: the search is quadratic."""


class Ends(NamedTuple):
    """A link as it stands in a file: where, and under which keys it names which nodes."""

    path: Path
    ends: tuple[tuple[str, Any], tuple[str, Any]]


def inconsistent(document: Document, nodes: Mapping[Path, Any], links: Sequence[Ends]) -> Iterator[Problem]:
    """
    Find repeated nodes, links to nodes that are not there, links from a node to itself, and repeated links.

    Names of the wrong type are passed over; they are faults of their own.

    Args:
        document: for the lines.
        nodes: name of each node by the path where it stands.
        links: all links, in order.
    """
    first: dict[str, Path] = {}
    for path, name in nodes.items():
        if isinstance(name, str) and first.setdefault(name, path) != path:
            found = f"repeated node '{name}' (first on line {document.line(first[name])})"
            yield document.problem(path, found, "expected every name once")
    hints = 0
    joined: dict[frozenset[str], Path] = {}
    for link in links:
        (_, a), (_, b) = link.ends
        for key, name in link.ends:
            if isinstance(name, str) and name not in first:
                hints += 1
                searched = hints <= _MOST_HINTS and len(first) <= 20 * _MOST_HINTS
                expected = _hint(name, list(first)) if searched else "expected the name of a node"
                yield document.problem((*link.path, key), f"unknown node '{name[:80]}'", expected)
        if not isinstance(a, str) or not isinstance(b, str):
            continue
        if a == b:
            yield document.problem(link.path, f"a link from '{a[:80]}' to itself", "expected two different nodes")
        elif joined.setdefault(frozenset((a, b)), link.path) != link.path:
            line = document.line(joined[frozenset((a, b))])
            found = f"a second link between '{a[:80]}' and '{b[:80]}' (first on line {line})"
            yield document.problem(link.path, found, "expected one, with 'count' for parallel links")


def _hint(name: str, known: list[str]) -> str:
    hint = nearest(name, known)
    return hint if len(known) <= _MOST_HINTS or hint.startswith("did") else "expected the name of a node"


def disconnected(document: Document, graph: Graph, nodes: Mapping[str, Path], whole: Path) -> Iterator[Problem]:
    """
    Find devices that no path joins to the first one, or that there is no device at all.

    Args:
        document: for the lines.
        graph: as built from it.
        nodes: path where each node stands.
        whole: path of the list of nodes.
    """
    devices = [node for node, attributes in graph.nodes(data=True) if attributes["kind"] == "device"]
    if not devices:
        yield document.problem(whole, "no device", "expected at least one node of kind device")
    for name in unreachable(graph, devices):
        found = f"no path joins '{name}' to '{devices[0]}'"
        yield document.problem(nodes[name], found, "expected links that join all devices")
