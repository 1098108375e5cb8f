"""
Sums of the components of latencies in bins by length, as narrow as memory allows.

Bins are at first a millionth of the logarithm wide, and are joined in pairs while there are too many. Their final
width depends on the latencies and not on their order.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from simcluster.numerics.arrays import Floats
from simcluster.numerics.ticks import Ticks

NARROWEST = 1e-6
"""Initial width of a bin, in the logarithm of the length."""
MAX_BINS = 2**14
"""Some megabytes; latencies within a factor of a thousand get bins of 0.05 %."""


class Sums(NamedTuple):
    """Sums over groups of latencies."""

    counts: Floats
    """Number of latencies in each group, shape (groups,)."""
    parts: Floats
    """Sums of the components, shape (components, groups)."""


class LengthBins:
    """Collects components of latencies in bins by length."""

    def __init__(self, n_parts: int) -> None:
        self._joined = 0
        self._keys: Ticks = np.empty(0, np.int64)
        self._sums = Sums(np.empty(0), np.empty((n_parts, 0)))
        self._waiting: list[tuple[Ticks, Ticks]] = []
        self._n_waiting = 0

    def add(self, parts: Ticks) -> None:
        """Add the components of latencies in ticks, shape (components, latencies)."""
        lengths = parts.sum(axis=0)
        starts = np.flatnonzero(
            np.diff(lengths, prepend=-1)
        )  # tokens of a step have the same length and are adjacent
        if len(starts):
            counts = np.diff(starts, append=len(lengths))
            self._waiting.append((counts, np.add.reduceat(parts, starts, axis=1)))
            self._n_waiting += len(starts)
        if self._n_waiting >= MAX_BINS:
            self._sort_in()

    def sums(self) -> Sums:
        """Sums of the bins in use, in ascending order of length."""
        self._sort_in()
        return self._sums

    def _sort_in(self) -> None:
        """Sort waiting latencies into bins, and join bins while there are too many."""
        if not self._n_waiting:
            return
        counts, parts = (np.concatenate(some, axis=-1) for some in zip(*self._waiting, strict=True))
        self._waiting, self._n_waiting = [], 0
        lengths = np.maximum(parts.sum(axis=0) / counts, 1)
        keys = (np.log(lengths) / NARROWEST).astype(np.int64) >> self._joined
        self._group(
            np.concatenate([self._keys, keys]),
            np.concatenate([self._sums.counts, counts]),
            np.concatenate([self._sums.parts, parts], axis=1),
        )
        while len(self._keys) > MAX_BINS:
            self._joined += 1
            self._group(self._keys >> 1, *self._sums)

    def _group(self, keys: Ticks, counts: Floats, parts: Floats) -> None:
        """Sum entries with the same key."""
        self._keys, groups = np.unique(keys, return_inverse=True)
        n = len(self._keys)
        self._sums = Sums(
            np.asarray(np.bincount(groups, counts, n), np.float64),
            np.stack([np.bincount(groups, part, n) if part.any() else np.zeros(n) for part in parts]),
        )
