"""Gaps between tokens by how long they are, and for the longest of them when they came and what made them long."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simcluster.numerics.ticks import TICKS_PER_S
from simcluster.results.metrics import TICKS_PER_MS, are_finished
from simcluster.results.read_run import RunFolder
from simcluster.trace.columns import COMPONENT_COLUMNS, COMPONENTS
from simcluster.variance.moments import whole_of

Floats = npt.NDArray[np.float64]

EDGES = (0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0)
"""Shares of all gaps at which the bands of lengths meet."""
MOST_CAUSES = 4000
"""Long gaps whose causes are told; of more, an even selection."""


@dataclass(frozen=True, eq=False)
class Lengths:
    """Gaps in bands of length, the short ones first; a band without any is left out."""

    shares: list[tuple[float, float]]
    """From which share of all gaps to which a band reaches."""
    upto_ms: list[float]
    """The longest gap of each band."""
    parts_ms: Floats
    """Mean of each component in each band, shape (bands, components)."""


@dataclass(frozen=True, eq=False)
class Causes:
    """The longest gaps, beyond p99."""

    beyond_ms: float
    """The percentile."""
    times_s: Floats
    """When each ended, shape (n,)."""
    gaps_ms: Floats
    """How long each was, shape (n,)."""
    components: npt.NDArray[np.int64]
    """Index of the component that exceeds its mean over all gaps most, shape (n,)."""


def by_length(runs: Sequence[RunFolder], quantiles_ms: Sequence[float]) -> Lengths:
    """
    What gaps of each length are made of.

    Args:
        runs: all of whose finished requests' gaps count.
        quantiles_ms: of these gaps at the inner `EDGES`.

    Raises:
        InputError: the token table of a run is damaged.
    """
    n_bands = len(EDGES) - 1
    counts, sums, longest = np.zeros(n_bands), np.zeros((n_bands, len(COMPONENTS))), np.zeros(n_bands)
    for run in runs:
        for _, parts, gaps_ms in _gaps(run):
            bands = np.searchsorted(quantiles_ms, gaps_ms, side="left")  # a gap as long as a quantile is below it
            counts += np.bincount(bands, minlength=n_bands)
            np.maximum.at(longest, bands, gaps_ms)
            for place, ticks in enumerate(parts):
                sums[:, place] += np.bincount(bands, ticks / TICKS_PER_MS, n_bands)
    there = np.flatnonzero(counts)
    return Lengths(
        [(EDGES[band], EDGES[band + 1]) for band in there],
        longest[there].tolist(),
        sums[there] / counts[there][:, None],
    )


def causes(run: RunFolder, p99_ms: float, mean_path_ms: Sequence[float]) -> Causes:
    """
    Why the longest gaps of a run were so long.

    Args:
        run: on disk.
        p99_ms: beyond which a gap is long.
        mean_path_ms: mean of each component over all gaps.

    Raises:
        InputError: the token table is damaged.
    """
    found = [np.empty((3, 0))]
    for times_s, parts, gaps_ms in _gaps(run):
        places = np.flatnonzero(gaps_ms > p99_ms)
        excess = parts[:, places] / TICKS_PER_MS - np.asarray(mean_path_ms)[:, None]
        found.append(np.stack([times_s[places], gaps_ms[places], excess.argmax(axis=0)]))
    times_s, gaps_ms, components = np.hstack(found)
    every = max(1, -(-len(times_s) // MOST_CAUSES))
    return Causes(p99_ms, times_s[::every], gaps_ms[::every], components[::every].astype(np.int64))


def _gaps(run: RunFolder) -> Iterator[tuple[Floats, npt.NDArray[np.int64], Floats]]:
    """Blocks of gaps of finished requests: when they end, their components in ticks, their length."""
    finished = are_finished(run.requests)
    for block in run.tokens(("request", "token", "emitted_at_ticks", *COMPONENT_COLUMNS)):
        which = (block["token"] > 0) & finished[block["request"]]
        parts = np.stack([block[name][which] for name in COMPONENT_COLUMNS])
        yield block["emitted_at_ticks"][which] / TICKS_PER_S, parts, whole_of(parts) / TICKS_PER_MS
