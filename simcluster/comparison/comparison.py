"""
Compare candidates with a base: each metric's change in the same worlds, its bounds, its cause, and the verdicts.

A comparison is data from here on: text, JSON, JUnit and Markdown all say the same of it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from simcluster.comparison.causes import UNKNOWN, Causes, causes
from simcluster.comparison.judge import Estimate, Verdict, estimate, gain, judge, log_ratios, worst
from simcluster.comparison.side import Side, require_comparable
from simcluster.files.problems import InputError, Problem
from simcluster.scenario.gates import METRICS, Gate

Status = Literal["identical", "compared"]
ALPHA = 0.05
NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Row:
    """One metric of a candidate beside the base's, and a gate's verdict on it."""

    metric: str
    gate: Gate | None
    """None for what is told and not judged."""
    base: float | None
    """Means over worlds, in the metric's unit; None where it has no value in some world."""
    candidate: float | None
    change: float | None
    """Relative: of a limit, of the base all the same. The geometric mean over worlds."""
    low: float | None
    high: float | None
    """Bounds of the change; of a limit, bounds of the candidate's mean in the metric's unit."""
    verdict: Verdict | None
    why: str = ""
    """Of a verdict that is not about size."""
    needs: int | None = None
    """Worlds that would probably decide it."""
    detectable: float | None = None
    """Least change, or value of a limit's metric, that would have failed with 80 % probability."""
    pairing: float | None = None
    """How many times the variance would be that much without common worlds."""
    causes: Causes = UNKNOWN
    """The change by component."""
    worlds: int = 0
    """That it rests on."""


@dataclass(frozen=True)
class Compared:
    """One candidate beside the base."""

    side: Side
    status: Status
    rows: tuple[Row, ...]
    """The judged ones first, in the order of the gates."""
    changed_worlds: int
    """In which the trace is another one."""

    def count(self, verdict: Verdict) -> int:
        """Gates with this verdict."""
        return sum(row.verdict == verdict for row in self.rows)

    @property
    def verdict(self) -> Verdict:
        """FAIL if any gate fails, else INCONCLUSIVE if any is not decided."""
        return worst([row.verdict for row in self.rows if row.verdict is not None])


@dataclass(frozen=True)
class Comparison:
    """All candidates beside the base."""

    base: Side
    candidates: tuple[Compared, ...]
    alpha: float
    """Probability that any gate is failed by chance, when nothing is beyond its threshold."""
    level: float
    """Of each bound."""
    n_gates: int
    """Over which alpha is shared, those of all candidates together."""
    looks: tuple[int, ...]
    """After how many worlds it was planned to look."""

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
        base: what they are held against.
        candidates: in the same worlds.
        gates: what is judged; their number times the candidates' shares alpha.
        alpha: probability of any false FAIL.
        looks: after how many worlds it was planned to look, each of them at an equal part of alpha; none for one.
        former: the last look, whose decided gates stay as they are.
        drop_absent: whether a gate goes whose metric neither side has in any world.

    Raises:
        InputError: the sides cannot be compared, or there is one world only and it has changed.
    """
    require_comparable(base, candidates)
    if drop_absent:
        gates = [gate for gate in gates if _is_there(gate.metric, [base, *candidates])]
    level = alpha / max(len(gates) * len(candidates) * max(len(looks), 1), 1)
    compared = []
    for number, candidate in enumerate(candidates):
        decided = former.candidates[number].rows if former is not None else ()
        compared.append(_beside(base, candidate, gates, level, decided))
    return Comparison(base, tuple(compared), alpha, level, len(gates) * len(candidates), tuple(looks))


def _is_there(metric: str, sides: Sequence[Side]) -> bool:
    return any(value is not None for side in sides for value in side.values(metric))


def _beside(base: Side, candidate: Side, gates: Sequence[Gate], level: float, former: Sequence[Row]) -> Compared:
    """One candidate beside the base."""
    n_changed = sum(one != other for one, other in zip(base.traces, candidate.traces, strict=True))
    limits = [gate for gate in gates if not gate.is_change]
    if n_changed == 0:
        return Compared(candidate, "identical", tuple(_limit_row(base, candidate, g, level) for g in limits), 0)
    if len(candidate.rows) < 2:
        found = "one world, which says nothing of chance"
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
        gain([v for v in one if v is not None], [v for v in other if v is not None]),
        causes(base, candidate, metric, level), found.n,
    )  # fmt: skip


def _limit_row(base: Side, candidate: Side, gate: Gate, level: float) -> Row:
    """A gate on the candidate alone."""
    metric, values = gate.metric, candidate.values(gate.metric)
    before, after = _mean(base.values(metric)), _mean(values)
    change = after / before - 1 if before and after is not None else None
    there = [value for value in values if value is not None]
    if len(there) < len(values):
        return Row(metric, gate, before, after, change, None, None, "FAIL", NOT_MEASURED, worlds=len(values))
    if len(there) < 2:
        found = Estimate(1, there[0], 0.0, there[0], there[0], level)  # of a run that is the base's
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
    """A difference of logarithms as a relative change."""
    return math.expm1(min(log_ratio, 700.0))
