"""
Read topologies from files and from scenarios, and report all their problems together.

A topology is written as one of: `generate:` with a generator's parameters, `nodes:` with `links:`, `parts:` with or
without `links:`, or `import:` with the file of a networkx graph. The shipped topologies are the files of the folder
`topologies`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path as FilePath
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from simcluster.catalog import entries
from simcluster.files import source
from simcluster.files.problems import InputError, Problem, nearest
from simcluster.files.quantities import Bandwidth, Bytes, Count, Frozen, Seconds, fault
from simcluster.files.source import Document, Path
from simcluster.files.validation import at, validate
from simcluster.topology import interchange
from simcluster.topology.checks import Ends, disconnected, inconsistent
from simcluster.topology.generate import Generate, generate
from simcluster.topology.graph import Graph
from simcluster.topology.model import (
    MAX_LINKS,
    MAX_NODES,
    NodeKind,
    Topology,
    add_link,
    add_node,
    latency_share,
    topology,
)
from simcluster.topology.parameters import DeviceName, Label, LinkName, NodeName, figures
from simcluster.topology.parts import MAX_PARTS, between_parts, joined

_BARE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_PART = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")
_IMPORTED = (".json", ".graphml")


class NodeEntry(Frozen):
    """One node of a topology file."""

    name: NodeName
    kind: NodeKind
    device: DeviceName | None = None
    """Catalogue name, for nodes of kind device only."""
    group: Label = ""
    """The enclosure: a server, a wafer, a rack."""
    rail: Count | None = None
    capacity: Bytes | None = None
    """Capacity of a memory."""
    x: Annotated[float, Field(ge=-1e6, le=1e6)] | None = None
    """Centre in a drawing; if absent, a place is found."""
    y: Annotated[float, Field(ge=-1e6, le=1e6)] | None = None

    @model_validator(mode="after")
    def _device_has_name(self) -> Self:
        if self.kind == "device" and self.device is None:
            raise fault(f"device '{self.name}' without a catalogue name", "expected it in 'device'")
        if self.kind != "device" and self.device is not None:
            raise fault(f"device '{self.device}' on a {self.kind}", "expected kind device")
        if (self.x is None) != (self.y is None):
            raise fault("one of x and y", "expected both or none")
        return self


class LinkEntry(Frozen):
    """
    One link of a topology file, full duplex.

    A link of the catalogue has bandwidth and latency, at a switch half of the latency; the file may override both.
    """

    from_: str = Field(alias="from")
    to: str
    link: LinkName | None = None
    bandwidth: Annotated[Bandwidth, Field(le=1e18)] | None = None
    """Per direction, for one of `count` links."""
    latency: Annotated[Seconds, Field(le=3600)] | None = None
    """One way."""
    count: Annotated[int, Field(gt=0, le=10_000)] = 1
    """Parallel links; their bandwidth adds up."""

    @model_validator(mode="after")
    def _has_figures(self) -> Self:
        if self.link is None and (self.bandwidth is None or self.latency is None):
            raise fault("no link and not both of bandwidth and latency", "expected 'link', or both figures")
        return self


def _parts(parts: dict[str, Any]) -> dict[str, Any]:
    """A bounded number of parts, whose names can stand in front of those of nodes."""
    if not 1 <= len(parts) <= MAX_PARTS:
        raise fault(f"{len(parts)} parts", f"expected 1 to {MAX_PARTS}")
    for name in parts:
        if not _PART.fullmatch(name):
            raise fault(f"part '{name[:80]}'", "expected a letter, then at most 31 letters, digits, '_' and '-'")
    return parts


class TopologyFile(Frozen):
    """A topology file: one of `generate`, `nodes` with `links`, `parts`, and `import`."""

    title: Annotated[str, StringConstraints(max_length=200)] = ""
    generate: Generate | None = None
    nodes: Annotated[list[NodeEntry], Field(max_length=MAX_NODES)] | None = None
    links: Annotated[list[LinkEntry], Field(max_length=MAX_LINKS)] | None = None
    parts: Annotated[dict[str, str | dict[str, object]], AfterValidator(_parts)] | None = None
    """Topologies by name: each a shipped one, a file, or one written in place."""
    import_: str | None = Field(None, alias="import")

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        forms = {"generate": self.generate, "nodes": self.nodes, "parts": self.parts, "import": self.import_}
        given = [name for name, value in forms.items() if value is not None]
        if len(given) != 1:
            raise fault(
                " and ".join(given) or "no nodes", "expected one of 'generate', 'nodes', 'parts' and 'import'"
            )
        if self.links is not None and self.nodes is None and self.parts is None:
            raise fault("links without nodes", "expected 'nodes' with 'links'")
        return self


def load(name_or_path: str, search_folder: FilePath | None = None, is_part: bool = False) -> Topology:
    """
    Read a shipped topology or a file.

    Args:
        name_or_path: `h100-8`, or a path with a suffix: a topology file (.yaml), node-link JSON (.json) or GraphML.
        search_folder: from which relative paths start, that of the scenario; default: the current one.
        is_part: whether it becomes a part of another; then it has no parts itself.

    Raises:
        entries.UnknownName: a name without suffix that is not among `names()`.
        InputError: the file cannot be read, or its topology cannot be built.
    """
    if _BARE.fullmatch(name_or_path):
        if name_or_path not in names():
            raise entries.UnknownName(f"no topology '{name_or_path}'", nearest(name_or_path, names()))
        file = folder() / f"{name_or_path}.yaml"
    else:
        file = (search_folder or FilePath()) / name_or_path
    if file.suffix in _IMPORTED:
        return _import(file, "")
    return from_document(source.read(file), is_part=is_part)


def names() -> tuple[str, ...]:
    """List the shipped topologies, sorted."""
    return tuple(sorted(file.stem for file in folder().glob("*.yaml")))


def folder() -> FilePath:
    """Find the folder of the shipped topologies."""
    return source.shipped("topologies")


def from_document(document: Document, path: Path = (), is_part: bool = False) -> Topology:
    """
    Build the topology at a path of a document.

    Args:
        document: a topology file, or a scenario with an inline topology.
        path: of the topology in the document; its name is the name of the file.
        is_part: whether it becomes a part of another; then it has no parts itself.

    Raises:
        InputError: with all its problems.
    """
    problems = list(_inconsistent(document, path))
    try:
        parsed = validate(document, TopologyFile, path)
    except InputError as error:
        raise InputError([*problems, *error.problems]) from None
    if problems:
        raise InputError(problems)
    file = FilePath(document.file)
    if parsed.import_ is not None:
        if FilePath(parsed.import_).suffix not in _IMPORTED:
            expected = f"expected a file that ends in {' or '.join(_IMPORTED)}"
            raise InputError([document.problem((*path, "import"), f"'{parsed.import_}'", expected)])
        return _import(document.folder((*path, "import")) / parsed.import_, parsed.title)
    if parsed.generate is not None:
        return topology(file.stem, parsed.title, generate(parsed.generate), parsed.generate.kind, document.file)
    if parsed.parts is not None:
        if is_part:
            raise InputError([document.problem((*path, "parts"), "parts of a part", "expected another form")])
        graph = _joined(document, path, parsed.parts, parsed.links or [])
        return topology(file.stem, parsed.title, graph, "parts", document.file)
    graph = _explicit(parsed.nodes or [], parsed.links or [])
    places: dict[str, Path] = {node.name: (*path, "nodes", number) for number, node in enumerate(parsed.nodes or [])}
    if problems := list(disconnected(document, graph, places, (*path, "nodes"))):
        raise InputError(problems)
    return topology(file.stem, parsed.title, graph, "nodes", document.file)


def _explicit(nodes: Iterable[NodeEntry], links: Iterable[LinkEntry]) -> Graph:
    """Build the graph of checked entries."""
    graph = Graph()
    for node in nodes:
        where = None if node.x is None or node.y is None else (node.x, node.y)
        said: dict[str, Any] = {"device": node.device, "rail": node.rail, "capacity_bytes": node.capacity}
        add_node(graph, node.name, node.kind, node.group or node.name, where, **said)
    _add_links(graph, links)
    return graph


def _add_links(graph: Graph, links: Iterable[LinkEntry]) -> None:
    for entry in links:
        share = latency_share(graph, entry.from_, entry.to)
        bytes_per_s, latency_s = figures(entry.link, entry.bandwidth, entry.latency, share)
        add_link(graph, entry.from_, entry.to, bytes_per_s, latency_s, entry.link or "", entry.count)


def _joined(
    document: Document, path: Path, parts: Mapping[str, str | dict[str, object]], links: Sequence[LinkEntry]
) -> Graph:
    """
    Read the parts and put them into one graph with the links between them.

    Raises:
        InputError: a part cannot be read, they are too large together, or links do not join nodes of two parts.
    """
    found: dict[str, Topology] = {}
    problems: list[Problem] = []
    n_nodes, n_links = 0, len(links)
    for name, written in parts.items():
        where: Path = (*path, "parts", name)
        try:
            found[name] = _part(document, where, written)
        except InputError as error:
            problems += error.problems
            continue
        n_nodes += len(found[name].plain)
        n_links += found[name].plain.number_of_edges()
        if n_nodes > MAX_NODES or n_links > MAX_LINKS:
            limits = f"at most {MAX_NODES:,} nodes and {MAX_LINKS:,} links are built"
            raise InputError([document.problem((*path, "parts"), f"{n_nodes:,} nodes and {n_links:,} links", limits)])
    if problems:
        raise InputError(problems)
    graph = joined(found)
    names_at: dict[Path, object] = {(*path, "parts", number): name for number, name in enumerate(graph)}
    problems += inconsistent(document, names_at, _ends(document, path))
    for number, entry in enumerate(links if not problems else ()):
        if not between_parts(graph, (entry.from_, entry.to)):
            expected = "expected nodes of two parts"
            problems.append(document.problem((*path, "links", number), "a link within a part", expected))
    if problems:
        raise InputError(problems)
    _add_links(graph, links)
    return graph


def _part(document: Document, path: Path, written: str | dict[str, object]) -> Topology:
    """One part; problems of its file that have no line are those of the line that names it."""
    if isinstance(written, dict):
        return from_document(document, path, is_part=True)
    try:
        return load(written, document.folder(path), is_part=True)
    except entries.UnknownName as error:
        raise InputError([document.problem(path, error.found, error.expected)]) from None
    except InputError as error:
        raise InputError(
            problem
            if problem.line or problem.path
            else document.problem(path, f"{problem.file}: {problem.found}", problem.expected)
            for problem in error.problems
        ) from None


def _inconsistent(document: Document, path: Path) -> Iterable[Problem]:
    """Find problems between the nodes and links of a document, as far as they can be read."""
    nodes = at(document.data, (*path, "nodes"))
    if not isinstance(nodes, list):
        return ()
    names_at: dict[Path, object] = {
        (*path, "nodes", number, "name"): node["name"]
        for number, node in enumerate(nodes)
        if isinstance(node, dict) and "name" in node
    }
    return inconsistent(document, names_at, _ends(document, path))


def _ends(document: Document, path: Path) -> list[Ends]:
    """The links of a document, as far as they can be read."""
    links = at(document.data, (*path, "links"))
    return [
        Ends((*path, "links", number), (("from", link.get("from")), ("to", link.get("to"))))
        for number, link in enumerate(links if isinstance(links, list) else [])
        if isinstance(link, dict)
    ]


def _import(file: FilePath, title: str) -> Topology:
    return topology(file.stem, title, interchange.read_graph(file), "import", str(file))
