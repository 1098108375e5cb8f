"""Read a model shape as the catalogue writes it: facts with their sources, and the published headline beside them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import PurePath
from typing import Annotated, Literal

from pydantic import Field

from simcluster.catalog.shapes import ModelShape, Shape, contradictions
from simcluster.catalog.sources import source_problems
from simcluster.files.problems import InputError, Problem
from simcluster.files.quantities import Bits, Fact, Frozen, Source
from simcluster.files.source import Document, Path
from simcluster.files.validation import at, validate

Parameters = Annotated[int, Field(gt=0)]


class ShapeInFile(Shape):
    """A shape whose bits are written with their unit."""

    native_bits: Bits | None = None


class Evidence(Frozen):
    """Where numbers of the shape come from."""

    source: str
    confidence: Literal["high", "medium", "low"] = "high"
    note: str = ""


class Published(Frozen):
    """What the maker says the parameters are, to hold the arithmetic against."""

    total: Fact[Parameters]
    active: Fact[Parameters] | None = None


class ShapeFile(Frozen):
    """
    One file of `data/models`.

    `evidence` stands for every number of `shape`, except those that `exceptions` names by their path
    (`vocab`, `moe.experts`).
    """

    title: str
    aliases: list[str] = Field(default_factory=list)
    shape: ShapeInFile
    evidence: Evidence
    exceptions: dict[str, Evidence] = Field(default_factory=dict)
    published: Published
    note: str = ""
    sources: dict[str, Source]


def read(document: Document) -> ModelShape:
    """
    The shape in a catalogue document; its name is the file's name without the ending.

    Raises:
        InputError: with every fault: fields of the wrong type or size, numbers that contradict each other,
            sources that are named but not given or given but not used.
    """
    file = validate(document, ShapeFile)
    problems = [*_contradictions(document, file), *_source_problems(document, file)]
    if problems:
        raise InputError(problems)
    return ModelShape(name=_name(document), title=file.title, **dict(file.shape))


def aliases(documents: Iterable[Document]) -> dict[str, str]:
    """
    Other names of catalogue models.

    Args:
        documents: all files of the catalogue.

    Returns:
        The name of the model by its alias, sorted by alias.

    Raises:
        InputError: an alias stands for two models, or is the name of one.
    """
    files = list(documents)
    names = {_name(document) for document in files}
    found: dict[str, str] = {}
    problems: list[Problem] = []
    for document in files:
        for index, alias in enumerate(validate(document, ShapeFile).aliases):
            if alias in names or alias in found:
                other = found.get(alias, alias)
                problem = document.problem(("aliases", index), f"'{alias}'", f"it already means '{other}'")
                problems.append(problem)
            found.setdefault(alias, _name(document))
    if problems:
        raise InputError(problems)
    return dict(sorted(found.items()))


def _name(document: Document) -> str:
    return PurePath(document.file).stem


def _contradictions(document: Document, file: ShapeFile) -> Iterator[Problem]:
    for path, found, expected in contradictions(file.shape):
        yield document.problem(("shape", *path), found, expected)


def _source_problems(document: Document, file: ShapeFile) -> Iterator[Problem]:
    """Each `source` is a key of `sources`, each of these is used, each exception is about a number of the shape."""
    named: dict[Path, str] = {("evidence", "source"): file.evidence.source}
    for key, evidence in file.exceptions.items():
        named["exceptions", key, "source"] = evidence.source
        if at(document.data, ("shape", *key.split("."))) is None:
            yield document.problem(("exceptions", key), f"'{key}' is not in shape", "expected the path of a number")
    named["published", "total", "source"] = file.published.total.source
    if file.published.active is not None:
        named["published", "active", "source"] = file.published.active.source
    yield from source_problems(document, named.items(), file.sources)
