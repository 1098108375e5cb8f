"""
Covariance shares: how much of a latency's variance each of its components carries.

A latency is the sum of its components, so its variance is the sum of their covariances with it. The shares
Cov(part, whole) / Var(whole) thus sum to one; they equal the Shapley values of the variance. A share is negative
where a component is small when the latency is large. All sums are whole numbers and divided once, at the end.

Source:
    Genizi, "Decomposition of R2 in multiple regression with correlated regressors" (1993), for covariance shares;
    Owen, "Sobol' indices and Shapley value" (2014), for the equality with Shapley values of an additive function.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from simcluster.numerics.ticks import Ticks, total
from simcluster.trace.columns import COMPONENTS
from simcluster.variance.exact import products

N_PARTS = len(COMPONENTS)


@dataclass
class Moments:
    """Exact moments of values that are sums of components."""

    n: int = 0
    sums: list[int] = field(default_factory=lambda: [0] * N_PARTS)
    """Sum of each component."""
    products: list[int] = field(default_factory=lambda: [0] * N_PARTS)
    """Sum of each component times the whole."""

    def add(self, parts: Ticks, whole: Ticks) -> None:
        """Add values: their components, shape (components, n), and the sums of these, shape (n,)."""
        used = [place for place in range(N_PARTS) if parts[place].any()]
        self.n += len(whole)
        for place, product in zip(used, products([parts[place] for place in used], whole), strict=True):
            self.sums[place] += total(parts[place])
            self.products[place] += product

    @property
    def total(self) -> int:
        """Sum of the values."""
        return sum(self.sums)

    @property
    def squares(self) -> int:
        """Sum of their squares."""
        return sum(self.products)

    @property
    def deviation(self) -> int:
        """n² times the variance."""
        return self.n * self.squares - self.total**2

    def shares(self) -> list[Fraction] | None:
        """Share of each component in the variance; None where nothing varies."""
        deviation, whole = self.deviation, self.total
        if not deviation:
            return None
        return [
            Fraction(self.n * product - part * whole, deviation)
            for product, part in zip(self.products, self.sums, strict=True)
        ]

    def mean(self) -> list[float]:
        """Mean of each component in ticks."""
        return [part / self.n for part in self.sums]

    def std(self) -> float:
        """Standard deviation in ticks, with n in the denominator."""
        return math.isqrt(self.deviation << 80) / self.n / 2**40


def pooled(several: Iterable[Moments]) -> Moments:
    """The moments of all values together."""
    found = Moments()
    for one in several:
        found.n += one.n
        found.sums = _added(found.sums, one.sums)
        found.products = _added(found.products, one.products)
    return found


def _added(one: Sequence[int], other: Sequence[int]) -> list[int]:
    return [a + b for a, b in zip(one, other, strict=True)]


def whole_of(parts: Ticks) -> Ticks:
    """The sums of components, shape (components, n)."""
    whole = np.zeros(parts.shape[1], np.int64)
    for part in parts:
        if part.any():
            whole += part
    return whole
