"""Distributions of latencies over replications: the median replication, and where nine in ten of them lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from simcluster.plots.distributions import NAMES
from simcluster.plots.gather import Gathered
from simcluster.plots.sheet import fit_axis, say, sheet, style
from simcluster.plots.tally import Floats, Tally

_SHARES = np.concatenate([np.linspace(0.005, 0.985, 99), np.linspace(0.99, 0.999, 10)])
_NOTE = (
    "Line: median over replications of each percentile. Bands: from the 5th to the 95th, and from least to greatest."
)


def latency_bands(runs: Sequence[Gathered], whole: Gathered) -> Figure | None:
    """Cumulative distributions of TTFT, TPOT and ITL with bands over replications; None of fewer than three."""
    if len(runs) < 3:
        return None
    title = "Distribution of latencies over replications"
    figure, cell = sheet(title, [whole], 3.6, ("ttft", "tpot", "itl", "clock"), notes=[_NOTE])
    grid = cell[0].subgridspec(1, len(NAMES), wspace=0.16)
    for column, name in enumerate(NAMES):
        axes = figure.add_subplot(grid[column])
        _bands(axes, [run.latencies[name] for run in runs if len(run.latencies[name])], name)
        if not column:
            axes.set_ylabel("share of values up to x")
    return figure


def quantiles(tallies: Sequence[Tally], shares: Floats = _SHARES) -> Floats:
    """Quantiles of each replication, shape (replications, shares)."""
    return np.array([[tally.quantile(float(share)) for share in shares] for tally in tallies])


def together(runs: Sequence[Gathered]) -> Gathered:
    """All replications as one, for what every figure says of its runs."""
    first = runs[0]
    summary: dict[str, Any] = first.summary | {"completed": sum(int(run.summary["completed"]) for run in runs)}
    seeds = f"{len(runs)} seeds" if len(runs) > 1 else f"seed {first.summary['seed']}"
    label = f"{first.summary['scenario']} ({seeds})"
    return replace(first, label=label, summary=summary, n_requests=sum(run.n_requests for run in runs))


def _bands(axes: Axes, tallies: Sequence[Tally], name: str) -> None:
    axes.set_title(NAMES[name])
    if len(tallies) < 3:
        say(axes, "fewer than three replications have any")
        return
    values, how = quantiles(tallies), style(0)
    least, low, middle, high, most = np.quantile(values, [0, 0.05, 0.5, 0.95, 1], axis=0)
    axes.fill_betweenx(_SHARES, least, most, color=how.colour, alpha=0.14, linewidth=0)
    axes.fill_betweenx(_SHARES, low, high, color=how.colour, alpha=0.25, linewidth=0)
    axes.plot(middle, _SHARES, color=how.colour, linewidth=1.8)
    places = [int(np.abs(_SHARES - share).argmin()) for share in (0.5, 0.99)]
    axes.plot(middle[places], _SHARES[places], linestyle="none", marker=how.marker, markersize=5, color=how.colour)
    fit_axis(axes, "x", [(float(least[0]), float(most[-1]))])
    axes.set_xlabel(f"{NAMES[name]} (ms)")
    axes.set_ylim(-0.02, 1.04)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 0.99], ["0", "25 %", "p50", "75 %", "p99"])
