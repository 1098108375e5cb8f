"""
Whether a change is beyond its margin, within it, or not known: paired t bounds on differences of logarithms.

Both sides are played in the same worlds, so the difference in each world is what counts, and worlds are the only
independent values there are. A bound at level a is wrong in a share a of all comparisons; a family of gates shares
its level among them (Bonferroni), which keeps intervals and verdicts one and the same thing.

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
"""Differences of logarithms that differ by less are equal: values are known to eight digits."""
POWER = 0.8
"""With which the minimum detectable effect is found."""
MOST_WORLDS = 10**6


@dataclass(frozen=True)
class Estimate:
    """A mean over worlds with a bound on either side, each at its own level; logarithms, or a metric's own unit."""

    n: int
    mean: float
    std: float
    """Between worlds; 0 where all are equal."""
    low: float
    high: float
    level: float
    """Of each bound."""


@dataclass(frozen=True)
class Judgement:
    """What became of a gate."""

    verdict: Verdict
    needs: int | None
    """Worlds that would probably decide it, where it is not decided; None where none would."""
    detectable: float | None
    """The least threshold excess, in the estimate's scale, that would be found with 80 % probability."""


def worst(verdicts: Sequence[Verdict]) -> Verdict:
    """FAIL before INCONCLUSIVE before PASS."""
    order: tuple[Verdict, ...] = ("FAIL", "INCONCLUSIVE")
    return next((verdict for verdict in order if verdict in verdicts), "PASS")


def estimate(values: Sequence[float], level: float) -> Estimate:
    """
    A mean over at least two worlds, or of values that are all equal, with one-sided bounds.

    Args:
        values: one a world.
        level: how often each bound may be wrong.
    """
    n = len(values)
    if max(values) - min(values) <= ROUNDING * max(1.0, abs(values[0])):
        return Estimate(n, values[0], 0.0, values[0], values[0], level)
    found = interval(values, 1 - 2 * level)
    assert found.std is not None and found.low is not None and found.high is not None
    return Estimate(n, found.mean, found.std, found.low, found.high, level)


def log_ratios(base: Sequence[float | None], candidate: Sequence[float | None]) -> list[float] | None:
    """
    By world the logarithm of candidate over base; None if a world lacks one, or has zero on one side alone.

    Worlds in which both are zero have not changed.
    """
    found = []
    for one, other in zip(base, candidate, strict=True):
        if one is None or other is None or ((one <= 0 or other <= 0) and one != other):
            return None
        found.append(0.0 if one == other else math.log(other / one))
    return found


def gain(base: Sequence[float], candidate: Sequence[float]) -> float | None:
    """How many times the variance of the change would be that much with worlds of their own; None if unknown."""
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
    """Of a gate in the scale of its estimate: the logarithm of a change, or a limit as it is."""
    return math.log1p(gate.threshold) if gate.is_change else gate.threshold


def judge(found: Estimate, gate: Gate) -> Judgement:
    """
    Hold an estimate against a gate.

    FAIL where the bound on the near side is beyond the threshold, PASS where that on the far side is short of it. Of
    values that are all equal, what is exactly at the threshold passes.
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
    """Worlds after which a bound at this level is nearer to the mean than this distance; None beyond a million."""
    if distance <= 0:
        return None
    degrees = 1 + bisect_left(
        range(1, MOST_WORLDS), True, key=lambda n: student(n, 1 - 2 * level) * std < distance * math.sqrt(n + 1)
    )
    return None if degrees >= MOST_WORLDS else degrees + 1
