"""Tables of the page, before they are HTML: what stands in each cell, and what must be said beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Cell(NamedTuple):
    """One value of a table."""

    text: str
    small: str = ""
    """Beside it in small print: a ratio, a share."""
    sense: str = ""
    """`better` or `worse`, of the small print; empty where neither."""
    share: float | None = None
    """Of a whole, for a bar of that length."""


class Row(NamedTuple):
    """A line of a table."""

    head: str
    cells: Sequence[Cell]
    mark: str = ""
    """`differs` where runs differ, `group` for a line that begins a group; else a component's name for its colour."""


@dataclass(frozen=True)
class Table:
    """A table: a column for each run, or of whatever its columns say."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Row]
    notes: Sequence[str] = ()
    assumed: Sequence[int] = ()
    """Places of columns whose spread is of a device of which zero noise is assumed."""
    of_runs: bool = False
    """Whether each column is a run."""
    is_prose: bool = False
    """Whether cells are words, which begin at the left, and not numbers."""


def cells(texts: Sequence[str]) -> tuple[Cell, ...]:
    """Cells with nothing beside their texts."""
    return tuple(Cell(text) for text in texts)
