"""One side of a comparison: its metrics in each world, their components, and what makes it comparable."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from simcluster.comparison.parts import Parts
from simcluster.files.problems import InputError, Problem
from simcluster.results.replications import metrics
from simcluster.scenario.gates import METRICS
from simcluster.scenario.resolved import Scenario

DIGITS = 8
"""Significant digits of metrics that are compared, as in a baseline file."""
TRACE_DIGITS = 16
"""Hexadecimal digits by which traces are distinguished."""

Row = dict[str, float | None]


@dataclass(frozen=True)
class World:
    """What two sides must share to be in the same worlds, with metrics of the same meaning."""

    seeds: tuple[int, ...]
    source_seeds: dict[str, int]
    noise: str
    noise_digest: str
    limits_ms: dict[str, float]
    """Limits of the service level, on which goodput and attainment depend."""
    metric_definitions: str


@dataclass(frozen=True)
class Side:
    """Results of one system in several worlds."""

    name: str
    kind: Literal["scenario", "runs", "baseline"]
    file: str
    """Where it was read from: as the user named it, or the file of a scenario found by name."""
    scenario_digest: str
    world: World
    made_with: dict[str, str]
    """Versions of simcluster, Python and the packages that can affect a result."""
    gates: tuple[str, ...]
    traces: tuple[str, ...]
    """The first digits of the digest of each world's trace."""
    rows: tuple[Row, ...]
    """Metrics by world."""
    parts: tuple[Parts, ...]
    """Components of the metrics, by world."""
    remarks: tuple[str, ...] = ()
    scenario: Scenario | None = field(default=None, compare=False)
    """None for a baseline, which does not hold it."""

    def values(self, metric: str) -> list[float | None]:
        """One metric in each world."""
        return [row.get(metric) for row in self.rows]

    def first(self, n_worlds: int) -> Side:
        """This side with its first `n_worlds` worlds only."""
        world = replace(self.world, seeds=self.world.seeds[:n_worlds])
        return replace(
            self, world=world, traces=self.traces[:n_worlds], rows=self.rows[:n_worlds], parts=self.parts[:n_worlds]
        )


def row_of(summary: dict[str, Any]) -> Row:
    """The comparable metrics of a run, rounded; None for one without a value."""
    return {name: rounded(value) for name, value in metrics(summary).items() if name in METRICS}


def rounded(value: float | None) -> float | None:
    """Round to the digits that are compared."""
    return None if value is None else float(f"{value:.{DIGITS}g}")


def noise_digest(scenario: Scenario) -> str:
    """Digest of the noise sources and their parameters, without the preset's name and provenance."""
    rows = [[row.source, list(row.device_kinds), row.values] for row in scenario.noise.rows]
    return hashlib.sha256(json.dumps(sorted(rows), sort_keys=True).encode()).hexdigest()[:TRACE_DIGITS]


def world_of(scenario: Scenario, seeds: Iterable[int], metric_definitions: str) -> World:
    """What distinguishes the worlds of a scenario."""
    return World(
        tuple(seeds), dict(scenario.source_seeds), scenario.noise.name, noise_digest(scenario),
        dict(scenario.limits_ms), metric_definitions,
    )  # fmt: skip


_EXPECTED = {
    "seeds": "expected the same on both sides",
    "source_seeds": "expected the same on both sides",
    "noise_digest": "expected the same noise on both sides, such as by --set noise=datacenter",
    "limits_ms": "expected the same slo on both sides, since goodput and attainment depend on it",
    "metric_definitions": "expected the same version; renew the baseline with --update-baseline",
}


def require_comparable(base: Side, candidates: Sequence[Side]) -> None:
    """
    Require that all sides share their worlds and definitions of metrics.

    Raises:
        InputError: with the differences.
    """
    problems = []
    for candidate in candidates:
        for key, expected in _EXPECTED.items():
            one, other = getattr(base.world, key), getattr(candidate.world, key)
            if one != other:
                what = "noise" if key == "noise_digest" else key
                here, there = _shown(candidate.world, key), _shown(base.world, key)
                if here == there:  # equal names, different parameters
                    here, there = f"{here} ({other})", f"{there} ({one})"
                found = f"{here}, while {base.file} has {there}"
                problems.append(Problem(candidate.file, 0, what, f"not comparable: {found}", expected))
    if problems:
        raise InputError(problems)


def _shown(world: World, key: str) -> str:
    value = getattr(world, key)
    if key == "seeds":
        return f"{len(value)} seeds from {value[0]}" if value else "none"
    if key == "noise_digest":
        return f"'{world.noise}'"
    if isinstance(value, dict):
        return ", ".join(f"{name} {number:g}" for name, number in sorted(value.items())) or "none"
    return f"'{value}'"
