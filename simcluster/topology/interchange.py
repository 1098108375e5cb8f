"""
Read graphs that networkx wrote: node-link JSON and GraphML.

The files may be untrusted: sizes are limited before anything is built, and XML with a document type declaration,
which could define entities, is rejected.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Annotated, Any, Self
from xml.parsers import expat

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from simcluster.files import source
from simcluster.files.problems import InputError, Problem
from simcluster.files.quantities import Count, Frozen, fault
from simcluster.files.source import MAX_DEPTH, Document, Path
from simcluster.files.validation import validate
from simcluster.topology.checks import Ends, disconnected, inconsistent
from simcluster.topology.graph import Graph
from simcluster.topology.model import MAX_LINKS, MAX_NODES, NodeKind, add_link, add_node, latency_share
from simcluster.topology.parameters import DeviceName, Label, LinkName, NodeName, figures

_MAX_ATTRIBUTE = 1000


def _number_as_text(name: Any) -> Any:
    return str(name) if type(name) is int else name


Identity = Annotated[NodeName, BeforeValidator(_number_as_text)]
Coordinate = Annotated[float, Field(ge=-1e6, le=1e6)]
Extent = Annotated[float, Field(gt=0, le=1e6)]


class ImportedNode(Frozen):
    """A node with the attributes of a topology's graph; further plain attributes are kept."""

    model_config = ConfigDict(extra="allow")

    id: Identity
    kind: NodeKind
    group: Label = ""
    device: DeviceName | None = None
    rail: Count | None = None
    forwards: bool | None = None
    capacity_bytes: Annotated[float, Field(gt=0, le=1e24)] | None = None
    x: Coordinate | None = None
    y: Coordinate | None = None
    width: Extent = 0.8
    height: Extent = 0.6

    @model_validator(mode="after")
    def _is_plain(self) -> Self:
        if (self.kind == "device") != (self.device is not None):
            raise fault(f"kind {self.kind} with device {self.device}", "expected 'device' on devices and only there")
        for name, value in (self.model_extra or {}).items():
            if not isinstance(value, str | int | float | None) or len(str(value)) > _MAX_ATTRIBUTE:
                raise fault(f"attribute '{name[:60]}'", "expected a number or a short text")
        return self


class ImportedLink(Frozen):
    """An edge with the attributes of a topology's graph; further attributes are dropped."""

    model_config = ConfigDict(extra="ignore")

    source: Identity
    target: Identity
    link: LinkName | Annotated[str, Field(max_length=0)] = ""
    bytes_per_s: Annotated[float, Field(gt=0, le=1e22)] | None = None
    latency_s: Annotated[float, Field(ge=0, le=3600)] | None = None
    count: Annotated[int, Field(gt=0, le=10_000)] = 1

    @model_validator(mode="after")
    def _has_figures(self) -> Self:
        if not self.link and (self.bytes_per_s is None or self.latency_s is None):
            raise fault("no link and not both of bytes_per_s and latency_s", "expected 'link', or both figures")
        return self


class GraphFile(Frozen):
    """A graph as networkx writes it: with `edges` in new versions, `links` in old ones."""

    model_config = ConfigDict(extra="ignore")

    directed: bool = False
    nodes: Annotated[list[ImportedNode], Field(max_length=MAX_NODES)]
    edges: Annotated[list[ImportedLink], Field(max_length=MAX_LINKS)] | None = None
    links: Annotated[list[ImportedLink], Field(max_length=MAX_LINKS)] | None = None

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if self.directed:
            raise fault("a directed graph", "expected an undirected one: links are full duplex")
        if (self.edges is None) == (self.links is None):
            raise fault(
                "both edges and links" if self.edges is not None else "no edges",
                "expected one of 'edges' and 'links'",
            )
        return self


def read_graph(file: FilePath) -> Graph:
    """
    Read a .json or .graphml file.

    Raises:
        InputError: with all its problems.
    """
    document = read_graphml(file) if file.suffix == ".graphml" else source.read(file)
    data = document.data if isinstance(document.data, dict) else {}
    key = "edges" if "edges" in data else "links"
    nodes: dict[Path, Any] = {
        ("nodes", number, "id"): _value(node, "id") for number, node in enumerate(_list(data, "nodes"))
    }
    links = [
        Ends((key, number), (("source", _value(link, "source")), ("target", _value(link, "target"))))
        for number, link in enumerate(_list(data, key))
    ]
    problems = list(inconsistent(document, nodes, links))
    try:
        parsed = validate(document, GraphFile)
    except InputError as error:
        raise InputError([*problems, *error.problems]) from None
    if not problems:
        graph = _graph(parsed)
        problems = list(disconnected(document, graph, {name: path[:-1] for path, name in nodes.items()}, ("nodes",)))
    if problems:
        raise InputError(problems)
    return graph


def _list(data: Mapping[str, Any], key: str) -> list[Any]:
    value = data.get(key)
    return value if isinstance(value, list) else []


def _value(entry: Any, key: str) -> Any:
    return _number_as_text(entry.get(key)) if isinstance(entry, dict) else None


def _graph(parsed: GraphFile) -> Graph:
    graph = Graph()
    for node in parsed.nodes:
        at = None if node.x is None or node.y is None else (node.x, node.y)
        said: dict[str, Any] = {
            "device": node.device,
            "rail": node.rail,
            "forwards": node.forwards,
            "capacity_bytes": node.capacity_bytes,
        }
        extra = {key: value for key, value in (node.model_extra or {}).items() if key != "name"}
        add_node(graph, node.id, node.kind, node.group or node.id, at, (node.width, node.height), **said)
        graph.nodes[node.id].update(extra)
    for entry in parsed.edges or parsed.links or []:
        share = latency_share(graph, entry.source, entry.target)
        one_bytes_per_s = None if entry.bytes_per_s is None else entry.bytes_per_s / entry.count
        bytes_per_s, latency_s = figures(entry.link, one_bytes_per_s, entry.latency_s, share)
        add_link(graph, entry.source, entry.target, bytes_per_s, latency_s, entry.link, entry.count)
    return graph


class _Refused(Exception):
    """The XML has something that is not allowed; the arguments are line, found and expected."""


def read_graphml(file: FilePath) -> Document:
    """
    Read GraphML into the form of node-link JSON, with the lines of nodes and edges.

    Raises:
        InputError: not XML, too large, a document type declaration, or not GraphML that networkx understands.
    """
    import networkx as nx  # slow to import, and only needed here

    name = str(file)
    text = source.read_text(file).removeprefix("\ufeff")
    try:
        nodes, edges = _lines(text)
        graph = nx.parse_graphml(text, node_type=str)
    except _Refused as refused:
        line, found, expected = refused.args
        raise InputError([Problem(name, line, "", found, expected)]) from None
    except expat.ExpatError as error:
        found = f"not XML: {expat.ErrorString(error.code)}"
        raise InputError([Problem(name, error.lineno, "", found, "expected GraphML")]) from None
    except (nx.NetworkXException, ValueError, LookupError, TypeError, AttributeError) as error:
        found = f"not GraphML: {str(error)[:200]}"
        raise InputError([Problem(name, 0, "", found, "expected a graph that networkx wrote")]) from None
    lines: dict[Path, int] = {(): 1, ("nodes",): 1, ("edges",): 1}
    data: dict[str, Any] = {"directed": graph.is_directed(), "nodes": [], "edges": []}
    for number, (node, attributes) in enumerate(graph.nodes(data=True)):
        data["nodes"].append({**graph.graph.get("node_default", {}), **attributes, "id": node})
        lines["nodes", number] = nodes.get(node, 0)
    for number, (a, b, attributes) in enumerate(graph.edges(data=True)):
        data["edges"].append({**graph.graph.get("edge_default", {}), **attributes, "source": a, "target": b})
        lines["edges", number] = edges.get((a, b)) or edges.get((b, a), 0)
    return Document(name, data, lines)


def _lines(text: str) -> tuple[dict[str, int], dict[tuple[str, str], int]]:
    """Find the lines of nodes and edges of GraphML, with a parser that builds nothing and rejects dangerous XML."""
    nodes: dict[str, int] = {}
    edges: dict[tuple[str, str], int] = {}
    depth = 0
    parser = expat.ParserCreate(encoding="utf-8")

    def refuse(found: str, expected: str) -> None:
        raise _Refused(parser.CurrentLineNumber, found, expected)

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > MAX_DEPTH:
            refuse(f"elements nested deeper than {MAX_DEPTH}", "expected flat GraphML")
        kind = tag.rpartition(":")[2]
        if kind == "node":
            nodes.setdefault(attributes.get("id", ""), parser.CurrentLineNumber)
        if kind == "edge":
            edges[attributes.get("source", ""), attributes.get("target", "")] = parser.CurrentLineNumber
        if len(nodes) > MAX_NODES or len(edges) > MAX_LINKS:
            refuse("the graph is too large", f"at most {MAX_NODES:,} nodes and {MAX_LINKS:,} links")

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.StartDoctypeDeclHandler = lambda *_: refuse("a document type declaration", "remove it")
    parser.Parse(text.encode(), True)
    return nodes, edges
