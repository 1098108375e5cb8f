"""Files that a command writes keep to their kind, and can be written: both is told before anything is played."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import click


def writable(_: click.Context, __: click.Parameter, value: Path | None) -> Path | None:
    """
    A check of an option: a file can be written here, as far as that can be seen beforehand.

    A folder that is not there yet is made for it later, so the nearest that is there counts.
    """
    if value is None:
        return None
    if value.is_dir():
        raise click.BadParameter(f"'{value}' is a folder; expected a place to write to")
    _require_writable(value, value.absolute().parents)
    return value


def writable_folder(_: click.Context, __: click.Parameter, value: Path | None) -> Path | None:
    """The same of a folder that files are written into."""
    if value is not None:
        _require_writable(value, (value.absolute(), *value.absolute().parents))
    return value


def _require_writable(value: Path, folders: Iterable[Path]) -> None:
    """Hold that something can be made in the first of these folders that is there."""
    there = next(folder for folder in folders if folder.exists())
    if not there.is_dir():
        raise click.BadParameter(f"'{value}': '{there}' is no folder; expected a place to write to")
    if not os.access(there, os.W_OK | os.X_OK):
        raise click.BadParameter(f"'{value}': no permission in '{there}'; expected a place to write to")


def ending_in(*formats: str) -> Callable[[click.Context, click.Parameter, Path | None], Path | None]:
    """
    A check of an option: a file of another kind, such as a scenario, is not written over.

    Args:
        formats: the endings without their dots.
    """

    def checked(context: click.Context, parameter: click.Parameter, value: Path | None) -> Path | None:
        if value is None:
            return None
        endings = [f".{name}" for name in formats]
        if value.suffix.lower() not in endings:
            raise click.BadParameter(f"'{value}' does not end in {_either(endings)}")
        return writable(context, parameter, value)

    return checked


def _either(endings: Sequence[str]) -> str:
    """`.a`, `.a or .b`, `.a, .b or .c`."""
    return " or ".join(text for text in (", ".join(endings[:-1]), endings[-1]) if text)
