"""The layout of all figures of runs: title, legend, footer with definitions, colours, axes, numbers."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from simcluster.plots.plot_data import PlotData, printable
from simcluster.results.read_run import assumes_zero_spread

if TYPE_CHECKING:
    from matplotlib.typing import LineStyleType

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#000000", "#56B4E9")
"""Source: Okabe and Ito, Color Universal Design (2008), without yellow, which is invisible on white."""
_DASHES: tuple[LineStyleType, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.2, 1.5)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
INK = "#222222"
FAINT = "#8a8a8a"
_GRID = "#dddddd"
PLATE = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
"""A background that keeps the grid out of text."""

LOG_FROM_RATIO = 30.0
"""Ratio of largest to smallest value from which an axis is logarithmic."""
_MIN_HALF_WIDTH = 0.05
"""Smallest half width of an axis, relative to its middle: less spread looks like a step, not like noise."""

WIDTH_IN = 11.5
_MARGIN_IN = 0.35
_LINE_IN = 0.15
_LEGEND_LINE_IN = 0.172
_FOOTER_CHARACTERS = 195

DEFINITIONS = {
    "ttft": "TTFT: first token − arrival, queueing included, of finished requests.",
    "tpot": "TPOT: (last token − first token) / (n − 1), one value per finished request.",
    "itl": "ITL: every gap between successive tokens of a request, pooled.",
    "e2el": "E2E: last token − arrival, of finished requests.",
    "clock": "Times are measured at the engine, without client and network.",
}


@dataclass(frozen=True)
class Style:
    """The colour, dashes and marker of a run in all figures."""

    colour: str
    dash: LineStyleType
    marker: str


def style(number: int) -> Style:
    """The style of a run by its index; colours repeat after seven with other dashes, up to 28 styles."""
    dash = _DASHES[(number + 2 * (number // len(_COLOURS))) % len(_DASHES)]
    return Style(_COLOURS[number % len(_COLOURS)], dash, _MARKERS[number % len(_MARKERS)])


def run_id(place: int, *what: str) -> str:
    """The id of a run's elements in an SVG, by which a page finds them."""
    return "-".join(["run", str(place), *what])


@contextmanager
def plain_style() -> Iterator[None]:
    """Use matplotlib's defaults instead of the user's settings, which are restored at the end."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        # Letters that the font lacks are drawn as boxes.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({
            "axes.edgecolor": FAINT, "axes.labelcolor": INK, "axes.spines.right": False, "axes.spines.top": False,
            "axes.labelsize": 9, "axes.titlesize": 10, "axes.titleweight": "bold", "axes.titlelocation": "left",
            "axes.grid": True, "axes.axisbelow": True, "grid.color": _GRID, "grid.linewidth": 0.6,
            "xtick.color": INK, "ytick.color": INK, "xtick.labelsize": 8, "ytick.labelsize": 8,
            "text.color": INK, "text.parse_math": False, "legend.frameon": False, "legend.fontsize": 8.5,
        })  # fmt: skip
        yield


def sheet(
    title: str,
    runs: Sequence[PlotData],
    body_in: float,
    metrics: Sequence[str],
    *,
    notes: Sequence[str] = (),
    legend: Sequence[Line2D] | None = None,
    legend_columns: int = 1,
    under_in: float = 0.0,
) -> tuple[Figure, GridSpec]:
    """
    Make a figure with title, legend and footer.

    Args:
        title: what the figure shows.
        runs: the runs drawn.
        body_in: height of the part for axes, in inches, without labels of the lowest axis.
        metrics: keys of `DEFINITIONS` for the footer.
        notes: further sentences for the footer.
        legend: handles instead of the runs' names.
        legend_columns: of that legend.
        under_in: height left free below the lowest axis label.

    Returns:
        The figure, and where its axes go: a grid of one cell.
    """
    handles = [line(run.label, style(number)) for number, run in enumerate(runs)] if legend is None else list(legend)
    handle_length = 3.2 if legend is None else 1.2
    return frame(
        title, handles, body_in, _footer(runs, metrics, notes), legend_columns=legend_columns, under_in=under_in,
        handle_length=handle_length,
    )  # fmt: skip


def frame(
    title: str,
    handles: Sequence[Line2D],
    body_in: float,
    footer: Sequence[str],
    *,
    legend_columns: int = 1,
    under_in: float = 0.0,
    handle_length: float = 1.2,
) -> tuple[Figure, GridSpec]:
    """Make a figure with a title, a legend of these handles and a footer of these lines; see `sheet`."""
    n_rows = -(-len(handles) // legend_columns)
    above_in = 0.62 + _LEGEND_LINE_IN * n_rows + 0.32
    below_in = 0.5 + under_in + _LINE_IN * len(footer) + 0.22
    height_in = above_in + body_in + below_in
    figure = Figure(figsize=(WIDTH_IN, height_in), facecolor="white")
    left = _MARGIN_IN / WIDTH_IN
    figure.text(left, 1 - 0.2 / height_in, title, size=13, weight="bold", va="top")
    figure.legend(
        handles=handles, ncols=legend_columns, loc="upper left", borderaxespad=0, borderpad=0, labelspacing=0.4,
        bbox_to_anchor=(left, 1 - 0.58 / height_in), handlelength=handle_length, columnspacing=1.6,
    )  # fmt: skip
    bottom = (0.15 + _LINE_IN * len(footer)) / height_in
    for number, text in enumerate(footer):
        figure.text(left, bottom - number * _LINE_IN / height_in, text, size=7.5, va="top", color="#444444")
    return figure, GridSpec(
        1, 1, figure, left=0.92 / WIDTH_IN, right=1 - _MARGIN_IN / WIDTH_IN, bottom=below_in / height_in,
        top=1 - above_in / height_in,
    )  # fmt: skip


def line(label: str, how: Style) -> Line2D:
    """A run's line in a legend."""
    return Line2D(
        [], [], color=how.colour, linestyle=how.dash, linewidth=1.8, marker=how.marker, markersize=5, label=label
    )


def _footer(runs: Sequence[PlotData], metrics: Sequence[str], notes: Sequence[str]) -> list[str]:
    """Definitions, noise presets and assumptions, as lines that fit the figure."""
    parts = [" ".join([*(DEFINITIONS[metric] for metric in metrics), *notes])]
    presets: dict[str, list[str]] = {}
    assumed: dict[str, list[str]] = {}
    partial = []
    for run in runs:
        presets.setdefault(printable(run.summary["noise"]), []).append(run.label)
        if assumes_zero_spread(run.summary):
            assumed.setdefault(printable(run.summary["device"]), []).append(run.label)
        completed = int(run.summary["completed"])
        if completed != run.n_requests:
            partial.append(f"{run.label}: {completed:,} of {run.n_requests:,} requests finished.")
    if len(presets) == 1:
        parts.append(f"Noise preset: {next(iter(presets))}.")
    else:
        parts.append("Noise presets — " + "; ".join(f"{name}: {', '.join(of)}" for name, of in presets.items()) + ".")
    for device, of in assumed.items():
        which = f": {', '.join(of)}" if len(of) < len(runs) else ""
        parts.append(f"Assumed, not measured: zero spread on {device}{which}.")
    if any(tally.is_rounded for run in runs for tally in run.latencies.values()):
        parts.append("More than a million different values: drawn to 0.013 %.")
    parts += partial
    return wrapped(parts)


def wrapped(parts: Sequence[str]) -> list[str]:
    """Wrap paragraphs to lines that fit a footer."""
    return [text for part in parts if part for text in textwrap.wrap(part, _FOOTER_CHARACTERS)]


def number(value: float) -> str:
    """A value to three digits, without an exponent if possible."""
    if abs(value) >= 999.5:
        return f"{value:,.0f}"
    return f"{value:#.3g}".rstrip(".") if abs(value) >= 1e-4 else f"{value:.2g}"


def fit_axis(
    axes: Axes, which: Literal["x", "y"], extents: Sequence[tuple[float, float]], *, log: bool | None = None
) -> None:
    """
    Scale an axis to the values drawn.

    Args:
        axes: owner of the axis.
        which: x or y.
        extents: smallest and largest value of everything drawn.
        log: whether the axis is logarithmic; by default if the range exceeds `LOG_FROM_RATIO`.
    """
    low, high = min((low for low, _ in extents), default=0.0), max((high for _, high in extents), default=1.0)
    axis: Axis = axes.xaxis if which == "x" else axes.yaxis
    set_limits = axes.set_xlim if which == "x" else axes.set_ylim
    is_log = low > 0 and (high / low > LOG_FROM_RATIO if log is None else log)
    middle = (low + high) / 2
    least = _MIN_HALF_WIDTH * abs(middle) or 0.5
    if is_log:
        (axes.set_xscale if which == "x" else axes.set_yscale)("log")
        pad = max((high / low) ** 0.05, 1 + _MIN_HALF_WIDTH if high / low < 1 + _MIN_HALF_WIDTH else 1.0)
        set_limits(low / pad, high * pad)
        if high / low > 1000:
            axis.set_major_locator(LogLocator(numticks=12))
        elif high / low > 5:
            subs = (1.0, 2.0, 5.0) if high / low > 20 else (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
            axis.set_major_locator(LogLocator(subs=subs, numticks=12))
        else:
            axis.set_major_locator(MaxNLocator(6))
        axis.set_minor_locator(NullLocator())
    else:
        pad = max((high - low) * 0.06, least - (high - low) / 2)
        set_limits(low - pad, high + pad)
        axis.set_major_locator(MaxNLocator(6))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))


def say(axes: Axes, text: str) -> None:
    """Write into an empty plot why it is empty."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color="#555555", size=9)
    axes.grid(visible=False)
    axes.set_facecolor("#f5f5f5")
    axes.spines[:].set_visible(False)
    axes.tick_params(left=False, bottom=False, labelleft=False, labelbottom=False)
