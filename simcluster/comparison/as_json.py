"""Comparisons and rankings as JSON data, with a format name."""

from __future__ import annotations

from typing import Any

from simcluster.comparison.comparison import Compared, Comparison, Row
from simcluster.comparison.differences import differences
from simcluster.comparison.ranking import Ranking
from simcluster.comparison.side import Side
from simcluster.scenario.gates import METRICS, Gate

COMPARISON_FORMAT = "simcluster-comparison-1"
RANKING_FORMAT = "simcluster-ranking-1"


def of_comparison(found: Comparison, exit_code: int) -> dict[str, Any]:
    """Convert a comparison."""
    return {
        "format": COMPARISON_FORMAT,
        "verdict": found.verdict,
        "exit_code": exit_code,
        "alpha": found.alpha,
        "level": found.level,
        "gates": found.n_gates,
        "looks": list(found.looks),
        "seeds": list(found.base.world.seeds),
        "noise": found.base.world.noise,
        "base": _side(found.base),
        "candidates": [_compared(found.base, candidate) for candidate in found.candidates],
    }


def of_ranking(found: Ranking, exit_code: int) -> dict[str, Any]:
    """Convert a ranking; systems are referred to by their index in `systems`."""
    return {
        "format": RANKING_FORMAT,
        "verdict": found.verdict,
        "exit_code": exit_code,
        "alpha": found.alpha,
        "metric": found.metric,
        "zone": found.zone,
        "seeds": list(found.sides[0].world.seeds),
        "noise": found.sides[0].world.noise,
        "order": list(found.order),
        "best": list(found.best),
        "systems": [
            _side(side)
            | {
                "mean": found.means[number],
                "meets_limits": found.meets(number),
                "limits": [
                    {"gate": str(limit.gate), "mean": limit.mean, "verdict": limit.verdict}
                    for limit in found.limits[number]
                ],
            }
            for number, side in enumerate(found.sides)
        ],
        "pairs": [
            {
                "better": pair.better, "other": pair.other, "relation": pair.relation, "change": pair.change,
                "low": pair.low, "high": pair.high,
            }
            for pair in found.pairs
        ],
    }  # fmt: skip


def _side(side: Side) -> dict[str, Any]:
    return {
        "name": side.name,
        "kind": side.kind,
        "file": side.file,
        "scenario_digest": side.scenario_digest,
        "made_with": side.made_with,
        "traces": list(side.traces),
        "remarks": list(side.remarks),
    }


def _compared(base: Side, candidate: Compared) -> dict[str, Any]:
    return _side(candidate.side) | {
        "status": candidate.status,
        "verdict": candidate.verdict,
        "changed_worlds": candidate.changed_worlds,
        "differences": differences(base, candidate.side),
        "metrics": [_row(row) for row in candidate.rows],
    }


def _row(row: Row) -> dict[str, Any]:
    metric = METRICS[row.metric]
    return {
        "metric": row.metric,
        "title": metric.title,
        "unit": metric.unit,
        "base": row.base,
        "candidate": row.candidate,
        "change": row.change,
        "low": row.low,
        "high": row.high,
        "gate": _gate(row.gate),
        "verdict": row.verdict,
        "why": row.why,
        "worlds": row.worlds,
        "needs": row.needs,
        "detectable": row.detectable,
        "variance_reduction": row.variance_reduction,
        "change_by_component": {name: part.change for name, part in row.causes.parts.items()},
        "bounds_by_component": {name: [part.low, part.high] for name, part in row.causes.parts.items()},
        "not_distinguished_from_largest": list(row.causes.rivals),
    }


def _gate(gate: Gate | None) -> dict[str, Any] | None:
    if gate is None:
        return None
    return {
        "text": str(gate), "fails": gate.fails, "threshold": gate.threshold,
        "of": "change" if gate.is_change else "value",
    }  # fmt: skip
