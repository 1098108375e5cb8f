"""
Violins of latencies: runs below each other on one axis, each as wide as values are frequent.

A violin here is a histogram and its mirror image. It is not smoothed by a kernel: simulated values repeat, and
smoothing would draw tails beyond the smallest and largest value.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from simcluster.numerics.arrays import Floats
from simcluster.plots.distributions import NAMES, NONE
from simcluster.plots.plot_data import PlotData
from simcluster.plots.sheet import INK, PLATE, Style, fit_axis, number, run_id, say, sheet, style
from simcluster.plots.tally import Tally

KINDS = ("ttft", "itl")
MIN_BINS, MAX_BINS = 20, 120
"""Bins along the axis, of equal width on it."""
LOG_FROM_RATIO = 5.0
"""Ratio of largest to smallest value from which the axis is logarithmic: most values are near the smallest."""
_ROW_IN = 0.78
_MIDDLE = 0.62
"""Height of the middle of a violin, in rows; its label is above."""
_HALF = 0.29
"""Largest half height, in rows."""
_STROKES = ((0.99, 100, 0.24), (0.999, 1000, 0.15))
"""Percentile, number of values that it needs, and half height in rows."""
_NOTE = (
    "Height: square root of the number of values in equal bins of the axis, so that the tail is visible; "
    "the largest bin of every run is equally high. Line: smallest to largest. Bar: the middle half. Mark: p50. "
    "Strokes: p99, of 100 values or more, and p99.9, of 1,000."
)


def latency_violins(runs: Sequence[PlotData]) -> Figure:
    """Draw the distributions of TTFT and ITL of runs below each other."""
    panel_in = _ROW_IN * len(runs)
    figure, cell = sheet(
        "Spread of latencies by run", runs, 2 * panel_in + 0.85, (*KINDS, "clock"), notes=[_NOTE], legend=[]
    )
    grid = cell[0].subgridspec(2, 1, hspace=0.85 / panel_in)
    for row, kind in enumerate(KINDS):
        axes = figure.add_subplot(grid[row])
        axes.set_title(NAMES[kind])
        tallies = [run.latencies[kind] for run in runs]
        drawn = [tally for tally in tallies if len(tally)]
        if not drawn:
            say(axes, NONE[kind])
            continue
        extents = [tally.extent() for tally in drawn]
        low, high = min(low for low, _ in extents), max(high for _, high in extents)
        fit_axis(axes, "x", extents, log=low > 0 and high / low > LOG_FROM_RATIO)
        axes.set_xlabel(f"{NAMES[kind]} (ms)")
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_ylim(len(runs), 0)
        edges = _edges(axes, min(len(tally) for tally in drawn))
        for place, (run, tally) in enumerate(zip(runs, tallies, strict=True)):
            _label(axes, place, run.label, tally, kind)
            if len(tally):
                _violin(axes, place, tally, kind, edges)
    return figure


def profile(tally: Tally, edges: Floats) -> Floats:
    """Share of the values between successive edges, the last included, shape (edges - 1,)."""
    values, counts = tally.steps()
    shares, _ = np.histogram(values, edges, weights=counts.astype(np.float64))
    return np.asarray(shares / len(tally))


def _label(axes: Axes, place: int, label: str, tally: Tally, kind: str) -> None:
    """Write the run above a violin, and its percentiles at the right."""
    middle = number(tally.quantile(0.5)) if len(tally) else ""
    strokes = [f"p{100 * share:g} {number(tally.quantile(share))}" for share in _drawn(tally)]
    percentiles = f"{', '.join([f'p50 {middle}', *strokes])} ms" if middle else NONE[kind]
    for x, text, side, weight in ((0, label, "left", "bold"), (1, percentiles, "right", "normal")):
        axes.annotate(
            text, (x, place + 0.16), xycoords=("axes fraction", "data"), ha=side, va="center", size=8.5,
            weight=weight, bbox=PLATE,
        )  # fmt: skip


def _drawn(tally: Tally) -> dict[float, float]:
    """Percentiles with enough values, and the half height of their strokes."""
    return {share: half for share, least, half in _STROKES if len(tally) >= least}


def _edges(axes: Axes, n_values: int) -> Floats:
    """Edges of equal bins on an x axis; their number grows with the square root of the number of values."""
    spaced = np.geomspace if axes.get_xscale() == "log" else np.linspace
    return spaced(*axes.get_xlim(), min(max(round(3 * n_values**0.5), MIN_BINS), MAX_BINS) + 1)


def _violin(axes: Axes, place: int, tally: Tally, kind: str, edges: Floats) -> None:
    """Draw a run in the row of its index."""
    how, middle = style(place), place + _MIDDLE
    heights = np.sqrt(profile(tally, edges))
    heights *= _HALF / heights.max()
    axes.stairs(
        middle + heights, np.clip(edges, *tally.extent()), baseline=middle - heights, fill=True, color=how.colour,
        alpha=0.4, linewidth=0.8, gid=run_id(place, kind, "violin"),
    )  # fmt: skip
    _marks(axes, middle, tally, how, run_id(place, kind))


def _marks(axes: Axes, middle: float, tally: Tally, how: Style, gid: str) -> None:
    """Draw extent, middle half, and percentiles."""
    low, *quartiles, high = (tally.quantile(share) for share in (0.0, 0.25, 0.75, 1.0))
    axes.plot([low, high], [middle] * 2, color=how.colour, linewidth=0.9, gid=f"{gid}-extent")
    axes.plot(
        quartiles, [middle] * 2, color=how.colour, linewidth=4.5, solid_capstyle="butt", gid=f"{gid}-middle-half"
    )
    for share, half in _drawn(tally).items():
        axes.plot(
            [tally.quantile(share)] * 2, [middle - half, middle + half], color=INK, linewidth=1.1,
            gid=f"{gid}-p{100 * share:g}".replace(".", "-"),
        )  # fmt: skip
    axes.plot(
        [tally.quantile(0.5)], [middle], linestyle="none", marker=how.marker, markersize=6,
        markerfacecolor="white", markeredgecolor=how.colour, markeredgewidth=1.4, zorder=3, gid=f"{gid}-median",
    )  # fmt: skip
