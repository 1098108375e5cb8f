"""Last ranks: how often the others of a group wait for each rank, over time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from simcluster.numerics.arrays import Floats
from simcluster.plots.plot_data import PlotData
from simcluster.plots.sheet import sheet
from simcluster.variance.critical_path import LastOverTime

MAX_GROUPS = 8
SHADES = LinearSegmentedColormap.from_list("last", ["#f7fbff", "#6baed6", "#08306b"])
"""Light to dark in one hue, which can be printed: after ColorBrewer's Blues."""
_NO_STEP = "#d4d4d4"
TITLES = {"last": "last at a collective", "slowest": "slowest to fetch"}


def last_ranks(one: PlotData, groups: Sequence[LastOverTime]) -> Figure | None:
    """Draw a heat map for every group and each criterion of lateness; None if no rank waits for another."""
    panels: list[tuple[LastOverTime, str, Floats]] = []
    for group in groups[:MAX_GROUPS]:
        for what, table in (("last", group.last), ("slowest", group.slowest)):
            if table is not None:
                panels.append((group, what, table))
    if not panels:
        return None
    heights = [0.17 * len(group.devices) + 0.1 for group, *_ in panels]
    notes = [
        "Shade: share of the collectives at which a rank arrives last, or of the steps in which it is the slowest.",
        "Grey: no step.",
    ]
    if len(groups) > MAX_GROUPS:
        notes.append(f"The first {MAX_GROUPS} of {len(groups)} groups.")
    figure, cell = sheet(
        f"Last ranks: {one.label}",
        [one],
        sum(heights) + 0.55 * len(panels),
        ("clock",),
        notes=notes,
        legend=[],
    )
    grid = cell[0].subgridspec(
        len(panels), 1, height_ratios=heights, hspace=0.55 * len(panels) / max(sum(heights), 1e-9)
    )
    for place, (group, what, table) in enumerate(panels):
        _heat(figure.add_subplot(grid[place]), group, what, table)
    figure.axes[-1].set_xlabel("simulated time (s)")
    return figure


def _heat(axes: Axes, group: LastOverTime, what: str, table: Floats) -> None:
    most = float(np.nanmax(table))
    axes.set_title(f"{TITLES[what]}: replica {group.replica}, stage {group.stage}; at most {100 * most:.0f} %")
    rows = np.arange(len(group.devices) + 1) - 0.5
    axes.pcolormesh(
        group.edges_s, rows, np.ma.masked_invalid(table), cmap=SHADES, vmin=0, vmax=most, rasterized=False,
        linewidth=0,
    )  # fmt: skip
    axes.set_yticks(range(len(group.devices)), group.devices, size=7)
    axes.set_ylim(len(group.devices) - 0.5, -0.5)
    axes.set_facecolor(_NO_STEP)
    axes.grid(visible=False)
