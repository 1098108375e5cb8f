"""Problems between the nodes and the links of an input graph: names that do not match, missing connections."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from simcluster.files.problems import Problem, nearest
from simcluster.files.source import Document, Path
from simcluster.topology.graph import Graph
from simcluster.topology.measure import unreachable

_MAX_HINTS = 50
"""Most unknown names for which a similar name is searched, and a bound on the names searched; it is quadratic."""


class Ends(NamedTuple):
    """A link as it is in a file: its path, the keys under which it names its nodes, and their names."""

    path: Path
    ends: tuple[tuple[str, Any], tuple[str, Any]]


def inconsistent(document: Document, nodes: Mapping[Path, Any], links: Sequence[Ends]) -> Iterator[Problem]:
    """
    Find repeated nodes, links to unknown nodes, links from a node to itself, and repeated links.

    Names of the wrong type are skipped; they are reported elsewhere.

    Args:
        document: for the lines.
        nodes: name of each node by its path.
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
                searched = hints <= _MAX_HINTS and len(first) <= 20 * _MAX_HINTS
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
    return hint if len(known) <= _MAX_HINTS or hint.startswith("did") else "expected the name of a node"


def disconnected(document: Document, graph: Graph, nodes: Mapping[str, Path], whole: Path) -> Iterator[Problem]:
    """
    Find devices that no path joins to the first one, or the lack of any device.

    Args:
        document: for the lines.
        graph: as built from it.
        nodes: path of each node.
        whole: path of the list of nodes.
    """
    devices = [node for node, attributes in graph.nodes(data=True) if attributes["kind"] == "device"]
    if not devices:
        yield document.problem(whole, "no device", "expected at least one node of kind device")
    for name in unreachable(graph, devices):
        found = f"no path joins '{name}' to '{devices[0]}'"
        yield document.problem(nodes[name], found, "expected links that join all devices")
