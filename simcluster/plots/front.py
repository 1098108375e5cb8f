"""The Pareto front of a sweep: all points, with those on the front highlighted."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from simcluster.plots.heat_maps import axes_of, differs
from simcluster.plots.sheet import FAINT, INK, fit_axis, frame, style, wrapped
from simcluster.sweeps.columns import HIGHER, objectives, short_key, title, titled, unit
from simcluster.sweeps.plan import Plan
from simcluster.sweeps.table import ON_FRONT, Row

PANEL_IN = 3.6
_MAX_ACROSS = 3
_MAX_STYLES = 12
_MAX_LABELS = 25


def pareto(plan: Plan, rows: Sequence[Row]) -> Figure | None:
    """
    Draw a panel for the first column of the front against each of the others; None without two that differ.

    Points on the front are filled and labelled with their number in the table.
    """
    names = [name for name in objectives(plan.file) if differs(rows, name)]
    if len(names) < 2:
        return None
    first, *others = names
    currency = plan.file.currency
    groups = _groups(plan)
    handles = _legend(plan)
    n_across = min(_MAX_ACROSS, len(others))
    n_down = math.ceil(len(others) / n_across)
    better = {name: "more" if name in HIGHER else "less" for name in objectives(plan.file)}
    weighed = ", ".join(f"{title(name)} ({which} is better)" for name, which in better.items())
    notes = [
        f"Objectives: {weighed}.",
        "Filled, with the number of the point: no other point is as good in all objectives and better in one.",
    ]
    figure, cell = frame(
        plan.file.title or plan.name, handles, n_down * PANEL_IN + 0.6 * (n_down - 1), wrapped(notes),
        legend_columns=4,
    )  # fmt: skip
    grid = cell[0].subgridspec(n_down, n_across, hspace=0.6 / PANEL_IN, wspace=0.28)
    for place, name in enumerate(others):
        axes = figure.add_subplot(grid[place // n_across, place % n_across])
        _scatter(axes, rows, first, name, groups, currency)
    return figure


def _has(row: Row, name: str) -> bool:
    return not math.isnan(row.get(name, math.nan))


def _styles(plan: Plan) -> int | None:
    """Index of the design's first axis with several values, but few."""
    sizes = [len(axis.labels) for axis in axes_of(plan)]
    return next((place for place, size in enumerate(sizes) if 1 < size <= _MAX_STYLES), None)


def _groups(plan: Plan) -> dict[int, int]:
    """The style of each point: its place on the axis that distinguishes points."""
    sizes = [len(axis.labels) for axis in axes_of(plan)]
    place = _styles(plan)
    if place is None:
        return {}
    n_samples = 1 if plan.file.design.samples is None else plan.file.design.samples.points
    inner = math.prod(sizes[place + 1 :]) * n_samples
    return {number: number // inner % sizes[place] for number in range(len(plan.points))}


def _legend(plan: Plan) -> list[Line2D]:
    place = _styles(plan)
    if place is None:
        return []
    axis = axes_of(plan)[place]
    return [
        Line2D([], [], linestyle="none", marker=style(place).marker, color=style(place).colour, markersize=6,
               label=label if axis.name == "variant" else f"{short_key(axis.name)} {label}")
        for place, label in enumerate(axis.labels)
    ]  # fmt: skip


def _scatter(
    axes: Axes, rows: Sequence[Row], first: str, name: str, groups: dict[int, int], currency: str | None
) -> None:
    """Draw all points by two columns."""
    (_, x_scale), (_, y_scale) = unit(first, currency), unit(name, currency)
    there = [(number, row) for number, row in enumerate(rows) if _has(row, first) and _has(row, name)]
    n_front = sum(row[ON_FRONT] for _, row in there)
    for is_on in (0, 1):  # the front is drawn above the others
        for number, row in there:
            if row[ON_FRONT] != is_on:
                continue
            how = style(groups.get(number, 0))
            at = (row[first] * x_scale, row[name] * y_scale)
            axes.plot(*at, marker=how.marker, markersize=6 if is_on else 4.5, linestyle="none", color=how.colour,
                      markerfacecolor=how.colour if is_on else "white", alpha=1 if is_on else 0.55,
                      markeredgewidth=1)  # fmt: skip
            if is_on and n_front <= _MAX_LABELS:
                axes.annotate(str(number), at, xytext=(4, 4), textcoords="offset points", size=7, color=INK)
    xs, ys = ([row[of] * scale for _, row in there] for of, scale in ((first, x_scale), (name, y_scale)))
    if there:
        fit_axis(axes, "x", [(min(xs), max(xs))])
        fit_axis(axes, "y", [(min(ys), max(ys))])
    axes.set_xlabel(titled(first, currency))
    axes.set_ylabel(titled(name, currency))
    axes.spines[:].set_color(FAINT)
