"""Factors on ops that are drawn as sums: against the exact distribution of the sum, and split among the ops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from simcluster.noise.slices import STEPS_PER_BLOCK
from simcluster.noise.tables import FACTOR_BITS, SLICES, lognormal_factors, lognormal_sums
from simcluster.stages.factors import Factors

N_OPS = 80


@pytest.mark.parametrize(("cv", "n"), [(0.02, 80), (0.02, 1), (0.08, 161), (0.5, 12)])
def test_a_sum_has_the_mean_and_the_variance_of_independent_factors(cv: float, n: int) -> None:
    """Mean n within 1e-4 of it, deviation cv sqrt(n) within half a percent."""
    sums = lognormal_sums(cv, n) / 2**FACTOR_BITS

    assert sums.mean() == pytest.approx(n, rel=1e-4)
    assert sums.std() == pytest.approx(cv * math.sqrt(n), rel=5e-3)


@pytest.mark.parametrize(("cv", "n", "most"), [(0.02, 80, 0.001), (0.08, 161, 0.002), (0.2, 12, 0.03)])
def test_a_sum_is_distributed_as_the_sum_of_independent_factors(cv: float, n: int, most: float) -> None:
    """Quantiles are those of the n-fold convolution, from 0.1 to 99.9 %, within a small part of a deviation."""
    factors = lognormal_factors(cv)
    grid = max(1, int(cv * 2**FACTOR_BITS / 200))
    low = int(factors.min()) // grid
    weights = np.bincount(factors // grid - low) / SLICES
    length = len(weights) * n
    sums = np.fft.irfft(np.fft.rfft(weights, length) ** n, length).cumsum()
    shares = np.linspace(0.001, 0.999, 999)
    exact = (np.searchsorted(sums, shares) + n * low) * grid + n * (grid - 1) / 2
    found = lognormal_sums(cv, n)[(shares * SLICES).astype(int)]
    deviation = cv * math.sqrt(n) * 2**FACTOR_BITS

    assert np.abs(found - exact).max() < most * deviation + 2 * grid


def test_ops_have_a_factor_each() -> None:
    """Split among the ops, factors are lognormal, and those of two ops uncorrelated, within 4 standard errors."""
    factors = Factors(0.05, [0] * N_OPS, 3, "op_jitter", "gpu0")
    drawn = np.vstack([factors.of_kind(block, 0) for block in range(12)]) / 2**FACTOR_BITS
    sigma = math.sqrt(math.log1p(0.05**2))
    expected = stats.lognorm(s=sigma, scale=math.exp(-(sigma**2) / 2))
    related = np.corrcoef(drawn.T)[np.triu_indices(N_OPS, 1)]

    assert stats.kstest(drawn[:, 7], expected.cdf).pvalue > 1e-3
    assert stats.kstest(drawn[:, -1], expected.cdf).pvalue > 1e-3
    assert abs(related.mean()) < 4 / math.sqrt(related.size * len(drawn))
    assert related.std() == pytest.approx(1 / math.sqrt(len(drawn)), rel=0.1)


def test_ops_add_up_to_what_was_drawn() -> None:
    """The parts of a sum are integers, not negative, and add up to the sum, at every spread."""
    for cv in (0.01, 3.0):
        factors = Factors(cv, [0, 1, 1, 2, 1], 3, "op_jitter", "gpu0")
        sums = factors.sums(1)
        for row in (0, 100, STEPS_PER_BLOCK - 1):
            ops = factors.at(STEPS_PER_BLOCK + row)

            assert (ops >= 0).all()
            assert sums[row].tolist() == [ops[0], ops[[1, 2, 4]].sum(), ops[3]]
            assert ops[[1, 2, 4]].tolist() == factors.of_kind(1, 1)[row].tolist()


def test_a_layer_more_is_the_same_world() -> None:
    """Models of 80 and 81 layers have sums that differ by a factor of mean 1 and next to no spread."""
    fewer, more = (Factors(0.05, [0] * n, 3, "op_jitter", "gpu0").sums(0)[:, 0] / 2**FACTOR_BITS for n in (80, 81))

    assert (more - fewer).mean() == pytest.approx(1, abs=0.001)
    assert (more - fewer).std() < 0.01 * fewer.std()
