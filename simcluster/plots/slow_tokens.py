"""Gaps between tokens: components by length, and time and cause of the longest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from simcluster.plots.components import COLOURS
from simcluster.plots.plot_data import PlotData
from simcluster.plots.sheet import FAINT, fit_axis, number, say, sheet
from simcluster.trace.columns import COMPONENTS
from simcluster.variance.slow_tokens import Causes, Lengths

_NAMES = tuple(COMPONENTS)
_SPOTS = 300
"""Raster over width and height of a plot; a dot covers several cells."""


def components_by_percentile(whole: PlotData, lengths: Lengths) -> Figure:
    """Draw a bar for the gaps of each band of percentiles, split into the means of their components."""
    used = np.flatnonzero(lengths.parts_ms.sum(axis=0) > 0)
    notes = ["Each bar: mean components of the gaps in a band of percentiles; below it the longest gap of the band."]
    figure, cell = sheet(
        "Components of gaps by length", [whole], 3.8, ("itl", "clock"), notes=notes, legend=_legend(used),
        legend_columns=min(max(len(used), 1), 5), under_in=0.15,
    )  # fmt: skip
    axes = figure.add_subplot(cell[0])
    if not lengths.shares:
        say(axes, "no second token")
        return figure
    bottom = np.zeros(len(lengths.shares))
    for place in used.tolist():
        heights = lengths.parts_ms[:, place]
        axes.bar(
            range(len(heights)), heights, 0.72, bottom=bottom, color=COLOURS[_NAMES[place]], edgecolor="white",
            linewidth=0.5, gid=_NAMES[place],
        )  # fmt: skip
        bottom += heights
    for place, total_ms in enumerate(bottom.tolist()):
        axes.annotate(f"{number(total_ms)} ms", (place, total_ms), xytext=(0, 3), textcoords="offset points",
                      ha="center", size=8, weight="bold")  # fmt: skip
    labels = [
        f"{_percentile(low)} to {_percentile(high)}\nup to {number(upto_ms)} ms"
        for (low, high), upto_ms in zip(lengths.shares, lengths.upto_ms, strict=True)
    ]
    axes.set_xticks(range(len(labels)), labels)
    axes.set_ylim(0, float(bottom.max()) * 1.1 or 1.0)
    axes.grid(visible=False, axis="x")
    axes.set_ylabel("mean ITL (ms)")
    return figure


def itl_causes(one: PlotData, causes: Causes, spells: Sequence[tuple[float, float, str]]) -> Figure:
    """Draw the gaps beyond p99 over time, coloured by their cause, and the times of events."""
    used = np.unique(causes.components)
    counts = np.bincount(causes.components, minlength=len(_NAMES))
    share = {place: counts[place] / max(len(causes.components), 1) for place in used.tolist()}
    notes = [
        f"Drawn: gaps beyond p99, {number(causes.beyond_ms)} ms. Cause: the component that exceeds its mean over all "
        "gaps most.",
        *(["Grey: times of events, named at the top."] if spells else []),
    ]
    figure, cell = sheet(
        f"Time and cause of the longest gaps: {one.label}", [one], 4.2, ("itl", "clock"), notes=notes,
        legend=_legend(used, share), legend_columns=min(max(len(used), 1), 4),
    )  # fmt: skip
    axes = figure.add_subplot(cell[0])
    if not len(causes.times_s):
        say(axes, "no gap exceeds p99")
        return figure
    end_s = one.end_s or 1.0
    for begin_s, until_s, what in spells:
        axes.axvspan(begin_s, min(until_s, end_s), color="#e8e8e8", linewidth=0, zorder=0)
        axes.annotate(what, (begin_s, 1), xycoords=("data", "axes fraction"), xytext=(2, -2), rotation=90,
                      textcoords="offset points", va="top", size=7, color=FAINT)  # fmt: skip
    drawn = _apart(causes, end_s)
    for place in used.tolist():
        mine = drawn[causes.components[drawn] == place]
        axes.scatter(
            causes.times_s[mine], causes.gaps_ms[mine], s=9, color=COLOURS[_NAMES[place]], linewidths=0, alpha=0.8,
            gid=_NAMES[place],
        )  # fmt: skip
    fit_axis(axes, "y", [(float(causes.gaps_ms.min()), float(causes.gaps_ms.max()))])
    axes.set_ylabel("ITL (ms)")
    axes.set_xlim(-0.01 * end_s, 1.01 * end_s)
    axes.set_xlabel("simulated time (s), at the token that ends the gap")
    return figure


def _apart(causes: Causes, end_s: float) -> npt.NDArray[np.intp]:
    """Indices of gaps that are visible separately: the first of those in the same raster cell."""
    gaps = np.log(causes.gaps_ms)
    height = max(float(np.ptp(gaps)), 0.01)
    spots = np.stack([
        np.rint(causes.times_s / end_s * _SPOTS), np.rint((gaps - gaps.min()) / height * _SPOTS), causes.components
    ])  # fmt: skip
    return np.sort(np.unique(spots, axis=1, return_index=True)[1])


def _legend(used: Sequence[int] | npt.NDArray[np.intp], share: dict[int, float] | None = None) -> list[Line2D]:
    """Legend of components with their share of the gaps."""
    return [
        Line2D(
            [], [], linestyle="none", marker="s", markersize=9, color=COLOURS[_NAMES[place]],
            label=_NAMES[place].replace("_", " ") + (f", {100 * share[place]:.0f} %" if share else ""),
        )
        for place in (int(place) for place in used)
    ]  # fmt: skip


def _percentile(share: float) -> str:
    return "least" if share == 0 else "greatest" if share == 1 else f"p{100 * share:g}"
