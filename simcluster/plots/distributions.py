"""Cumulative distributions of latencies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from simcluster.numerics.arrays import Floats
from simcluster.plots.plot_data import PlotData
from simcluster.plots.sheet import fit_axis, line, number, run_id, say, sheet, style
from simcluster.plots.tally import Tally

NAMES = {"ttft": "TTFT", "tpot": "TPOT", "itl": "ITL"}
NONE = {"ttft": "no finished request", "tpot": "no request of several tokens", "itl": "no second token"}


def latency_cdfs(runs: Sequence[PlotData]) -> Figure:
    """Draw cumulative distributions of TTFT, TPOT and ITL side by side, with median and 99th percentile."""
    table_in = 0.08 + 0.165 * (len(runs) + 1)
    figure, cell = sheet("Distribution of latencies", runs, 3.4, ("ttft", "tpot", "itl", "clock"), under_in=table_in)
    grid = cell[0].subgridspec(1, len(NAMES), wspace=0.16)
    for column, name in enumerate(NAMES):
        axes = figure.add_subplot(grid[column])
        _cdf(axes, runs, name)
        if not column:
            axes.set_ylabel("share of values up to x")
    return figure


def cumulative(tally: Tally) -> tuple[Floats, Floats]:
    """Corners of a cumulative distribution, from 0 to 1: values and shares; vertical at every value."""
    values, counts = tally.steps()
    shares = counts.cumsum() / len(tally)
    return np.repeat(values, 2), np.concatenate([[0.0], np.repeat(shares[:-1], 2), shares[-1:]])


def exceeding(tally: Tally) -> tuple[Floats, Floats]:
    """Corners of the share of values at least this large, from 1 down to the share of the maximum."""
    values, counts = tally.steps()
    shares = counts[::-1].cumsum()[::-1] / len(tally)
    return np.concatenate([values[:1], np.repeat(values[1:], 2)]), np.repeat(shares, 2)[: 2 * len(values) - 1]


def _cdf(axes: Axes, runs: Sequence[PlotData], name: str) -> None:
    """Draw a panel, and below it n, p50 and p99 of every run."""
    axes.set_title(NAMES[name])
    drawn = [run.latencies[name] for run in runs if len(run.latencies[name])]
    rows = [Line2D([], [], linestyle="none", label=f"{'n':>10} {'p50':>8} {'p99':>8}  ms")]
    for place, run in enumerate(runs):
        how, tally = style(place), run.latencies[name]
        if not len(tally):
            rows.append(line(f"{NONE[name]:>28}", how))
            continue
        p50, p99 = tally.quantile(0.5), tally.quantile(0.99)
        rows.append(line(f"{len(tally):>10,} {number(p50):>8} {number(p99):>8}", how))
        axes.plot(
            *cumulative(tally),
            color=how.colour,
            linestyle=how.dash,
            linewidth=1.8,
            snap=False,
            gid=run_id(place, name),
        )
        axes.plot(
            [p50, p99], [0.5, 0.99], linestyle="none", marker=how.marker, markersize=5, color=how.colour, zorder=3,
            gid=run_id(place, name, "marks"),
        )  # fmt: skip
    if drawn:
        fit_cumulative_axes(axes, name, [tally.extent() for tally in drawn])
    else:
        say(axes, NONE[name])
    axes.legend(
        handles=rows, loc="upper left", bbox_to_anchor=(0, -0.14), borderaxespad=0, borderpad=0, labelspacing=0.35,
        prop={"family": "DejaVu Sans Mono", "size": 8}, handlelength=2.6,
    )  # fmt: skip


def fit_cumulative_axes(axes: Axes, name: str, extents: Sequence[tuple[float, float]]) -> None:
    """Scale the axes of a cumulative distribution to what is drawn, with percentiles by name."""
    fit_axis(axes, "x", extents)
    axes.set_xlabel(f"{NAMES[name]} (ms)")
    axes.set_ylim(-0.02, 1.04)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 0.99], ["0", "25 %", "p50", "75 %", "p99"])
