"""Distributions of latencies over replications: the median, and the range of 90 % of the replications."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from simcluster.numerics.arrays import Floats
from simcluster.plots.distributions import NAMES, fit_cumulative_axes
from simcluster.plots.plot_data import PlotData
from simcluster.plots.sheet import say, sheet, style
from simcluster.plots.tails import MIN_VALUES, fit_tail_axes
from simcluster.plots.tally import Tally

_SHARES = np.concatenate([np.linspace(0.005, 0.985, 99), np.linspace(0.99, 0.999, 10)])
_TAIL = 1 - np.logspace(0, -4, 81)
"""Quantiles of a tail, as far as a replication has enough values."""
_NOTE = (
    "Line: median over replications of each percentile. Bands: from the 5th to the 95th, and from minimum to maximum."
)


def latency_bands(runs: Sequence[PlotData], whole: PlotData) -> Figure | None:
    """
    Draw distributions of TTFT, TPOT and ITL with bands over replications; None for fewer than three.

    Upper row: cumulative. Lower row: share of values at least this large, on logarithmic axes.
    """
    if len(runs) < 3:
        return None
    title = "Distribution of latencies over replications"
    figure, cell = sheet(title, [whole], 7.2, ("ttft", "tpot", "itl", "clock"), notes=[_NOTE])
    grid = cell[0].subgridspec(2, len(NAMES), wspace=0.2, hspace=0.2)
    for column, name in enumerate(NAMES):
        above, below = figure.add_subplot(grid[0, column]), figure.add_subplot(grid[1, column])
        above.set_title(NAMES[name])
        _bands(above, [run.latencies[name] for run in runs if len(run.latencies[name])], name)
        _tail_bands(below, [run.latencies[name] for run in runs if len(run.latencies[name]) >= MIN_VALUES], name)
        if not column:
            above.set_ylabel("share of values up to x")
            below.set_ylabel("share of values at least this long")
    return figure


def quantiles(tallies: Sequence[Tally], shares: Floats = _SHARES) -> Floats:
    """Quantiles of each replication, shape (replications, shares)."""
    return np.array([[tally.quantile(float(share)) for share in shares] for tally in tallies])


def together(runs: Sequence[PlotData]) -> PlotData:
    """Combine replications into one run, for the text of figures."""
    first = runs[0]
    summary: dict[str, Any] = first.summary | {"completed": sum(int(run.summary["completed"]) for run in runs)}
    seeds = f"{len(runs)} seeds" if len(runs) > 1 else f"seed {first.summary['seed']}"
    label = f"{first.summary['scenario']} ({seeds})"
    return replace(first, label=label, summary=summary, n_requests=sum(run.n_requests for run in runs))


def _bands(axes: Axes, tallies: Sequence[Tally], name: str) -> None:
    if len(tallies) < 3:
        say(axes, "fewer than three replications have any")
        return
    least, middle, most = _drawn(axes, quantiles(tallies), _SHARES)
    how = style(0)
    places = [int(np.abs(_SHARES - share).argmin()) for share in (0.5, 0.99)]
    axes.plot(middle[places], _SHARES[places], linestyle="none", marker=how.marker, markersize=5, color=how.colour)
    fit_cumulative_axes(axes, name, [(float(least[0]), float(most[-1]))])


def _tail_bands(axes: Axes, tallies: Sequence[Tally], name: str) -> None:
    if len(tallies) < 3:
        say(axes, f"fewer than three replications have {MIN_VALUES} values")
        return
    lowest = 1 / min(len(tally) for tally in tallies)
    shares = _TAIL[1 - _TAIL >= lowest]
    least, _, most = _drawn(axes, quantiles(tallies, shares), 1 - shares)
    fit_tail_axes(axes, name, [(float(least[0]), float(most[-1]))], 0.8 * lowest)


def _drawn(axes: Axes, values: Floats, heights: Floats) -> tuple[Floats, Floats, Floats]:
    """Draw bands and the line of quantiles, shape (replications, shares); returns minimum, median and maximum."""
    how = style(0)
    least, low, middle, high, most = np.quantile(values, [0, 0.05, 0.5, 0.95, 1], axis=0)
    axes.fill_betweenx(heights, least, most, color=how.colour, alpha=0.14, linewidth=0)
    axes.fill_betweenx(heights, low, high, color=how.colour, alpha=0.25, linewidth=0)
    axes.plot(middle, heights, color=how.colour, linewidth=1.8)
    return least, middle, most
