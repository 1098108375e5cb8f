"""Draw an explanation: bands over replications, variance by component, slow tokens, last ranks, and a map."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from matplotlib.figure import Figure

from simcluster.files.problems import InputError
from simcluster.plots.bands import latency_bands, together
from simcluster.plots.files import save_all
from simcluster.plots.plot_data import PlotData, plot_data
from simcluster.plots.ranks import last_ranks
from simcluster.plots.slow_tokens import components_by_percentile, itl_causes
from simcluster.plots.tally import Tally
from simcluster.plots.topology_map import topology_map
from simcluster.plots.waterfall import variance_waterfall
from simcluster.results.read_run import RunFolder
from simcluster.scenario.known_topology import topology_of
from simcluster.variance.critical_path import CriticalPath, last_over_time
from simcluster.variance.event_intervals import labelled_intervals
from simcluster.variance.explanation import Explanation
from simcluster.variance.link_use import link_use
from simcluster.variance.slow_tokens import EDGES, slow_tokens

N_BINS = 40
"""Bins of time in the heat map of ranks."""


def draw_explanation(
    runs: Sequence[RunFolder], found: Explanation, folder: Path, format: Literal["svg", "png", "pdf"]
) -> list[Path]:
    """
    Draw the result of `variance.explain` into files, replacing those of the same names.

    Figures over time show the first run. Equal runs give equal bytes.

    Args:
        runs: one run, or replications.
        found: their explanation.
        folder: created if missing.
        format: of the files.

    Returns:
        The files written; figures without data are left out.

    Raises:
        InputError: the token table of a run is damaged.
        OSError: the folder cannot be written.
    """
    return save_all(explanation_figures(runs, plot_data(runs), found), folder, format)


def explanation_figures(
    runs: Sequence[RunFolder], data: Sequence[PlotData], found: Explanation
) -> Iterator[tuple[str, Figure | None]]:
    """All figures by name, one at a time, in the current style; see `draw_explanation`."""
    whole, first = together(data), together(data[:1])
    yield "latency_bands", latency_bands(data, whole)
    yield "variance_waterfall", variance_waterfall(whole, found)
    if (gaps := found.latencies["itl"]) is not None:
        itl = Tally()
        for run in data:
            itl.merge(run.latencies["itl"])
        inner = [itl.quantile(share) for share in EDGES[1:-1]]
        p99_ms, path_ms = itl.quantile(0.99), list(gaps.mean_path_ms.values())
        lengths, causes = slow_tokens(runs, inner, p99_ms, path_ms)
        yield "components_by_percentile", components_by_percentile(whole, lengths)
        yield "itl_causes", itl_causes(first, causes, labelled_intervals(runs[0]))
    try:
        groups = last_over_time(runs[0], N_BINS)
    except InputError:  # the notes of the explanation give the reason
        groups = []
    yield "last_ranks", last_ranks(first, groups)
    yield "topology_map", _topology_map(runs, whole, found.critical_path)


def _topology_map(runs: Sequence[RunFolder], whole: PlotData, critical: CriticalPath | None) -> Figure | None:
    """Draw which ranks are last and how busy links are; None without the scenario or its graph."""
    try:
        topology = topology_of(runs[0].scenario())
        use = link_use(runs, topology) if topology is not None else None
    except InputError:  # the notes of the explanation give the reason
        return None
    return topology_map(whole, topology, critical, use) if topology is not None else None
