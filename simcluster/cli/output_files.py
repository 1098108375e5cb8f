"""Checks of files to write, made before anything is simulated: the suffix, and whether they can be written."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import click


def writable(_: click.Context, __: click.Parameter, value: Path | None) -> Path | None:
    """
    Check as an option's callback that a file can be written, as far as that can be known beforehand.

    Missing folders are made later, so the nearest existing one counts.
    """
    if value is not None:
        _require_writable(value, is_folder=False)
    return value


def writable_folder(_: click.Context, __: click.Parameter, value: Path | None) -> Path | None:
    """Check as an option's callback that files can be written into a folder."""
    if value is not None:
        _require_writable(value, is_folder=True)
    return value


def _require_writable(value: Path, *, is_folder: bool) -> None:
    try:
        fault = _fault(value, is_folder)
    except (OSError, ValueError) as error:  # a name that the system refuses, such as one with a NUL
        fault = getattr(error, "strerror", None) or str(error)
    if fault is not None:
        raise click.BadParameter(f"'{value}': {fault}; expected a place to write to")


def _fault(value: Path, is_folder: bool) -> str | None:
    """Return why this file or folder cannot be made in the nearest existing folder."""
    if value.is_dir() and not is_folder:
        return "is a folder"
    places = [value.absolute(), *value.absolute().parents]
    there = next(place for place in places[not is_folder :] if place.exists())
    if not there.is_dir():
        return f"'{there}' is not a folder"
    return None if os.access(there, os.W_OK | os.X_OK) else f"no permission in '{there}'"


def ending_in(*formats: str) -> Callable[[click.Context, click.Parameter, Path | None], Path | None]:
    """
    Make an option's callback that refuses other suffixes, so that no file of another kind is overwritten.

    Args:
        formats: suffixes without their dots.
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
