"""Distributions of latencies: cumulative, and the tail of the gaps between tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from simcluster.plots.gather import Gathered
from simcluster.plots.sheet import FAINT, fit_axis, line, number, run_id, say, sheet, style
from simcluster.plots.tally import Floats, Tally

NAMES = {"ttft": "TTFT", "tpot": "TPOT", "itl": "ITL"}
_NONE = {"ttft": "no finished request", "tpot": "no request of several tokens", "itl": "no second token"}
LEAST_GAPS = 100
"""For a tail."""


def latency_cdfs(runs: Sequence[Gathered]) -> Figure:
    """Cumulative distributions of TTFT, TPOT and ITL, side by side, with median and 99th percentile."""
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
    """Corners of the share of values that are at least so large, from 1 down to the share of the greatest."""
    values, counts = tally.steps()
    shares = counts[::-1].cumsum()[::-1] / len(tally)
    return np.concatenate([values[:1], np.repeat(values[1:], 2)]), np.repeat(shares, 2)[: 2 * len(values) - 1]


def _cdf(axes: Axes, runs: Sequence[Gathered], name: str) -> None:
    """One panel, and below it n, p50 and p99 of every run."""
    axes.set_title(NAMES[name])
    drawn = [run.latencies[name] for run in runs if len(run.latencies[name])]
    rows = [Line2D([], [], linestyle="none", label=f"{'n':>10} {'p50':>8} {'p99':>8}  ms")]
    for place, run in enumerate(runs):
        how, tally = style(place), run.latencies[name]
        if not len(tally):
            rows.append(line(f"{_NONE[name]:>28}", how))
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
        fit_axis(axes, "x", [tally.extent() for tally in drawn])
        axes.set_xlabel(f"{NAMES[name]} (ms)")
        axes.set_ylim(-0.02, 1.04)
        axes.set_yticks([0, 0.25, 0.5, 0.75, 0.99], ["0", "25 %", "p50", "75 %", "p99"])
    else:
        say(axes, _NONE[name])
    axes.legend(
        handles=rows, loc="upper left", bbox_to_anchor=(0, -0.14), borderaxespad=0, borderpad=0, labelspacing=0.35,
        prop={"family": "DejaVu Sans Mono", "size": 8}, handlelength=2.6,
    )  # fmt: skip


def itl_tail(runs: Sequence[Gathered]) -> Figure:
    """How many of the gaps between tokens are at least so long, both axes logarithmic."""
    drawn: list[tuple[int, Tally]] = []
    short = []
    for place, run in enumerate(runs):
        tally = run.latencies["itl"]
        if len(tally) < LEAST_GAPS:
            short.append(f"{run.label}: {len(tally)} gaps; a tail needs at least {LEAST_GAPS}.")
        else:
            drawn.append((place, tally))
    figure, cell = sheet("Tail of the gaps between tokens (ITL)", runs, 4.6, ("itl", "clock"), notes=short)
    axes = figure.add_subplot(cell[0])
    if not drawn:
        say(axes, "no run has enough gaps")
        return figure
    lowest = 0.6 / max(len(tally) for _, tally in drawn)
    for place, tally in drawn:
        how, (values, shares) = style(place), exceeding(tally)
        axes.plot(
            np.append(values, values[-1]), np.append(shares, lowest / 10), color=how.colour, linestyle=how.dash,
            linewidth=1.8, snap=False, gid=run_id(place, "tail"),
        )  # fmt: skip
    fit_axis(axes, "x", [tally.extent() for _, tally in drawn], log=True)
    axes.set_yscale("log")
    axes.set_ylim(lowest, 1.3)
    shares_marked = [share for share in (1.0, 0.1, 0.01, 0.001, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8) if share > lowest]
    axes.set_yticks(shares_marked, [f"{share * 100:.10g} %" for share in shares_marked], minor=False)
    axes.minorticks_off()
    for share, name in ((0.5, "p50"), (0.01, "p99"), (0.001, "p99.9"), (0.0001, "p99.99")):
        if share > lowest:
            axes.axhline(share, color=FAINT, linewidth=0.7, linestyle=":", zorder=1)
            axes.annotate(
                name, (1, share), xycoords=("axes fraction", "data"), xytext=(-2, 2), textcoords="offset points",
                ha="right", size=8, color="#555555",
            )  # fmt: skip
    axes.set_xlabel("ITL (ms)")
    axes.set_ylabel("share of gaps at least this long")
    return figure
