"""Draw a sweep: heat maps of its grid, and its Pareto front."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from matplotlib.figure import Figure

from simcluster.plots.files import save_all
from simcluster.plots.front import pareto
from simcluster.plots.heat_maps import heat_maps
from simcluster.sweeps.plan import Plan
from simcluster.sweeps.table import Row

FIGURES: dict[str, Callable[[Plan, Sequence[Row]], Figure | None]] = {"heat_maps": heat_maps, "pareto": pareto}
"""Figures by name, in order."""


def draw(plan: Plan, rows: Sequence[Row], folder: Path, format: Literal["svg", "png", "pdf"] = "svg") -> list[Path]:
    """
    Draw the points of a sweep into files `<figure>.<format>`, replacing those of the same names.

    Equal sweeps give equal bytes. A figure is left out if the design lacks its axes or no value differs.

    Args:
        plan: the sweep.
        rows: of its table, one per point.
        folder: created if missing.
        format: of the files.

    Returns:
        The files written, in the order of `FIGURES`.

    Raises:
        OSError: the folder cannot be written.
    """
    return save_all(((name, make(plan, rows)) for name, make in FIGURES.items()), folder, format)
