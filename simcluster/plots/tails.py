"""Tails of latencies: share of values at least this large, both axes logarithmic."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from simcluster.plots.distributions import NAMES, exceeding
from simcluster.plots.plot_data import PlotData
from simcluster.plots.sheet import fit_axis, run_id, say, sheet, style
from simcluster.plots.tally import Tally

MIN_VALUES = 100
"""Smallest number of values for a tail."""
KINDS = {"ttft": "requests", "itl": "gaps"}
"""Latencies with a tail, and what each value belongs to."""
_MARKED = {
    1.0: "100 %", 0.5: "p50", 0.1: "p90", 0.01: "p99", 1e-3: "p99.9", 1e-4: "p99.99", 1e-5: "0.001 %",
    1e-6: "0.0001 %", 1e-7: "0.00001 %", 1e-8: "0.000001 %",
}  # fmt: skip
"""Shares on the axis with the names of the percentiles."""


def latency_tails(runs: Sequence[PlotData]) -> Figure:
    """Draw the share of TTFT and of gaps between tokens that are at least this long."""
    short = [
        f"{run.label}: {len(run.latencies[kind])} {what}; a tail needs at least {MIN_VALUES}."
        for run in runs
        for kind, what in KINDS.items()
        if len(run.latencies[kind]) < MIN_VALUES
    ]
    figure, cell = sheet("Tails of latencies", runs, 4.4, (*KINDS, "clock"), notes=short)
    grid = cell[0].subgridspec(1, len(KINDS), wspace=0.2)
    for column, (kind, what) in enumerate(KINDS.items()):
        axes = figure.add_subplot(grid[column])
        axes.set_title(NAMES[kind])
        drawn = [(place, run.latencies[kind]) for place, run in enumerate(runs)]
        drawn = [(place, tally) for place, tally in drawn if len(tally) >= MIN_VALUES]
        if drawn:
            _tails(axes, kind, drawn)
            axes.set_ylabel(f"share of {what} at least this long")
        else:
            say(axes, f"no run has enough {what}")
    return figure


def _tails(axes: Axes, kind: str, drawn: Sequence[tuple[int, Tally]]) -> None:
    """Draw a curve for each run, from all values down to the largest."""
    lowest = 0.6 / max(len(tally) for _, tally in drawn)
    for place, tally in drawn:
        how, (values, shares) = style(place), exceeding(tally)
        axes.plot(
            np.append(values, values[-1]), np.append(shares, lowest / 10), color=how.colour, linestyle=how.dash,
            linewidth=1.8, snap=False, gid=run_id(place, kind, "tail"),
        )  # fmt: skip
    fit_tail_axes(axes, kind, [tally.extent() for _, tally in drawn], lowest)


def fit_tail_axes(axes: Axes, kind: str, extents: Sequence[tuple[float, float]], lowest: float) -> None:
    """Scale the axes of a tail to the values drawn, down to a share, with percentiles by name."""
    fit_axis(axes, "x", extents, log=True)
    axes.set_yscale("log")
    axes.set_ylim(lowest, 1.3)
    marked = {share: name for share, name in _MARKED.items() if share > lowest}
    axes.set_yticks(list(marked), list(marked.values()), minor=False)
    axes.minorticks_off()
    axes.set_xlabel(f"{NAMES[kind]} (ms)")
