"""Gaps between tokens by length, and for the longest of them their times and causes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simcluster.numerics.arrays import Floats, Integers
from simcluster.numerics.ticks import TICKS_PER_S, Ticks
from simcluster.results.metrics import TICKS_PER_MS, are_finished
from simcluster.results.read_run import RunFolder
from simcluster.trace.columns import COMPONENT_COLUMNS, COMPONENTS
from simcluster.variance.moments import whole_of

EDGES = (0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0)
"""Shares of all gaps at which the bands of lengths meet."""
MAX_CAUSES = 4000
"""Long gaps whose causes are shown; of more, an even selection."""


@dataclass(frozen=True, eq=False)
class Lengths:
    """Gaps in bands of length, the short ones first; empty bands are left out."""

    shares: list[tuple[float, float]]
    """The shares of all gaps between which each band lies."""
    upto_ms: list[float]
    """The longest gap of each band."""
    parts_ms: Floats
    """Mean of each component in each band, shape (bands, components)."""


@dataclass(frozen=True, eq=False)
class Causes:
    """The longest gaps, beyond p99."""

    beyond_ms: float
    """The 99th percentile of the gaps."""
    times_s: Floats
    """When each ended, shape (n,)."""
    gaps_ms: Floats
    """How long each was, shape (n,)."""
    components: Integers
    """Index of the component that exceeds its mean over all gaps most, shape (n,)."""


def slow_tokens(
    runs: Sequence[RunFolder], quantiles_ms: Sequence[float], p99_ms: float, mean_path_ms: Sequence[float]
) -> tuple[Lengths, Causes]:
    """
    Find the components of gaps of each length, and the causes of the longest gaps of the first run.

    Args:
        runs: the gaps of all their finished requests count.
        quantiles_ms: of these gaps at the inner `EDGES`.
        p99_ms: a gap of the first run is long beyond this.
        mean_path_ms: mean of each component over all gaps.

    Raises:
        InputError: the token table of a run is damaged.
    """
    lengths, causes = _Lengths(quantiles_ms), _Causes(p99_ms, mean_path_ms)
    for place, run in enumerate(runs):
        finished = are_finished(run.requests)
        for block in run.tokens(("request", "token", "emitted_at_ticks", *COMPONENT_COLUMNS)):
            which = (block["token"] > 0) & finished[block["request"]]
            parts = np.stack([block[name][which] for name in COMPONENT_COLUMNS])
            gaps_ms = whole_of(parts) / TICKS_PER_MS
            lengths.add(parts, gaps_ms)
            if not place:
                causes.add(block["emitted_at_ticks"][which] / TICKS_PER_S, parts, gaps_ms)
    return lengths.found(), causes.found()


class _Lengths:
    """Gaps by length, added block by block."""

    def __init__(self, quantiles_ms: Sequence[float]) -> None:
        n_bands = len(EDGES) - 1
        self._quantiles_ms = quantiles_ms
        self._counts, self._longest = np.zeros(n_bands), np.zeros(n_bands)
        self._sums = np.zeros((n_bands, len(COMPONENTS)))

    def add(self, parts: Ticks, gaps_ms: Floats) -> None:
        """Components of gaps, shape (components, n), and their lengths, shape (n,)."""
        n_bands = len(self._counts)
        bands = np.searchsorted(self._quantiles_ms, gaps_ms, side="left")  # a gap as long as a quantile is below it
        self._counts += np.bincount(bands, minlength=n_bands)
        np.maximum.at(self._longest, bands, gaps_ms)
        for place, ticks in enumerate(parts):
            self._sums[:, place] += np.bincount(bands, ticks / TICKS_PER_MS, n_bands)

    def found(self) -> Lengths:
        bands = np.flatnonzero(self._counts)
        return Lengths(
            [(EDGES[band], EDGES[band + 1]) for band in bands],
            self._longest[bands].tolist(),
            self._sums[bands] / self._counts[bands][:, None],
        )


class _Causes:
    """The longest gaps, added block by block."""

    def __init__(self, p99_ms: float, mean_path_ms: Sequence[float]) -> None:
        self._p99_ms, self._mean_path_ms = p99_ms, np.asarray(mean_path_ms)[:, None]
        self._rows = [np.empty((3, 0))]

    def add(self, times_s: Floats, parts: Ticks, gaps_ms: Floats) -> None:
        """When gaps end, shape (n,); their components, shape (components, n); their lengths, shape (n,)."""
        places = np.flatnonzero(gaps_ms > self._p99_ms)
        excess = parts[:, places] / TICKS_PER_MS - self._mean_path_ms
        self._rows.append(np.stack([times_s[places], gaps_ms[places], excess.argmax(axis=0)]))

    def found(self) -> Causes:
        """All of them, or of very many an even selection."""
        times_s, gaps_ms, components = np.hstack(self._rows)
        every = max(1, -(-len(times_s) // MAX_CAUSES))
        return Causes(self._p99_ms, times_s[::every], gaps_ms[::every], components[::every].astype(np.int64))
