"""Shares of components in the variance of each latency, cumulated from 0 to 100 %."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from simcluster.plots.components import COLOURS
from simcluster.plots.plot_data import PlotData
from simcluster.plots.sheet import FAINT, INK, WIDTH_IN, number, say, sheet
from simcluster.results.metrics import LATENCIES
from simcluster.trace.columns import COMPONENTS
from simcluster.variance.explanation import Explanation

SMALL = 0.0005
"""Components with a smaller share of the variance are left out."""
_NOTE = (
    "Each bar: covariance of the component with the latency over the variance of the latency. They sum to 100 %; a "
    "bar to the left is a component that is small when the latency is large."
)


def variance_waterfall(whole: PlotData, found: Explanation) -> Figure:
    """Draw a panel for each latency, with a bar for each component from the end of the one before."""
    rows = [
        name for name in COMPONENTS if any(abs(_shares(found, kind).get(name, 0.0)) >= SMALL for kind in LATENCIES)
    ]
    height_in = 0.24 * max(len(rows), 3) + 0.5
    figure, cell = sheet(
        f"Which components carry the variance: {whole.label}", [whole], 2 * height_in + 0.85,
        ("ttft", "tpot", "itl", "e2el", "clock"), notes=[_NOTE], legend=[],
    )  # fmt: skip
    cell.update(left=1.3 / WIDTH_IN)
    grid = cell[0].subgridspec(2, 2, hspace=0.85 / height_in, wspace=0.34)
    for place, (kind, text) in enumerate(LATENCIES.items()):
        axes = figure.add_subplot(grid[place // 2, place % 2])
        shares, latency = _shares(found, kind), found.latencies[kind]
        axes.set_title(f"{text}, std {number(latency.std_ms)} ms" if latency and shares else text)
        if shares:
            _fall(axes, {name: shares[name] for name in rows})
        else:
            say(axes, "nothing varies")
    return figure


def _shares(found: Explanation, kind: str) -> dict[str, float]:
    latency = found.latencies[kind]
    return (latency and latency.variance_shares) or {}


def _fall(axes: Axes, shares: dict[str, float]) -> None:
    """Draw the bars of one latency."""
    start = 0.0
    for row, (name, share) in enumerate(shares.items()):
        axes.barh(row, share, 0.62, left=start, color=COLOURS[name], linewidth=0, gid=name)
        axes.plot([start + share] * 2, [row - 0.31, row + 1.31], color=FAINT, linewidth=0.7)
        right = max(start, start + share)
        axes.annotate(
            f"{round(100 * share, 1) + 0.0:.1f} %", (right, row), xytext=(3, 0), textcoords="offset points",
            va="center", size=7.5, color=INK,
        )  # fmt: skip
        start += share
    axes.set_yticks(range(len(shares)), [name.replace("_", " ") for name in shares])
    axes.set_ylim(len(shares) - 0.4, -0.6)
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, 0.0), max(high, 1.0) + 0.16)
    axes.axvline(0, color=FAINT, linewidth=0.8)
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))
