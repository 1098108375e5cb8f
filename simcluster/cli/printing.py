"""Output that commands share: figures with intervals, tables without lines, remarks, JSON."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from simcluster.files.units import number

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def plus_minus(value: float | None, half_width: float | None, unit: str = "") -> str:
    """A value, and half the width of its interval to two digits if it has one."""
    return number(value, unit) if half_width is None else f"{number(value)} ± {number(half_width, unit, 2)}"


def percent(share: float | None) -> str:
    """A share with its sign, to a tenth of a percent."""
    return "-" if share is None else f"{100 * share + 0.0:.1f} %".replace("-0.0 %", "0.0 %")


def wide_console() -> Console:
    """A console for tables: as wide as the terminal, or 200 columns in a pipe."""
    from rich.console import Console

    width = max(shutil.get_terminal_size().columns, 60) if sys.stdout.isatty() else 200
    return Console(file=sys.stdout, width=width, highlight=False, soft_wrap=False)


def bare_table() -> Table:
    """An empty table without lines."""
    from rich.table import Table

    return Table(box=None, pad_edge=False, header_style="bold")


def plain_table(*columns: str) -> Table:
    """A table without lines: the first column is text, the others are figures, right-aligned."""
    table = bare_table()
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place else "left", no_wrap=True)
    return table


def print_remarks(console: Console, remarks: Iterable[str]) -> None:
    """Print remarks on the figures, one per line."""
    for text in remarks:
        console.print(f"* {text}", markup=False, soft_wrap=True)


def print_json(found: Any) -> None:
    """One JSON document."""
    click.echo(json.dumps(found, indent=2, ensure_ascii=False))
