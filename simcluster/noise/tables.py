"""
Quantile tables: the inverse distribution function at the mid-points of 65,536 equal slices, in whole numbers.

The numbers are integers, so that sums are exact and a last-bit difference between mathematical libraries does not
reach a trace. A table cuts an exponential at 11.8 means, beyond the resolution of the measurements used here.
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

import numpy as np

from simcluster.numerics.arrays import Floats
from simcluster.numerics.ticks import Ticks, array_to_ticks

SLICES = 2**16
FACTOR_BITS = 16
"""Factors are whole numbers of 2^-16."""


def _mid_points() -> Floats:
    return (np.arange(SLICES) + 0.5) / SLICES


@lru_cache(maxsize=1)
def _normal_quantiles() -> Floats:
    """Tabulate the standard normal distribution, shape (65536,); the lower half mirrors the upper one."""
    upper = np.array([*map(NormalDist().inv_cdf, _mid_points()[SLICES // 2 :].tolist())])
    return np.concatenate([-upper[::-1], upper])


@lru_cache(maxsize=64)
def lognormal_sums(cv: float, n: int) -> Ticks:
    """
    Tabulate a lognormal with mean and variance of a sum of n independent factors, in units of 2^-16, shape (65536,).

    Each factor has mean 1 and this coefficient of variation. The third moment is also that of the sum, but for terms
    of the third order in `cv`: its skewness is 3 cv / sqrt(n) in either case.
    """
    variance = math.log1p(cv * cv / n)
    quantiles = n * np.exp(math.sqrt(variance) * _normal_quantiles() - variance / 2)
    sums: Ticks = np.rint(quantiles * 2**FACTOR_BITS).astype(np.int64)
    return sums


def lognormal_factors(cv: float) -> Ticks:
    """Tabulate a lognormal with mean 1 and this coefficient of variation, in units of 2^-16, shape (65536,)."""
    return lognormal_sums(cv, 1)


@lru_cache(maxsize=64)
def exponential_ticks(mean_s: float) -> Ticks:
    """Tabulate quantiles of an exponential delay with this mean, in ticks, shape (65536,)."""
    return array_to_ticks(-mean_s * np.log1p(-_mid_points()))


def pareto_s(u: float, exponent: float, shortest_s: float, longest_s: float) -> float:
    """
    Find the quantile of a Pareto duration cut at its longest.

    Source:
        The distribution function is (1 - (shortest/x)^a) / (1 - (shortest/longest)^a).
    """
    cut = 1 - (shortest_s / longest_s) ** exponent
    return float(shortest_s * (1 - u * cut) ** (-1 / exponent))


@lru_cache(maxsize=64)
def delay_ticks(
    shoulder: float, shoulder_mean_s: float, tail: float, tail_exponent: float, tail_shortest_s: float,
    tail_longest_s: float,
) -> Ticks:  # fmt: skip
    """
    Tabulate quantiles of a delay that is mostly zero, in ticks, shape (65536,).

    In the share `shoulder` it is exponential, in the share `tail` a truncated Pareto duration. Shares are rounded to
    65,536ths. The parts follow one another in the table, so it is not monotonic.
    """
    n_shoulder, n_tail = round(shoulder * SLICES), round(tail * SLICES)
    delays = [0.0] * (SLICES - n_shoulder - n_tail)
    delays += [-shoulder_mean_s * math.log1p(-(k + 0.5) / n_shoulder) for k in range(n_shoulder)]
    delays += [pareto_s((k + 0.5) / n_tail, tail_exponent, tail_shortest_s, tail_longest_s) for k in range(n_tail)]
    return array_to_ticks(np.array(delays))
