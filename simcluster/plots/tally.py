"""Distributions in bounded memory: values with their counts, in all or for each bin of time."""

from __future__ import annotations

import numpy as np

from simcluster.numerics.arrays import Floats, Integers

MAX_DISTINCT = 2**20
"""Distinct values that a tally keeps exactly."""
LEVELS_PER_OCTAVE = 2**12
"""Levels per factor of two to which further values are rounded: by 0.013 %, less than the width of a line."""
MAX_POINTS = 20_000
N_BINS = 120


class Tally:
    """
    A distribution, added block by block.

    It is exact up to `max_distinct` different values; beyond that all values are rounded, so that memory depends on
    their range only.
    """

    def __init__(self, values: Floats | None = None, max_distinct: int = MAX_DISTINCT) -> None:
        self._values = np.empty(0)
        self._counts = np.empty(0, np.int64)
        self._max_distinct = max_distinct
        self.is_rounded = False
        if values is not None:
            self.add(values)

    def add(self, values: Floats) -> None:
        """Add finite values, shape (any number,)."""
        self._take(*np.unique(values, return_counts=True))

    def _take(self, distinct: Floats, counts: Integers) -> None:
        self._values, self._counts = _combined(
            np.concatenate([self._values, distinct]), np.concatenate([self._counts, counts])
        )
        if len(self._values) > self._max_distinct:
            self.is_rounded = True
            self._values, self._counts = _combined(_rounded(self._values), self._counts)

    def merge(self, other: Tally) -> None:
        """Add the values of another tally."""
        self.is_rounded |= other.is_rounded
        self._take(other._values, other._counts)

    def __len__(self) -> int:
        return int(self._counts.sum())

    def steps(self) -> tuple[Floats, Integers]:
        """The distinct values in ascending order, and how often each occurs."""
        return self._values, self._counts

    def quantile(self, share: float) -> float:
        """The quantile as in `metrics`, with linear interpolation, of at least one value."""
        up_to = self._counts.cumsum()
        rank = (up_to[-1] - 1) * share
        low, high = self._values[np.searchsorted(up_to, [np.floor(rank), np.ceil(rank)], side="right")]
        return float(low + (high - low) * (rank % 1))

    def extent(self) -> tuple[float, float]:
        """Smallest and largest of at least one value."""
        return float(self._values[0]), float(self._values[-1])


def _combined(values: Floats, counts: Integers) -> tuple[Floats, Integers]:
    """Combine equal values, ascending."""
    distinct, places = np.unique(values, return_inverse=True)
    sums = np.zeros(len(distinct), np.int64)
    np.add.at(sums, places, counts)
    return distinct, sums


def _rounded(values: Floats) -> Floats:
    mantissa, exponent = np.frexp(values)
    scale = 2 * LEVELS_PER_OCTAVE
    return np.asarray(np.ldexp(np.rint(mantissa * scale) / scale, exponent))


class Series:
    """
    Values over time: every point if they are few, else a tally for each of `N_BINS` equal bins.

    Args:
        end_s: the last time; later ones count as this.
        is_binned: whether to bin, since there are too many points to keep.
    """

    def __init__(self, end_s: float, *, is_binned: bool) -> None:
        self._end_s = end_s or 1.0
        self.is_binned = is_binned
        self._points: list[Floats] = [np.empty((0, 2))]
        self._bins = [Tally(max_distinct=LEVELS_PER_OCTAVE) for _ in range(N_BINS)] if is_binned else []

    def add(self, times_s: Floats, values: Floats) -> None:
        """Add points, both of shape (any number,)."""
        if not self.is_binned:
            self._points.append(np.stack([times_s, values], axis=1))
            return
        places = np.minimum(times_s / self._end_s * N_BINS, N_BINS - 1).astype(np.int64)
        order = np.argsort(places, kind="stable")
        found, starts = np.unique(places[order], return_index=True)
        for place, part in zip(found, np.split(values[order], starts[1:]), strict=False):
            self._bins[place].add(part)

    def points(self) -> tuple[Floats, Floats]:
        """Distinct points in order of time: times in seconds, and values."""
        points = np.unique(np.concatenate(self._points), axis=0)
        return points[:, 0], points[:, 1]

    def bands(self) -> tuple[Floats, Floats]:
        """Edges of the bins in seconds, and p1, median, p99 and maximum, shape (bins, 4); NaN in an empty bin."""
        rows = np.full((len(self._bins), 4), np.nan)
        for row, tally in zip(rows, self._bins, strict=True):
            if len(tally):
                row[:] = [tally.quantile(share) for share in (0.01, 0.5, 0.99, 1.0)]
        return np.linspace(0, self._end_s, len(self._bins) + 1), rows

    def extent(self) -> tuple[float, float] | None:
        """Smallest and largest value drawn; None without values."""
        drawn = self.bands()[1] if self.is_binned else self.points()[1]
        drawn = drawn[~np.isnan(drawn)]
        return (float(drawn.min()), float(drawn.max())) if drawn.size else None
