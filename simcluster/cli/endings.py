"""Files that a command writes keep to their kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click


def ending_in(*endings: str) -> Callable[[click.Context, click.Parameter, Path | None], Path | None]:
    """A check of an option: a file of another kind, such as a scenario, is not written over."""

    def checked(_: click.Context, __: click.Parameter, value: Path | None) -> Path | None:
        if value is not None and value.suffix.lower() not in endings:
            raise click.BadParameter(f"'{value}' does not end in {' or '.join(endings)}")
        return value

    return checked
