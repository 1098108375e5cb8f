"""
Compare candidates with a base: the change of each metric in the same worlds, its bounds, causes and verdicts.

The result is plain data, from which the text, JSON, JUnit and Markdown outputs are made.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from simcluster.comparison.causes import UNKNOWN, Causes, causes
from simcluster.comparison.judge import Estimate, Verdict, estimate, judge, log_ratios, variance_reduction, worst
from simcluster.comparison.side import Side, require_comparable
from simcluster.files.problems import InputError, Problem
from simcluster.scenario.gates import METRICS, Gate

Status = Literal["identical", "compared"]
ALPHA = 0.05
NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Row:
    """One metric of a candidate and of the base, and the verdict of a gate."""

    metric: str
    gate: Gate | None
    """None for a metric that is reported and not judged."""
    base: float | None
    """Means over worlds, in the metric's unit; None if some world has no value."""
    candidate: float | None
    change: float | None
    """Relative to the base, also for a limit: the geometric mean over worlds."""
    low: float | None
    high: float | None
    """Bounds of the change; for a limit, bounds of the candidate's mean in the metric's unit."""
    verdict: Verdict | None
    why: str = ""
    """The reason of a verdict that does not depend on size."""
    needs: int | None = None
    """Worlds that would probably suffice for a verdict."""
    detectable: float | None = None
    """The smallest change, or value of a limit's metric, that would have failed with 80 % probability."""
    variance_reduction: float | None = None
    """The factor by which common worlds reduce the variance of the change."""
    causes: Causes = UNKNOWN
    """The change by component."""
    worlds: int = 0
    """The number of worlds behind this row."""


@dataclass(frozen=True)
class Compared:
    """One candidate compared with the base."""

    side: Side
    status: Status
    rows: tuple[Row, ...]
    """Those with gates first, in the order of the gates."""
    changed_worlds: int
    """Worlds in which the trace differs."""

    def count(self, verdict: Verdict) -> int:
        """Gates with this verdict."""
        return sum(row.verdict == verdict for row in self.rows)

    @property
    def verdict(self) -> Verdict:
        """FAIL if any gate fails, else INCONCLUSIVE if any is inconclusive."""
        return worst([row.verdict for row in self.rows if row.verdict is not None])


@dataclass(frozen=True)
class Comparison:
    """All candidates compared with the base."""

    base: Side
    candidates: tuple[Compared, ...]
    alpha: float
    """Probability that any gate fails by chance when no metric is beyond its threshold."""
    level: float
    """Error probability of each bound."""
    n_gates: int
    """Gates of all candidates together, over which alpha is shared."""
    looks: tuple[int, ...]
    """Planned numbers of worlds after which to judge."""

    @property
    def verdict(self) -> Verdict:
        """The worst of all candidates."""
        return worst([candidate.verdict for candidate in self.candidates])


def compare_sides(
    base: Side,
    candidates: Sequence[Side],
    gates: Sequence[Gate],
    alpha: float = ALPHA,
    looks: Sequence[int] = (),
    former: Comparison | None = None,
    drop_absent: bool = False,
) -> Comparison:
    """
    Compare candidates with a base.

    Args:
        base: the side to compare with.
        candidates: sides with the same worlds.
        gates: what is judged; alpha is shared over gates times candidates.
        alpha: probability of any false FAIL.
        looks: planned numbers of worlds after which to judge, each at an equal part of alpha; none for one look.
        former: the previous look, whose decided gates stay decided.
        drop_absent: whether to drop gates whose metric has no value on any side.

    Returns:
        The comparison, with rows for all metrics.

    Raises:
        InputError: the sides cannot be compared, or differ in a single world.
    """
    require_comparable(base, candidates)
    if drop_absent:
        gates = [gate for gate in gates if _is_there(gate.metric, [base, *candidates])]
    level = alpha / max(len(gates) * len(candidates) * max(len(looks), 1), 1)
    compared = []
    for number, candidate in enumerate(candidates):
        decided = former.candidates[number].rows if former is not None else ()
        compared.append(_compared(base, candidate, gates, level, decided))
    return Comparison(base, tuple(compared), alpha, level, len(gates) * len(candidates), tuple(looks))


def _is_there(metric: str, sides: Sequence[Side]) -> bool:
    return any(value is not None for side in sides for value in side.values(metric))


def _compared(base: Side, candidate: Side, gates: Sequence[Gate], level: float, former: Sequence[Row]) -> Compared:
    """One candidate compared with the base."""
    n_changed = sum(one != other for one, other in zip(base.traces, candidate.traces, strict=True))
    limits = [gate for gate in gates if not gate.is_change]
    if n_changed == 0:
        return Compared(candidate, "identical", tuple(_limit_row(base, candidate, g, level) for g in limits), 0)
    if len(candidate.rows) < 2:
        found = "one world, which does not show the spread"
        raise InputError([Problem(candidate.file, 0, "", found, "expected at least two, such as by --seeds 20")])
    decided = {row.gate: row for row in former if row.verdict in ("PASS", "FAIL")}
    judged = []
    for gate in gates:
        if gate in decided:
            judged.append(decided[gate])
        elif gate.is_change:
            judged.append(_change_row(base, candidate, gate.metric, gate, level))
        else:
            judged.append(_limit_row(base, candidate, gate, level))
    gated = {gate.metric for gate in gates}
    others = [
        _change_row(base, candidate, name, None, level)
        for name in METRICS
        if name not in gated and _is_there(name, [base, candidate])
    ]
    return Compared(candidate, "compared", (*judged, *others), n_changed)


def _change_row(base: Side, candidate: Side, metric: str, gate: Gate | None, level: float) -> Row:
    one, other = base.values(metric), candidate.values(metric)
    ratios = log_ratios(one, other)
    before, after = _mean(one), _mean(other)
    if ratios is None:
        verdict: Verdict | None = None if gate is None else "FAIL"
        return Row(metric, gate, before, after, None, None, None, verdict, NOT_MEASURED, worlds=len(other))
    found = estimate(ratios, level)
    judged = judge(found, gate) if gate is not None else None
    sign = 1.0 if gate is None or gate.fails == ">" else -1.0
    return Row(
        metric, gate, before, after, _relative(found.mean), _relative(found.low), _relative(found.high),
        judged.verdict if judged else None, "", judged.needs if judged else None,
        _relative(sign * judged.detectable) if judged and judged.detectable is not None else None,
        variance_reduction([v for v in one if v is not None], [v for v in other if v is not None]),
        causes(base, candidate, metric, level), found.n,
    )  # fmt: skip


def _limit_row(base: Side, candidate: Side, gate: Gate, level: float) -> Row:
    """Judge a limit, which is a gate on the candidate alone."""
    metric, values = gate.metric, candidate.values(gate.metric)
    before, after = _mean(base.values(metric)), _mean(values)
    change = after / before - 1 if before and after is not None else None
    there = [value for value in values if value is not None]
    if len(there) < len(values):
        return Row(metric, gate, before, after, change, None, None, "FAIL", NOT_MEASURED, worlds=len(values))
    if len(there) < 2:
        found = Estimate(1, there[0], 0.0, there[0], there[0], level)  # of a run that is identical to the base's
    else:
        found = estimate(there, level)
    judged = judge(found, gate)
    detectable = None if judged.detectable is None else abs(judged.detectable)
    return Row(
        metric, gate, before, after, change, found.low, found.high, judged.verdict, "", judged.needs, detectable,
        causes=causes(base, candidate, metric, level), worlds=found.n,
    )  # fmt: skip


def _mean(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return statistics.fmean(there) if there and len(there) == len(values) else None


def _relative(log_ratio: float) -> float:
    """Convert a difference of logarithms to a relative change."""
    return math.expm1(min(log_ratio, 700.0))
