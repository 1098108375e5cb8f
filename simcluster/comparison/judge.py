"""
Judge whether a change is beyond a threshold: paired t bounds on differences of logarithms.

Both sides are simulated in the same worlds, so paired differences count, and worlds are the only independent values.
A bound at level a is wrong in a share a of all comparisons. A family of gates shares its level (Bonferroni), so that
intervals and verdicts agree.

Source:
    Law, Simulation Modeling and Analysis, 5th ed. (2015), 10.2.1: the paired-t approach with common random numbers.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from simcluster.results.replications import interval, student
from simcluster.scenario.gates import Gate

Verdict = Literal["PASS", "FAIL", "INCONCLUSIVE"]

ROUNDING = 1e-7
"""Differences of logarithms that differ by less count as equal: values have eight digits."""
POWER = 0.8
"""Probability with which the minimum detectable effect is found."""
MAX_WORLDS = 10**6


@dataclass(frozen=True)
class Estimate:
    """A mean over worlds with one-sided bounds; of logarithms, or in a metric's unit."""

    n: int
    mean: float
    std: float
    """Standard deviation between worlds; 0 if all are equal."""
    low: float
    high: float
    level: float
    """Error probability of each bound."""


@dataclass(frozen=True)
class Judgement:
    """The verdict of a gate."""

    verdict: Verdict
    needs: int | None
    """Worlds that would probably suffice for a verdict, if it is inconclusive; None if none would."""
    detectable: float | None
    """The smallest change, in the estimate's scale, that would have failed with 80 % probability."""


def worst(verdicts: Sequence[Verdict]) -> Verdict:
    """FAIL before INCONCLUSIVE before PASS."""
    order: tuple[Verdict, ...] = ("FAIL", "INCONCLUSIVE")
    return next((verdict for verdict in order if verdict in verdicts), "PASS")


def estimate(values: Sequence[float], level: float) -> Estimate:
    """
    Estimate a mean with one-sided bounds, from at least two worlds or from values that are all equal.

    Args:
        values: one per world.
        level: error probability of each bound.
    """
    n = len(values)
    if max(values) - min(values) <= ROUNDING * max(1.0, abs(values[0])):
        return Estimate(n, values[0], 0.0, values[0], values[0], level)
    found = interval(values, 1 - 2 * level)
    assert found.std is not None and found.low is not None and found.high is not None
    return Estimate(n, found.mean, found.std, found.low, found.high, level)


def log_ratios(base: Sequence[float | None], candidate: Sequence[float | None]) -> list[float] | None:
    """
    The logarithm of candidate over base in each world; None if a value is missing, or is zero on one side only.

    Worlds in which both are zero count as unchanged.
    """
    found = []
    for one, other in zip(base, candidate, strict=True):
        if one is None or other is None or ((one <= 0 or other <= 0) and one != other):
            return None
        found.append(0.0 if one == other else math.log(other / one))
    return found


def variance_reduction(base: Sequence[float], candidate: Sequence[float]) -> float | None:
    """The variance of the change with independent worlds, divided by that with common ones; None if unknown."""
    ratios = log_ratios(base, candidate)
    if ratios is None or len(ratios) < 2 or min(*base, *candidate) <= 0:
        return None
    apart = sum(_variance([math.log(value) for value in side]) for side in (base, candidate))
    paired = _variance(ratios)
    return apart / paired if paired > ROUNDING**2 else None


def _variance(values: Sequence[float]) -> float:
    std = interval(values).std
    return 0.0 if std is None else std**2


def threshold(gate: Gate) -> float:
    """The threshold in the scale of the estimate: the logarithm for a change, the value for a limit."""
    return math.log1p(gate.threshold) if gate.is_change else gate.threshold


def judge(found: Estimate, gate: Gate) -> Judgement:
    """
    Judge an estimate by a gate.

    FAIL if both bounds are beyond the threshold, PASS if neither is, otherwise INCONCLUSIVE. Without spread, a value
    exactly at the threshold passes.
    """
    sign = 1.0 if gate.fails == ">" else -1.0
    limit = sign * threshold(gate)
    mean = sign * found.mean
    low, high = sorted((sign * found.low, sign * found.high))
    if found.std == 0:
        return Judgement("FAIL" if mean > limit + ROUNDING * max(1.0, abs(limit)) else "PASS", None, abs(limit))
    excess = (student(found.n - 1, 1 - 2 * found.level) + student(found.n - 1, 2 * POWER - 1)) * found.std
    detectable = limit + excess / math.sqrt(found.n)
    if low > limit:
        return Judgement("FAIL", None, detectable)
    if high < limit:
        return Judgement("PASS", None, detectable)
    return Judgement("INCONCLUSIVE", worlds_needed(abs(mean - limit), found.std, found.level), detectable)


def worlds_needed(distance: float, std: float, level: float) -> int | None:
    """The number of worlds whose bound at this level is closer to the mean than a distance; None above a million."""
    if distance <= 0:
        return None
    degrees = 1 + bisect_left(
        range(1, MAX_WORLDS), True, key=lambda n: student(n, 1 - 2 * level) * std < distance * math.sqrt(n + 1)
    )
    return None if degrees >= MAX_WORLDS else degrees + 1
