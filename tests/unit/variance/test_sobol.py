"""Total and first-order effects against functions whose shares are known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from simcluster.numerics.streams import stream, uniforms
from simcluster.variance.sobol import Effects, effects

Floats = np.ndarray


def found(function: Callable[[Floats], Floats], n: int, n_sources: int = 3, name: str = "x") -> Effects:
    """Effects on a function of independent uniforms between -1 and 1, shape (sources, n)."""
    one, other = (2 * uniforms(stream(5, name, world), n * n_sources).reshape(n_sources, n) - 1 for world in "ab")

    def exchanged(base: Floats, new: Floats) -> Floats:
        rows = []
        for source in range(n_sources):
            mixed = base.copy()
            mixed[source] = new[source]
            rows.append(function(mixed))
        return np.stack(rows)

    result = effects(function(one), function(other), exchanged(one, other), exchanged(other, one))
    assert result is not None
    return result


def additive(x: Floats) -> Floats:
    """Seven tenths, three tenths and nothing."""
    return np.asarray(100 + 0.7**0.5 * x[0] - 0.3**0.5 * x[1] + 0 * x[2])


def test_additive_shares_within_their_intervals() -> None:
    """Of a sum, 70 % and 30 % are found within the intervals, alone and in all, without any interaction."""
    result = found(additive, 40)
    for source, share in enumerate((0.7, 0.3, 0.0)):
        assert result.first[source].low - 1e-12 <= share <= result.first[source].high + 1e-12
        assert result.total[source].value == pytest.approx(result.first[source].value, abs=1e-12)
    assert (0.0, 0.0) == (result.first[2].low, result.total[2].high)


def test_intervals_cover() -> None:
    """The interval of ten replications covers a share of 70 % in at least 85 % of 200 experiments."""
    inside = 0
    for number in range(200):
        share = found(additive, 10, name=f"experiment {number}").first[0]
        inside += share.low <= 0.7 <= share.high

    assert inside >= 170


def test_variance_is_that_of_the_figure() -> None:
    """A sum whose parts have variances 0.7/3 and 0.3/3 has a third, to three standard errors."""
    assert found(additive, 4000).variance == pytest.approx(1 / 3, rel=3 * (2 / 4000) ** 0.5)


def test_a_product_is_interaction_only() -> None:
    """Of x·y with means of zero, neither explains anything alone, and both together explain all."""
    result = found(lambda x: x[0] * x[1], 4000)

    assert [estimate.value for estimate in result.first] == pytest.approx([0, 0, 0], abs=0.05)
    assert [estimate.value for estimate in result.total] == pytest.approx([1, 1, 0], abs=0.06)
    assert result.interactions.low <= 1 <= result.interactions.high


def test_ishigami() -> None:
    """The textbook function has first-order effects 0.314, 0.442 and 0, and total effects 0.558, 0.442 and 0.244."""

    def ishigami(x: Floats) -> Floats:
        a, b, c = np.pi * x
        return np.asarray(np.sin(a) + 7 * np.sin(b) ** 2 + 0.1 * c**4 * np.sin(a))

    result = found(ishigami, 20_000)

    assert [estimate.value for estimate in result.first] == pytest.approx([0.314, 0.442, 0], abs=0.02)
    assert [estimate.value for estimate in result.total] == pytest.approx([0.558, 0.442, 0.244], abs=0.02)


def test_interaction_is_never_negative() -> None:
    """A total effect is never below the first-order one, in the estimates too."""
    for number in range(20):
        result = found(lambda x: np.exp(x[0] + x[1]) * x[2], 5, name=f"few {number}")
        for total, first in zip(result.total, result.first, strict=True):
            assert total.value >= first.value - 1e-12


def test_nothing_varies() -> None:
    """A constant has no shares, nor has a single replication."""
    constant = np.ones(4)

    assert effects(constant, constant, constant[None], constant[None]) is None
    assert effects(np.ones(1), np.zeros(1), np.zeros((1, 1)), np.ones((1, 1))) is None
