"""Draw runs: latency distributions, tails, latencies over time and components, several runs overlaid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from matplotlib.figure import Figure

from simcluster.plots.components import component_bars
from simcluster.plots.distributions import latency_cdfs
from simcluster.plots.files import save_all
from simcluster.plots.over_time import batch_over_time, latency_over_time
from simcluster.plots.plot_data import PlotData, plot_data
from simcluster.plots.tails import latency_tails
from simcluster.plots.violins import latency_violins
from simcluster.results.read_run import RunFolder

FIGURES: dict[str, Callable[[Sequence[PlotData]], Figure | None]] = {
    "latency_cdfs": latency_cdfs,
    "latency_tails": latency_tails,
    "latency_violins": latency_violins,
    "latency_over_time": latency_over_time,
    "component_bars": component_bars,
    "batch_over_time": batch_over_time,
}
"""Figures by name, in order."""


def draw(runs: Sequence[RunFolder], folder: Path, format: Literal["svg", "png", "pdf"]) -> list[Path]:
    """
    Draw overlaid runs into files `<figure>.<format>`, replacing those of the same names.

    Equal runs give equal bytes. `batch_over_time` is left out when all batches are of one size.

    Args:
        runs: at least one; each is labelled by its scenario, and by seed or folder where that repeats.
        folder: created if missing.
        format: of the files.

    Returns:
        The files written, in the order of `FIGURES`.

    Raises:
        InputError: the token table of a run is damaged.
        ValueError: no run, or another format.
        OSError: the folder cannot be written.
    """
    if not runs:
        raise ValueError("no run to draw")
    data = plot_data(runs)
    return save_all(((name, make(data)) for name, make in FIGURES.items()), folder, format)
