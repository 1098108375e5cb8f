"""
Tail shares: which components make the worst values as much worse as they are.

The mean of the worst part of all values, say one percent, exceeds the mean of all; every component has a part of that
excess, and these parts sum to one. This is the split of expected shortfall: values that are equal at the border all
count with the same fraction, so that the tail is exactly one percent whatever is tied.

Source:
    Tasche, "Risk contributions and performance measurement" (1999); Acerbi and Tasche, "On the coherence of expected
    shortfall" (2002), for ties at the border.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from simcluster.numerics.ticks import Ticks
from simcluster.variance.moments import N_PARTS, Moments

LEVELS = {"p99": Fraction(1, 100), "p99.9": Fraction(1, 1000)}
"""Worst parts by the name of the percentile where they begin."""
FEW = 10
"""A tail of fewer values is an anecdote."""
_LOW = 2**32 - 1


class Worst:
    """
    The largest values with their components, equal ones together, in bounded memory.

    Args:
        at_least: how many of the largest values are kept.
    """

    def __init__(self, at_least: int) -> None:
        self._at_least = at_least
        self._rows = np.empty((2 + 2 * N_PARTS, 0), np.int64)
        """Value, its count, and the sums of each component's upper and lower 32 bits."""
        self._border = -1
        self._fresh: list[Ticks] = []
        self._n_fresh = 0

    def add(self, parts: Ticks, whole: Ticks) -> None:
        """Add values: their components, shape (components, n), and the sums of these, shape (n,)."""
        places = np.flatnonzero(whole >= self._border)
        if not len(places):
            return
        kept = parts[:, places]
        self._take(np.vstack([whole[places], np.ones(len(places), np.int64), kept >> 32, kept & _LOW]))

    def merge(self, other: Worst) -> None:
        """Add the values of another."""
        other._settle()
        self._take(other._rows)

    def _take(self, rows: Ticks) -> None:
        self._fresh.append(rows)
        self._n_fresh += rows.shape[1]
        if self._n_fresh > max(2 * self._at_least, 2**16):
            self._settle()

    def _settle(self) -> None:
        """Merge equal values, sort them with the largest first, and drop those that are not kept."""
        rows = np.hstack([self._rows, *self._fresh])
        rows = rows[:, np.argsort(-rows[0], kind="stable")]
        self._fresh, self._n_fresh = [], 0
        if not rows.shape[1]:
            return
        starts = np.flatnonzero(np.diff(rows[0], prepend=rows[0, 0] + 1))
        merged = np.add.reduceat(rows, starts, axis=1)
        merged[0] = rows[0, starts]
        upto = int(np.searchsorted(merged[1].cumsum(), self._at_least)) + 1
        if upto <= merged.shape[1]:
            merged = merged[:, :upto]
            self._border = int(merged[0, -1])
        self._rows = merged

    def tail(self, n_worst: Fraction) -> Tail:
        """The `n_worst` largest values, at most `at_least`."""
        self._settle()
        counts = self._rows[1]
        ends = counts.cumsum()
        last = int(np.searchsorted(ends, float(n_worst)))
        while last and ends[last - 1] >= n_worst:  # the search rounds
            last -= 1
        while ends[last] < n_worst:
            last += 1
        above = self._rows[:, :last]
        n_above = int(ends[last - 1]) if last else 0
        fraction = (n_worst - n_above) / int(counts[last])
        sums = []
        for part in range(N_PARTS):
            high, low = 2 + part, 2 + N_PARTS + part
            whole = (int(above[high].sum()) << 32) + int(above[low].sum())
            border = (int(self._rows[high, last]) << 32) + int(self._rows[low, last])
            sums.append(whole + fraction * border)
        return Tail(int(self._rows[0, last]), fraction, n_worst, tuple(sums))


@dataclass(frozen=True)
class Tail:
    """The worst values."""

    border: int
    """The smallest of them, in ticks."""
    fraction: Fraction
    """Weight of each value at the border; larger values have weight 1."""
    n: Fraction
    """Number of values."""
    sums: tuple[Fraction, ...]
    """Sum of each component."""

    def shares(self, of_all: Moments) -> list[Fraction] | None:
        """Share of each component in the excess of the tail over the mean of all; None without an excess."""
        excess = sum(self.sums) / self.n - Fraction(of_all.total, of_all.n)
        if not excess:
            return None
        return [
            (worst / self.n - Fraction(part, of_all.n)) / excess
            for worst, part in zip(self.sums, of_all.sums, strict=True)
        ]
