"""Tables of the page before they are HTML: what each cell holds, and its notes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Cell(NamedTuple):
    """One value of a table."""

    text: str
    small: str = ""
    """Next to the text in small print: a ratio, a share."""
    sense: str = ""
    """`better` or `worse`, which the small print shows; empty for neither."""
    share: float | None = None
    """Share of a whole, drawn as a bar of that length."""


class Row(NamedTuple):
    """A row of a table."""

    head: str
    cells: Sequence[Cell]
    mark: str = ""
    """`differs` where runs differ, `group` for a line that begins a group; else a component's name for its colour."""


@dataclass(frozen=True)
class Table:
    """A table with a column for each run, or with the columns named."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Row]
    notes: Sequence[str] = ()
    assumed: Sequence[int] = ()
    """Places of columns whose spread is of a device that is assumed to have no noise."""
    of_runs: bool = False
    """Whether each column is a run."""
    is_prose: bool = False
    """Whether cells are text, aligned left, and not numbers."""


def cells(texts: Sequence[str]) -> tuple[Cell, ...]:
    """Cells of these texts alone."""
    return tuple(Cell(text) for text in texts)
