"""
The law of total variance, level by level: replications, requests, steps, and the rest within a step.

Var(T) = Var(mean of the replication)
       + Var(mean of the request - mean of the replication)
       + Var(mean of the step, of the residuals about the requests' means)
       + the rest

A step serves many requests and a request takes part in many steps, so the third line uses the residuals of the
second: these are orthogonal to everything that is the same for a whole request, and the four lines sum to one.
The first two are exact. The last two are sums of squares of residuals in floating point, each within about 1e-13.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from simcluster.numerics.arrays import Floats, Integers
from simcluster.numerics.ticks import Ticks
from simcluster.variance.exact import squares_by


def grouped_squares(counts: Integers, sums: Ticks) -> Fraction:
    """
    The sum over groups of (sum of the group)² / (values in it), exactly: n times the mean square of group means.

    Args:
        counts: values in each group, shape (groups,); groups without any do not count.
        sums: of each group, shape (groups,).
    """
    nonempty = counts > 0
    by_count = squares_by(counts[nonempty], sums[nonempty])
    return sum((Fraction(square, count) for count, square in by_count.items()), Fraction(0))


class Residuals:
    """
    Squares of residuals about the requests' means, between steps and within them, added in the order of emission.

    Rows of one step follow one another, possibly cut by the end of a block.
    """

    def __init__(self) -> None:
        self._between: list[float] = []
        self._within: list[float] = []
        self._keys = np.empty((2, 0), np.int64)
        self._values: Floats = np.empty(0)

    def add(self, replica: Ticks, step: Ticks, values: Floats) -> None:
        """Add rows: replica and step, and the residual, shape (n,) each."""
        if not len(values):
            return
        keys = np.hstack([self._keys, np.stack([replica, step])])
        values = np.concatenate([self._values, values])
        starts = np.flatnonzero(np.any(np.diff(keys, axis=1, prepend=keys[:, :1] - 1) != 0, axis=0))
        self._count(values[: starts[-1]], starts[:-1])
        self._keys, self._values = keys[:, starts[-1] :], values[starts[-1] :]

    def _count(self, values: Floats, starts: npt.NDArray[np.intp]) -> None:
        if not len(starts):
            return
        counts = np.diff(starts, append=len(values))
        means = np.add.reduceat(values, starts) / counts
        self._between.append(float(np.sum(means**2 * counts)))
        self._within.append(float(np.sum((values - np.repeat(means, counts)) ** 2)))

    def squares(self) -> tuple[float, float]:
        """Sums of squares between steps and within them, of all rows."""
        self._count(self._values, np.zeros(min(len(self._values), 1), np.intp))
        self._keys, self._values = np.empty((2, 0), np.int64), np.empty(0)
        return math.fsum(self._between), math.fsum(self._within)


def levels(
    n: int, total: int, squares: int, replications: Iterable[tuple[int, int]], of_requests: Fraction
) -> tuple[float, float, float] | None:
    """
    Shares of the variance: between replications, between requests of one, and within requests; None if it is zero.

    Args:
        n: values.
        total: their sum.
        squares: the sum of their squares.
        replications: values in each, and their sum.
        of_requests: `grouped_squares` over all requests of all replications.
    """
    mean = Fraction(total**2, n)
    of_replications = sum((Fraction(part**2, count) for count, part in replications if count), Fraction(0))
    whole = squares - mean
    if not whole:
        return None
    steps = (of_replications - mean, of_requests - of_replications, squares - of_requests)
    replication, request, within = (float(step / whole) for step in steps)
    return replication, request, within
