"""Heat maps of a sweep: figures of its points over two axes of the design, a panel for each figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

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


def heat_maps(plan: Plan, rows: Sequence[Row]) -> Figure | None:
    """
    A panel for each figure that the sweep weighs and that differs, and for each value of all axes but two.

    The two axes with most values are those of the panels. None where there are no two, or where points are drawn.
    """
    axes = axes_of(plan)
    sizes = [len(axis.labels) for axis in axes]
    if plan.file.design.samples is not None or sum(size > 1 for size in sizes) < 2:
        return None
    across, down = sorted(sorted(range(len(axes)), key=lambda place: -sizes[place])[:2], reverse=True)
    others = [place for place in range(len(axes)) if place not in (across, down)]
    names = [name for name in objectives(plan.file) if differs(rows, name)]
    panels = [(name, fixed) for name in names for fixed in product(*(range(sizes[place]) for place in others))]
    if not panels:
        return None
    left_out = len(panels) - MAX_PANELS
    panels = panels[:MAX_PANELS]
    n_fixed = math.prod(sizes[place] for place in others)
    n_across = min(_MAX_ACROSS, n_fixed if n_fixed > 1 else len(names), len(panels))
    n_down = math.ceil(len(panels) / n_across)
    panel_in = _CELL_IN * sizes[down]
    currency = plan.file.currency
    notes = ["Yellow is better, purple is worse. Grey: the point is infeasible, failed, or has no value."]
    notes += [f"{left_out} more panels are left out."] if left_out > 0 else []
    under_in = 0.06 * max(map(len, map(_short, axes[across].labels)))
    between_in = 0.95 + under_in + (0.2 if others else 0.0)
    figure, cell = frame(
        plan.file.title or plan.name, [], n_down * panel_in + (n_down - 1) * between_in, wrapped(notes),
        under_in=under_in,
    )  # fmt: skip
    cell.update(left=(0.5 + 0.085 * max(map(len, map(_short, axes[down].labels)))) / WIDTH_IN, right=0.99)
    grid = cell[0].subgridspec(n_down, n_across, hspace=between_in / panel_in, wspace=0.08)
    figures = np.array([[row.get(name, math.nan) for row in rows] for name in names], np.float64)
    figures = figures.reshape(len(names), *sizes)
    for place, (name, fixed) in enumerate(panels):
        where: list[Any] = [slice(None)] * len(axes)
        for other, value in zip(others, fixed, strict=True):
            where[other] = value
        values = figures[names.index(name)][tuple(where)]  # (down, across), since later axes are further right
        drawn = figure.add_subplot(grid[place // n_across, place % n_across])
        whole = figures[names.index(name)]
        _panel(drawn, values, whole, name, currency)
        said = [
            f"{short_key(axes[other].name)} {_short(axes[other].labels[v])}"
            for other, v in zip(others, fixed, strict=True)
        ]
        drawn.set_title("\n".join([titled(name, currency), *([", ".join(said)] if others else [])]), size=9)
        drawn.set_xticks(range(sizes[across]), map(_short, axes[across].labels), rotation=40, ha="right",
                         rotation_mode="anchor")  # fmt: skip
        is_left = place % n_across == 0
        drawn.set_yticks(range(sizes[down]), map(_short, axes[down].labels) if is_left else [""] * sizes[down])
        drawn.set_xlabel(short_key(axes[across].name))
        if is_left:
            drawn.set_ylabel(short_key(axes[down].name))
    return figure


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
