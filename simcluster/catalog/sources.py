"""Checks of a catalogue file's `sources`: every source that is cited is listed, and every listed one is cited."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from simcluster.files.problems import Problem, nearest
from simcluster.files.quantities import fault
from simcluster.files.source import Document, Path


def source_problems(
    document: Document, cited: Iterable[tuple[Path, str]], listed: Collection[str]
) -> Iterator[Problem]:
    """Find cited sources that are not listed, each at the path that cites it, and listed ones that are not cited."""
    used = set()
    for path, name in cited:
        used.add(name)
        if name not in listed:
            yield document.problem(path, f"unknown source '{name}'", nearest(name, listed))
    for name in listed:
        if name not in used:
            yield document.problem(("sources", name), "no value cites this source", "remove it or cite it")


def require_sources(cited: Iterable[str], listed: Collection[str]) -> None:
    """
    Check the sources of a file in one of its validators, where lines are not known.

    Raises:
        PydanticCustomError: a cited source is not listed, or a listed one is not cited.
    """
    used = set(cited)
    for name in sorted(used - set(listed)):
        raise fault(f"source '{name}' is not listed in sources", nearest(name, listed))
    for name in sorted(set(listed) - used):
        raise fault(f"source '{name}' is not cited", "remove it or cite it")
