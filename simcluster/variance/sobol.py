"""
Shares of the variance of a figure that is a function of several independent sources.

Every replication is simulated in two worlds, and in each of them once for each source with that source taken from the
other. Exchanging a source moves the figure by d in one world and by d' in the other. Its total effect, interactions
with other sources included, is the mean of (d² + d'²) / 4 over the variance; its effect alone is the mean of
d·d' / 2, because only that is the same in both worlds. The difference, (d - d')² / 4, is interaction, and is zero for
a figure to which every source only adds something. Small effects are estimated with small errors.

Source:
    Jansen, "Analysis of variance designs for model output" (1999), for the total effect;
    Owen, "Better estimation of small Sobol' sensitivity indices" (2013), for products of differences;
    Hesterberg, "What Teachers Should Know About the Bootstrap" (2015), for the wider percentiles of few replications.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from simcluster.numerics.arrays import Floats, Integers
from simcluster.numerics.streams import stream, uniforms
from simcluster.results.replications import CONFIDENCE, student

RESAMPLES = 2000


@dataclass(frozen=True)
class Estimate:
    """A share with its bootstrap interval over replications."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Effects:
    """Shares of the sources in the variance of a figure."""

    variance: float
    total: list[Estimate]
    """Effect of each source with all its interactions."""
    first: list[Estimate]
    """Effect of each source alone."""
    interactions: Estimate
    """The share that no source explains alone; below zero only by chance."""


def effects(one: Floats, other: Floats, of_one: Floats, of_other: Floats) -> Effects | None:
    """
    Total and first-order effects of sources on a figure.

    Args:
        one: the figure in the first world of each replication, shape (replications,).
        other: in the second.
        of_one: in the first with one source taken from the second, shape (sources, replications).
        of_other: in the second with that source taken from the first, shape (sources, replications).

    Returns:
        None where the figure does not vary, or with fewer than two replications.
    """
    n = len(one)
    # Independent worlds differ by twice the variance, and so do the two worlds with a source exchanged.
    apart = (np.vstack([one - other, of_one - of_other]) ** 2).mean(axis=0) / 2
    if n < 2 or not apart.any():
        return None
    here, there = one - of_one, of_other - other  # the effect of the first world's source, in both worlds
    squares, products = (here**2 + there**2) / 4, here * there / 2
    resampled, tail = _resamples(n), _tail(n)
    variance, several = apart.mean(), apart[resampled].mean(axis=-1)
    variances = np.where(several > 0, several, np.nan)

    def estimates(rows: Floats) -> list[Estimate]:
        """Means of rows over the variance, for all replications and for each resample."""
        values = rows.mean(axis=-1) / variance
        low, high = np.nanquantile(rows[:, resampled].mean(axis=-1) / variances, [tail, 1 - tail], axis=-1)
        return [Estimate(float(v), float(a), float(b)) for v, a, b in zip(values, low, high, strict=True)]

    (alone,) = estimates(products.sum(axis=0)[None])
    return Effects(
        float(variance),
        estimates(squares),
        estimates(products),
        Estimate(1 - alone.value, 1 - alone.high, 1 - alone.low),
    )


def _resamples(n: int) -> Integers:
    """Replications drawn with replacement, shape (resamples, n); the same for every figure."""
    drawn = uniforms(stream(0, "bootstrap", str(n)), RESAMPLES * n).reshape(RESAMPLES, n)
    return (drawn * n).astype(np.int64)


def _tail(n: int) -> float:
    """Share of resamples on each side of the interval: less than 2.5 % of few, so that it is as wide as Student's."""
    return 0.5 * math.erfc(math.sqrt(n / (n - 1)) * student(n - 1, CONFIDENCE) / math.sqrt(2))
