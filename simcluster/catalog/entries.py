"""
Look up shipped entries by name: devices, links, model shapes, noise presets and calibrations.

Names are looked up only among the files of the package data, so a name cannot lead to other files.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING, Literal

from simcluster.catalog import device_file
from simcluster.catalog.device import Device, Link
from simcluster.files import source
from simcluster.files.problems import nearest

if TYPE_CHECKING:
    from simcluster.catalog.shapes import ModelShape

Kind = Literal["devices", "links", "models", "noise", "calibration"]

_NAME = re.compile(r"[a-z0-9][a-z0-9.-]*")
_MAX_SHOWN = 60


class UnknownName(LookupError):
    """The catalogue has no entry of this name; `found` and `expected` are the message."""

    def __init__(self, found: str, expected: str) -> None:
        self.found = found
        self.expected = expected
        super().__init__(f"{found}; {expected}")


def names(kind: Kind) -> tuple[str, ...]:
    """List all names of a kind, sorted."""
    files = [item.name for item in _folder(kind).iterdir() if item.is_file()]
    return tuple(sorted(name.removesuffix(".yaml") for name in files if name.endswith(".yaml")))


def entry(kind: Kind, name: str) -> source.Document:
    """
    Read the file of an entry, with its lines, notes and sources.

    Raises:
        UnknownName: the catalogue has none of this name.
        InputError: the file is not YAML.
    """
    singular = kind.removesuffix("s")
    shown = name if len(name) <= _MAX_SHOWN else name[: _MAX_SHOWN - 1] + "…"
    if not _NAME.fullmatch(name):
        raise UnknownName(f"'{shown}' cannot be the name of a {singular}", "expected a-z, 0-9, '.' and '-'")
    known = names(kind)
    if name not in known:
        raise UnknownName(f"no {singular} '{shown}' in the catalogue", nearest(name, known))
    file = f"{name}.yaml"
    text = (_folder(kind) / file).read_text(encoding="utf-8")
    return source.parse(text, f"simcluster/data/{kind}/{file}")


@cache
def device(name: str) -> Device:
    """
    Look up a device by its catalogue name.

    Raises:
        UnknownName: the catalogue has none of this name.
        InputError: its file is invalid; every problem with file and line.
    """
    return device_file.read_device(entry("devices", name), name)


@cache
def link(name: str) -> Link:
    """
    Look up a link by its catalogue name. Full duplex: its bandwidth holds in each direction at the same time.

    Raises:
        UnknownName: the catalogue has none of this name.
        InputError: its file is invalid; every problem with file and line.
    """
    return device_file.read_link(entry("links", name), name)


@cache
def model(name: str) -> ModelShape:
    """
    Look up a model shape by its catalogue name or one of its aliases.

    Raises:
        UnknownName: the catalogue has none of this name.
        InputError: its file is invalid; every problem with file and line.
    """
    from simcluster.catalog import shape_file

    if name not in names("models"):
        name = _aliases().get(name, name)
    return shape_file.read(entry("models", name))


@cache
def _aliases() -> dict[str, str]:
    """Collect aliases of models, and the catalogue name of each."""
    from simcluster.catalog import shape_file

    return shape_file.aliases(entry("models", name) for name in names("models"))


def _folder(kind: Kind) -> Traversable:
    return resources.files("simcluster") / "data" / kind
