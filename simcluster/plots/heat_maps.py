"""Heat maps of a sweep: figures of its points over two axes of the design, a panel for each figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from simcluster.numerics.arrays import Floats
from simcluster.plots.components import ink
from simcluster.plots.sheet import LOG_FROM_RATIO, WIDTH_IN, frame, number, wrapped
from simcluster.sweeps.columns import HIGHER, objectives, short_key, titled, unit
from simcluster.sweeps.plan import Plan
from simcluster.sweeps.table import Row, text

MAX_PANELS = 24
_MAX_ACROSS = 3
_CELL_IN = 0.34
_NOTHING = "#e4e4e4"
_MAX_LABEL_LENGTH = 22


class Axis(NamedTuple):
    """One axis of a design: variants, or the values of a key of the grid."""

    name: str
    labels: tuple[str, ...]


def axes_of(plan: Plan) -> list[Axis]:
    """The axes of a design, the slowest first, as in the order of its points; those of one value too."""
    design = plan.file.design
    axes = [] if design.variants is None else [Axis("variant", tuple(design.variants))]
    for key, values in (design.grid or {}).items():
        axes.append(Axis(key, tuple(text(value) for value in values)))
    return axes


@dataclass(frozen=True)
class _Grid:
    """The panels of a sweep: a figure of its points over the two axes with most values, the others fixed."""

    axes: list[Axis]
    across: int
    down: int
    others: list[int]
    """Indices of the axes that are fixed in a panel."""
    panels: list[tuple[str, tuple[int, ...]]]
    """Column, and index of the value of each other axis."""
    currency: str | None

    @property
    def n_across(self) -> int:
        """Panels in a row: those of one column if axes are fixed, else one for each column."""
        n_fixed = math.prod(len(self.axes[axis].labels) for axis in self.others)
        n_columns = len({name for name, _ in self.panels})
        return min(_MAX_ACROSS, n_fixed if n_fixed > 1 else n_columns, len(self.panels))

    def labels(self, axis: int) -> list[str]:
        """Shortened labels of an axis."""
        return [_short(label) for label in self.axes[axis].labels]

    def title(self, name: str, fixed: Sequence[int]) -> str:
        """Column and fixed values of a panel."""
        values = [
            f"{short_key(self.axes[axis].name)} {_short(self.axes[axis].labels[value])}"
            for axis, value in zip(self.others, fixed, strict=True)
        ]
        return "\n".join([titled(name, self.currency), *([", ".join(values)] if values else [])])

    def values(self, whole: Floats, fixed: Sequence[int]) -> Floats:
        """Values of a panel, shape (down, across), since later axes are further right."""
        where: list[Any] = [slice(None)] * len(self.axes)
        for axis, value in zip(self.others, fixed, strict=True):
            where[axis] = value
        values: Floats = whole[tuple(where)]
        return values


def _grid(plan: Plan, rows: Sequence[Row]) -> _Grid | None:
    """Choose the axes and panels; None if there are no two axes, or if points are drawn at random."""
    axes = axes_of(plan)
    sizes = [len(axis.labels) for axis in axes]
    if plan.file.design.samples is not None or sum(size > 1 for size in sizes) < 2:
        return None
    across, down = sorted(sorted(range(len(axes)), key=lambda place: -sizes[place])[:2], reverse=True)
    others = [place for place in range(len(axes)) if place not in (across, down)]
    names = [name for name in objectives(plan.file) if differs(rows, name)]
    panels = [(name, fixed) for name in names for fixed in product(*(range(sizes[place]) for place in others))]
    return _Grid(axes, across, down, others, panels, plan.file.currency) if panels else None


def heat_maps(plan: Plan, rows: Sequence[Row]) -> Figure | None:
    """
    Draw a panel for each objective that differs, and for each value of all axes but two.

    The two axes with most values are those of the panels. None if there are no two axes, or if points are drawn at
    random.
    """
    grid = _grid(plan, rows)
    if grid is None:
        return None
    left_out = len(grid.panels) - MAX_PANELS
    grid = replace(grid, panels=grid.panels[:MAX_PANELS])
    notes = ["Yellow is better, purple is worse. Grey: the point is infeasible, failed, or has no value."]
    notes += [f"{left_out} more panels are left out."] if left_out > 0 else []
    n_down = math.ceil(len(grid.panels) / grid.n_across)
    panel_in = _CELL_IN * len(grid.labels(grid.down))
    under_in = 0.06 * max(map(len, grid.labels(grid.across)))
    between_in = 0.95 + under_in + (0.2 if grid.others else 0.0)
    body_in = n_down * panel_in + (n_down - 1) * between_in
    figure, cell = frame(plan.file.title or plan.name, [], body_in, wrapped(notes), under_in=under_in)
    cell.update(left=(0.5 + 0.085 * max(map(len, grid.labels(grid.down)))) / WIDTH_IN, right=0.99)
    cells = cell[0].subgridspec(n_down, grid.n_across, hspace=between_in / panel_in, wspace=0.08)
    sizes = [len(axis.labels) for axis in grid.axes]
    for place, (name, fixed) in enumerate(grid.panels):
        row, column = divmod(place, grid.n_across)
        whole = np.array([one.get(name, math.nan) for one in rows], np.float64).reshape(sizes)
        drawn = figure.add_subplot(cells[row, column])
        _panel(drawn, grid.values(whole, fixed), whole, name, grid.currency)
        drawn.set_title(grid.title(name, fixed), size=9)
        _label(drawn, grid, is_left=column == 0)
    return figure


def _label(drawn: Axes, grid: _Grid, *, is_left: bool) -> None:
    """Label the axes of a panel; the y axis at the left only."""
    across, down = grid.labels(grid.across), grid.labels(grid.down)
    drawn.set_xticks(range(len(across)), across, rotation=40, ha="right", rotation_mode="anchor")
    drawn.set_yticks(range(len(down)), down if is_left else [""] * len(down))
    drawn.set_xlabel(short_key(grid.axes[grid.across].name))
    if is_left:
        drawn.set_ylabel(short_key(grid.axes[grid.down].name))


def differs(rows: Sequence[Row], name: str) -> bool:
    """Whether a column has different values."""
    return len({row[name] for row in rows if row.get(name, math.nan) == row.get(name)}) > 1


def _short(label: str) -> str:
    return label if len(label) <= _MAX_LABEL_LENGTH else label[: _MAX_LABEL_LENGTH - 1] + "…"


def _panel(drawn: Axes, values: Any, whole: Any, name: str, currency: str | None) -> None:
    """Draw the cells of one panel, coloured by their place among all values of the figure."""
    _, scale = unit(name, currency)
    low, high = float(np.nanmin(whole)), float(np.nanmax(whole))
    is_log = low > 0 and high / low > LOG_FROM_RATIO
    norm = LogNorm(low, high) if is_log else Normalize(low, high)
    colours = colormaps["viridis" if name in HIGHER else "viridis_r"]
    for (row, column), value in np.ndenumerate(values):
        colour = _NOTHING if math.isnan(value) else colours(norm(value))
        drawn.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=colour, edgecolor="white", linewidth=1))
        if not math.isnan(value):
            drawn.text(column, row, number(value * scale), ha="center", va="center", size=7.5, color=ink(colour))
    drawn.set_xlim(-0.5, values.shape[1] - 0.5)
    drawn.set_ylim(values.shape[0] - 0.5, -0.5)
    drawn.grid(visible=False)
    drawn.spines[:].set_visible(False)
    drawn.tick_params(length=0)
