"""Mean latencies by component, as stacked bars."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from simcluster.plots.plot_data import PlotData
from simcluster.plots.sheet import INK, PLATE, WIDTH_IN, number, sheet
from simcluster.trace.columns import COMPONENTS

if TYPE_CHECKING:
    from matplotlib.typing import ColorType

OTHER = "other"
COLOURS = {
    "queue": "#DDCC77",
    "prefill_interference": "#999933",
    "compute": "#332288",
    "weight_fetch": "#117733",
    "kv_fetch": "#44AA99",
    "interconnect": "#CC6677",
    "wait_for_peers": "#882255",
    "pipeline_wait": "#AA4499",
    "launch_host": "#88CCEE",
    "stall": "#222222",
    OTHER: "#CFCFCF",
}
"""The colour of each component in all figures. Source: Paul Tol, Colour schemes (2021), scheme "muted"."""
SMALL_SHARE = 0.005
"""Components with a smaller share of a latency are drawn together as `other`."""

_ROW_IN = 0.8
_CHARACTER_IN = 0.068
_NOTE_CHARACTERS = 175

Kind = Literal["ttft", "itl"]
KINDS: tuple[Kind, ...] = ("ttft", "itl")


def component_bars(runs: Sequence[PlotData]) -> Figure:
    """Draw a bar for the mean TTFT and one for the mean ITL of every run, split into components."""
    used = {name for run in runs for kind in KINDS for name in parts(run, kind)}
    handles = [
        Line2D([], [], linestyle="none", marker="s", markersize=9, color=colour, label=_shown(name))
        for name, colour in COLOURS.items()
        if name in used
    ]
    notes = [f"Components below {SMALL_SHARE * 100:g} % of a bar are drawn as 'other'."]
    panel_in = _ROW_IN * len(runs)
    figure, cell = sheet(
        "Mean latency by component", runs, 2 * panel_in + 0.85, ("ttft", "itl", "clock"), notes=notes, legend=handles,
        legend_columns=min(max(len(handles), 1), 5),
    )  # fmt: skip
    grid = cell[0].subgridspec(2, 1, hspace=0.85 / panel_in)
    _bars(figure.add_subplot(grid[0]), runs, "ttft", "no finished request")
    _bars(figure.add_subplot(grid[1]), runs, "itl", "no second token")
    return figure


def parts(run: PlotData, kind: Kind) -> dict[str, float]:
    """
    The components of a run's mean latency in ms, small ones together as `other`; empty without a mean.

    A component is negative if tokens catch up on a delay of those before them.
    """
    mean_ms = run.summary[f"mean_{kind}_ms"]
    if mean_ms is None:
        return {}
    shares = run.summary[f"{kind}_shares"]
    shown = {name: shares[name] * mean_ms for name in COMPONENTS if abs(shares[name]) >= SMALL_SHARE}
    rest = sum(share for share in shares.values() if abs(share) < SMALL_SHARE) * mean_ms
    return shown | ({OTHER: rest} if rest else {})


def _bars(axes: Axes, runs: Sequence[PlotData], kind: Kind, nothing: str) -> None:
    axes.set_title(f"Mean {kind.upper()}")
    split = [parts(run, kind) for run in runs]
    longest = max((sum(value for value in one.values() if value > 0) for one in split), default=0.0)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_ylim(len(runs), 0)
    axes.set_xlim(0, longest * 1.1 or 1.0)
    inch_per_ms = (WIDTH_IN - 1.1) / (longest * 1.1 or 1.0)
    for row, (run, one) in enumerate(zip(runs, split, strict=True)):
        axes.text(0, row + 0.2, run.label, size=9, weight="bold", va="center", bbox=PLATE)
        if one:
            _bar(axes, row, one, inch_per_ms)
        else:
            axes.text(0, row + 0.46, nothing, size=8.5, va="center", color="#555555")
    axes.xaxis.set_visible(longest > 0)
    axes.spines["bottom"].set_visible(longest > 0)
    axes.xaxis.set_major_locator(MaxNLocator(8))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axes.set_xlabel(f"mean {kind.upper()} (ms)")


def _bar(axes: Axes, row: int, one: dict[str, float], inch_per_ms: float) -> None:
    """Draw a bar: values inside where they fit, else below it, like negative ones; the sum at its end."""
    start = 0.0
    below = []
    for name, value_ms in one.items():
        if value_ms < 0:
            below.append(f"{_shown(name)} {number(value_ms)}")
            continue
        axes.barh(
            row + 0.46, value_ms, 0.3, left=start, color=COLOURS[name], edgecolor="white", linewidth=0.6, gid=name
        )
        text = f"{_shown(name)} {number(value_ms)}"
        if len(text) * _CHARACTER_IN < value_ms * inch_per_ms:
            axes.text(
                start + value_ms / 2, row + 0.46, text, size=8, ha="center", va="center", color=ink(COLOURS[name])
            )
        else:
            below.append(text)
        start += value_ms
    axes.annotate(
        f"{number(sum(one.values()))} ms", (start, row + 0.46), xytext=(4, 0), textcoords="offset points",
        va="center", size=9, weight="bold",
    )  # fmt: skip
    if below:
        note = textwrap.fill(" · ".join(below) + " ms", _NOTE_CHARACTERS)
        axes.text(0, row + 0.66, note, size=7.5, va="top", color="#444444", bbox=PLATE)


def _shown(name: str) -> str:
    return name.replace("_", " ")


def ink(colour: ColorType) -> str:
    """Black or white, whichever has the better contrast on a colour."""
    red, green, blue = to_rgb(colour)
    return INK if 0.299 * red + 0.587 * green + 0.114 * blue > 0.55 else "white"
