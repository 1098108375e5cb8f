"""Who is last: for each rank of a group how often the others wait for it, over time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from simcluster.plots.gather import Gathered
from simcluster.plots.sheet import sheet
from simcluster.plots.tally import Floats
from simcluster.variance.critical_path import LastOverTime

MOST_GROUPS = 8
SHADES = LinearSegmentedColormap.from_list("last", ["#f7fbff", "#6baed6", "#08306b"])
"""Light to dark in one hue, so that it reads in print: after ColorBrewer's Blues."""
_NO_STEP = "#d4d4d4"
TITLES = {"last": "last at a collective", "slowest": "slowest to fetch"}


def last_ranks(one: Gathered, groups: Sequence[LastOverTime]) -> Figure | None:
    """A heat map for every group and for each way to be last; None where no rank waits for another."""
    panels: list[tuple[LastOverTime, str, Floats]] = []
    for group in groups[:MOST_GROUPS]:
        for what, table in (("last", group.last), ("slowest", group.slowest)):
            if table is not None:
                panels.append((group, what, table))
    if not panels:
        return None
    heights = [0.17 * len(group.devices) + 0.1 for group, *_ in panels]
    notes = [
        "Shade: share of the collectives to which a rank comes last, or of the steps in which it is the slowest.",
        "Grey: no step.",
    ]
    if len(groups) > MOST_GROUPS:
        notes.append(f"The first {MOST_GROUPS} of {len(groups)} groups.")
    figure, cell = sheet(
        f"Who is last: {one.label}",
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
