"""
Rank systems by a metric in the same worlds, with an indifference zone.

All pairs are compared simultaneously, so alpha holds for all statements together. Two systems are as good as each
other if the bounds of their difference are within the zone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from simcluster.comparison.judge import Verdict, estimate, judge, log_ratios, worst
from simcluster.comparison.side import Side, require_comparable
from simcluster.files.problems import InputError, Problem
from simcluster.scenario.gates import METRICS, Gate

Relation = Literal["better", "as good", "inconclusive"]


@dataclass(frozen=True)
class Pair:
    """Two systems, the one with the better mean first."""

    better: int
    other: int
    relation: Relation
    """Of the first to the other: better by any amount, within the zone, or unknown."""
    change: float
    """The relative change from the better one to the other."""
    low: float
    high: float


@dataclass(frozen=True)
class Limit:
    """A limit and its verdict on one system."""

    gate: Gate
    mean: float | None
    verdict: Verdict


@dataclass(frozen=True)
class Ranking:
    """Systems in order, those that miss a limit last."""

    metric: str
    zone: float
    alpha: float
    sides: tuple[Side, ...]
    order: tuple[int, ...]
    """Indices of sides, the best first."""
    means: tuple[float, ...]
    """For each side, in the metric's unit."""
    limits: tuple[tuple[Limit, ...], ...]
    """For each side."""
    pairs: tuple[Pair, ...]

    def meets(self, side: int) -> Verdict:
        """Whether a system meets all limits."""
        return worst([limit.verdict for limit in self.limits[side]])

    @property
    def best(self) -> tuple[int, ...]:
        """Systems that meet all limits, and than which no other such is better."""
        there = [side for side in self.order if self.meets(side) == "PASS"]
        beaten = {pair.other for pair in self.pairs if pair.relation == "better" and pair.better in there}
        return tuple(side for side in there if side not in beaten)

    @property
    def verdict(self) -> Verdict:
        """PASS if the best are as good as each other, FAIL if none meets the limits, else INCONCLUSIVE."""
        if all(self.meets(side) == "FAIL" for side in self.order):
            return "FAIL"
        best = self.best
        unsure = {p.relation for p in self.pairs if p.better in best and p.other in best} - {"as good"}
        open_ones = [side for side in self.order if self.meets(side) == "INCONCLUSIVE" and not self._is_beaten(side)]
        return "INCONCLUSIVE" if unsure or open_ones or not best else "PASS"

    def _is_beaten(self, side: int) -> bool:
        """Whether a system that meets the limits is better."""
        return any(p.other == side and p.relation == "better" and self.meets(p.better) == "PASS" for p in self.pairs)


def rank(sides: Sequence[Side], metric: str, zone: float, limits: Sequence[Gate], alpha: float) -> Ranking:
    """
    Rank systems.

    Args:
        sides: at least two, in the same worlds.
        metric: the metric to rank by.
        zone: relative difference within which two are as good as each other.
        limits: gates that the best system must meet.
        alpha: probability that any statement is wrong.

    Raises:
        InputError: the sides cannot be compared, or the metric has no value on some of them.
    """
    require_comparable(sides[0], sides[1:])
    absent = [s for s in sides if any(v is None or v <= 0 for v in s.values(metric))]
    if absent:
        expected = "expected a metric that all of them have"
        raise InputError(Problem(s.file, 0, metric, "no value in some world", expected) for s in absent)
    if len(sides[0].rows) < 2:
        raise InputError(
            [Problem(sides[0].file, 0, "", "one world, which does not show the spread", "expected --seeds 20")]
        )
    means = [math.fsum(v for v in s.values(metric) if v is not None) / len(s.rows) for s in sides]
    lower_is_better = METRICS[metric].worse == ">"
    n_pairs = len(sides) * (len(sides) - 1) // 2
    level = alpha / (2 * n_pairs + len(limits) * len(sides))
    held = tuple(tuple(_held(side, gate, level) for gate in limits) for side in sides)
    by_mean = sorted(range(len(sides)), key=lambda n: (means[n] if lower_is_better else -means[n], n))
    order = sorted(by_mean, key=lambda n: any(limit.verdict == "FAIL" for limit in held[n]))
    pairs = [
        _pair(sides, metric, one, other, zone, level, lower_is_better)
        for one, other in itertools.combinations(by_mean, 2)
    ]
    return Ranking(metric, zone, alpha, tuple(sides), tuple(order), tuple(means), held, tuple(pairs))


def _held(side: Side, gate: Gate, level: float) -> Limit:
    values = [value for value in side.values(gate.metric) if value is not None]
    if len(values) < len(side.rows):
        return Limit(gate, None, "FAIL")
    return Limit(gate, math.fsum(values) / len(values), judge(estimate(values, level), gate).verdict)


def _pair(
    sides: Sequence[Side], metric: str, one: int, other: int, zone: float, level: float, lower_is_better: bool
) -> Pair:
    ratios = log_ratios(sides[one].values(metric), sides[other].values(metric))
    assert ratios is not None
    found = estimate(ratios, level)
    within = math.log1p(zone)
    relation: Relation = "inconclusive"
    if -within <= found.low and found.high <= within:
        relation = "as good"
    elif (found.low > 0) if lower_is_better else (found.high < 0):
        relation = "better"
    return Pair(one, other, relation, *(math.expm1(value) for value in (found.mean, found.low, found.high)))
