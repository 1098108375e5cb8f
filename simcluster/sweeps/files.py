"""Paths and names of sweep files."""

from __future__ import annotations

from pathlib import Path

from simcluster.files import source
from simcluster.files.problems import InputError, Problem, nearest


def find(file: str) -> Path:
    """
    Find a sweep by path, or by the name of one that comes with simcluster.

    Raises:
        InputError: the name is unknown.
    """
    path = Path(file)
    if path.suffix in (".yaml", ".yml", ".json"):
        return path
    known = names()
    if file not in known:
        raise InputError([Problem(file[:200], 0, "", f"no sweep '{file[:80]}'", nearest(file[:80], known))])
    return folder() / f"{file}.yaml"


def names() -> tuple[str, ...]:
    """The sweeps that come with simcluster, sorted."""
    return tuple(sorted(file.stem for file in folder().glob("*.yaml")))


def folder() -> Path:
    """The folder of these."""
    return source.shipped("sweeps")
