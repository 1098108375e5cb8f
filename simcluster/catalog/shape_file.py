"""Read a model file of the catalogue: the shape with its sources, and the published numbers of parameters."""

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
    """A shape whose bits have a unit."""

    native_bits: Bits | None = None


class Evidence(Frozen):
    """The origin of numbers of the shape."""

    source: str
    confidence: Literal["high", "medium", "low"] = "high"
    note: str = ""


class Published(Frozen):
    """Numbers of parameters as the maker states them, to check the arithmetic."""

    total: Fact[Parameters]
    active: Fact[Parameters] | None = None


class ShapeFile(Frozen):
    """
    One file of `data/models`.

    `evidence` holds for every number of `shape`, except for those that `exceptions` names by their path
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
    Read the shape in a catalogue document; its name is the file's name without the suffix.

    Raises:
        InputError: with every problem: fields of the wrong type or size, numbers that contradict each other,
            sources that are cited but not listed or listed but not cited.
    """
    file = validate(document, ShapeFile)
    problems = [*_contradictions(document, file), *_source_problems(document, file)]
    if problems:
        raise InputError(problems)
    return ModelShape(name=_name(document), title=file.title, **dict(file.shape))


def aliases(documents: Iterable[Document]) -> dict[str, str]:
    """
    Collect other names of catalogue models.

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
    """Find sources that are not listed or not cited, and exceptions that are not about a number of the shape."""
    named: dict[Path, str] = {("evidence", "source"): file.evidence.source}
    for key, evidence in file.exceptions.items():
        named["exceptions", key, "source"] = evidence.source
        if at(document.data, ("shape", *key.split("."))) is None:
            yield document.problem(("exceptions", key), f"'{key}' is not in shape", "expected the path of a number")
    named["published", "total", "source"] = file.published.total.source
    if file.published.active is not None:
        named["published", "active", "source"] = file.published.active.source
    yield from source_problems(document, named.items(), file.sources)
