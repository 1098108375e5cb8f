"""Latencies, batches and queue over simulated time."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.ticker import MaxNLocator

from simcluster.plots.plot_data import PlotData
from simcluster.plots.sheet import fit_axis, run_id, say, sheet, style
from simcluster.plots.tally import MAX_POINTS, N_BINS, Series

_BINNED = (
    f"More than {MAX_POINTS:,} points: median (line), p1 to p99 (band), maximum (dots) in {N_BINS} bins of time."
)


def latency_over_time(runs: Sequence[PlotData]) -> Figure:
    """Draw ITL at every token, and below it TTFT at every arrival."""
    series = [run.itl_over_time for run in runs], [run.ttft_over_time for run in runs]
    figure, cell = sheet(
        "Latencies over simulated time", runs, 5.6, ("itl", "ttft", "clock"), notes=_notes(*series[0], *series[1])
    )
    upper, lower = _two(figure, cell)
    _draw_all(upper, series[0], "itl", "no second token")
    _draw_all(lower, series[1], "ttft", "no finished request", size=16.0)
    upper.set_title("ITL, at the token that ends the gap")
    upper.set_ylabel("ITL (ms)")
    lower.set_title("TTFT, at the arrival of the request")
    lower.set_ylabel("TTFT (ms)")
    _time_axis(lower, runs)
    return figure


def batch_over_time(runs: Sequence[PlotData]) -> Figure | None:
    """Draw requests in every step and waiting requests; None if all batches of all runs have one size."""
    sizes = [run.batch_extent for run in runs if run.batch_extent != (0, 0)]
    if not sizes or min(low for low, _ in sizes) == max(high for _, high in sizes):
        return None
    series = [run.batch_over_time for run in runs]
    notes = [
        "Batch: requests in a step of a replica, for steps that made a token.",
        "Waiting: arrived and not scheduled yet, over all replicas.",
        *_notes(*series),
    ]
    figure, cell = sheet("Batches and queue over simulated time", runs, 5.0, (), notes=notes)
    upper, lower = _two(figure, cell)
    _draw_all(upper, series, "batch", "no token")
    _count_axis(upper, max(high for _, high in sizes))
    upper.set_title("Batch, at the end of the step")
    upper.set_ylabel("requests in the step")
    for place, run in enumerate(runs):
        how = style(place)
        lower.plot(
            *run.waiting, drawstyle="steps-post", color=how.colour, linewidth=1.0, alpha=0.85,
            gid=run_id(place, "waiting"),
        )  # fmt: skip
    _count_axis(lower, max(int(run.waiting[1].max()) for run in runs))
    lower.set_title("Requests that wait")
    lower.set_ylabel("requests")
    _time_axis(lower, runs)
    return figure


def _two(figure: Figure, cell: GridSpec) -> tuple[Axes, Axes]:
    """Two axes above each other with a common axis of time."""
    grid = cell[0].subgridspec(2, 1, height_ratios=(3, 2), hspace=0.22)
    lower = figure.add_subplot(grid[1])
    upper = figure.add_subplot(grid[0], sharex=lower)
    upper.tick_params(labelbottom=False)
    return upper, lower


def _draw_all(axes: Axes, series: Sequence[Series], what: str, nothing: str, size: float = 6.0) -> None:
    extents = [extent for one in series if (extent := one.extent()) is not None]
    if not extents:
        say(axes, nothing)
        return
    for place, one in enumerate(series):
        if one.extent() is not None:
            (_draw_bands if one.is_binned else _draw_points)(axes, one, place, what, size)
    fit_axis(axes, "y", extents)


def _draw_points(axes: Axes, series: Series, place: int, what: str, size: float) -> None:
    how = style(place)
    axes.scatter(
        *series.points(), s=size, marker=how.marker, color=how.colour, linewidths=0, alpha=0.75,
        gid=run_id(place, what),
    )  # fmt: skip


def _draw_bands(axes: Axes, series: Series, place: int, what: str, size: float) -> None:
    how, (edges_s, rows) = style(place), series.bands()
    least, median, most, maximum = rows.T
    axes.stairs(
        most, edges_s, baseline=least, fill=True, color=how.colour, alpha=0.22, linewidth=0,
        gid=run_id(place, what, "band"),
    )  # fmt: skip
    axes.stairs(
        median, edges_s, baseline=None, color=how.colour, linewidth=1.6, linestyle=how.dash,
        gid=run_id(place, what, "median"),
    )  # fmt: skip
    middles_s = (edges_s[:-1] + edges_s[1:]) / 2
    axes.scatter(
        middles_s, maximum, s=size, marker=how.marker, color=how.colour, linewidths=0, alpha=0.9,
        gid=run_id(place, what, "maximum"),
    )  # fmt: skip


def _notes(*series: Series) -> list[str]:
    return [_BINNED] if any(one.is_binned for one in series) else []


def _count_axis(axes: Axes, most: int) -> None:
    axes.set_yscale("linear")
    axes.set_ylim(0, max(most, 1) * 1.08)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))


def _time_axis(axes: Axes, runs: Sequence[PlotData]) -> None:
    end_s = max(run.end_s for run in runs) or 1.0
    axes.set_xlim(-0.01 * end_s, 1.01 * end_s)
    axes.set_xlabel("simulated time (s)")
