"""Verdicts on paired differences, against Student's t by hand and by scipy, and by how often they are wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest

from simcluster.comparison.judge import estimate, judge, log_ratios, variance_reduction, worlds_needed
from simcluster.scenario.gates import Gate, parse


def judged(changes: list[float], gate: str, level: float = 0.05) -> str:
    """The verdict on relative changes by world."""
    found = estimate([math.log1p(change) for change in changes], level)
    return judge(found, parse(gate)).verdict


def test_bounds_are_those_of_scipy() -> None:
    """Both bounds are one-sided Student's t bounds at the level."""
    from scipy import stats

    values = [0.01, 0.03, 0.02, 0.05, -0.01]
    found = estimate(values, 0.01)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.98)

    assert (low, high) == pytest.approx((found.low, found.high))


@pytest.mark.parametrize(
    ("changes", "gate", "expected"),
    [
        ([0.050, 0.051, 0.049, 0.0505], "median_itl_ms > +2%", "FAIL"),
        ([0.001, 0.002, 0.0, 0.001], "median_itl_ms > +2%", "PASS"),
        ([0.001, 0.09, -0.05, 0.03], "median_itl_ms > +2%", "INCONCLUSIVE"),
        ([-0.050, -0.051, -0.049, -0.0505], "output_throughput < -2%", "FAIL"),
        ([0.050, 0.051, 0.049, 0.0505], "output_throughput < -2%", "PASS"),
        ([0.02, 0.02, 0.02], "median_itl_ms > +2%", "PASS"),
        ([0.0201, 0.0201], "median_itl_ms > +2%", "FAIL"),
        ([0.0, 0.0], "median_itl_ms > +0%", "PASS"),
        ([-0.02, -0.02], "output_throughput < -2%", "PASS"),
    ],
)
def test_verdicts(changes: list[float], gate: str, expected: str) -> None:
    """Beyond the margin by its bound, within it, or neither; of equal differences the difference itself counts."""
    assert expected == judged(changes, gate)


@pytest.mark.parametrize(
    ("values", "gate", "expected"),
    [
        ([0.96, 0.97, 0.98, 0.97], "slo_attainment < 95%", "PASS"),
        ([0.90, 0.91, 0.92, 0.91], "slo_attainment < 95%", "FAIL"),
        ([0.94, 0.96, 0.95, 0.95], "slo_attainment < 95%", "INCONCLUSIVE"),
        ([500.0, 500.0], "p99_ttft_ms > 500 ms", "PASS"),
        ([501.0, 501.0], "p99_ttft_ms > 500 ms", "FAIL"),
    ],
)
def test_limits(values: list[float], gate: str, expected: str) -> None:
    """A limit is held against the mean over worlds; at the limit is within it."""
    assert expected == judge(estimate(values, 0.05), parse(gate)).verdict


def test_an_effect_at_the_margin_fails_as_often_as_stated() -> None:
    """Of 4,000 comparisons whose true change is the margin, a share alpha FAILs and a share alpha PASSes."""
    alpha, n = 0.05, 4000
    margin = math.log1p(0.02)
    draws = np.random.default_rng(1).normal(margin, 0.01, (n, 20))
    gate = parse("median_itl_ms > +2%")
    verdicts = [judge(estimate(row.tolist(), alpha), gate).verdict for row in draws]
    error = 4 * math.sqrt(alpha * (1 - alpha) * n)

    assert abs(verdicts.count("FAIL") - alpha * n) < error
    assert abs(verdicts.count("PASS") - alpha * n) < error


def test_the_detectable_effect_is_found_four_times_in_five() -> None:
    """A true change of the stated size FAILs in 80 % of 2,000 comparisons, within four standard errors and 2 %."""
    gate = Gate("median_itl_ms", ">", 0.02, True)
    rng = np.random.default_rng(2)
    noise = rng.normal(0, 0.01, 20)
    noise *= 0.01 / noise.std(ddof=1)
    detectable = judge(estimate(noise.tolist(), 0.01), gate).detectable
    assert detectable is not None
    draws = rng.normal(detectable, 0.01, (2000, 20))
    n_found = sum(judge(estimate(row.tolist(), 0.01), gate).verdict == "FAIL" for row in draws)

    assert abs(n_found / 2000 - 0.8) < 4 * math.sqrt(0.16 / 2000) + 0.02


def test_worlds_needed() -> None:
    """A distance of one standard deviation takes five worlds at 5 %: t is 2.13 then; of nothing none are enough."""
    from scipy import stats

    n = worlds_needed(1.0, 1.0, 0.05)

    assert n is not None
    assert stats.t.ppf(0.95, n - 1) / math.sqrt(n) < 1 <= stats.t.ppf(0.95, n - 2) / math.sqrt(n - 1)
    assert worlds_needed(0.0, 1.0, 0.05) is None
    assert worlds_needed(1e-9, 1.0, 0.05) is None


def test_ratios() -> None:
    """Zero on both sides is no change; zero or nothing on one side is not measured."""
    assert [0.0, pytest.approx(math.log(2))] == log_ratios([0.0, 1.0], [0.0, 2.0])
    assert log_ratios([0.0, 1.0], [1.0, 2.0]) is None
    assert log_ratios([None, 1.0], [1.0, 2.0]) is None


def test_gain() -> None:
    """Values that go together make the variance of their difference small; those that do not, twice as large."""
    base = [1.0, 2.0, 4.0, 8.0]

    assert (variance_reduction(base, [1.1, 2.2, 4.5, 8.8]) or 0) > 1000
    assert 0.5 == pytest.approx(variance_reduction(base, base[::-1]))
    assert variance_reduction(base, [2 * value for value in base]) is None
