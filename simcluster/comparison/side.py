"""One side of a comparison: its metrics in each world, what they are made of, and what makes it comparable."""

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
"""Significant digits that metrics are compared with: those of a baseline file."""
TRACE_DIGITS = 16
"""Hexadecimal digits by which traces are told apart."""

Row = dict[str, float | None]


@dataclass(frozen=True)
class World:
    """What makes the worlds of two sides the same, and their metrics mean the same."""

    seeds: tuple[int, ...]
    source_seeds: dict[str, int]
    noise: str
    noise_digest: str
    limits_ms: dict[str, float]
    """Of the service level, which goodput and attainment are counted by."""
    metric_definitions: str


@dataclass(frozen=True)
class Side:
    """What one system did in each of some worlds."""

    name: str
    kind: Literal["scenario", "runs", "baseline"]
    file: str
    """Where it was read from, as the user named it, or the file of a scenario that was found by name."""
    scenario_digest: str
    world: World
    made_with: dict[str, str]
    """Versions of simcluster, Python and the packages that can reach a result."""
    gates: tuple[str, ...]
    traces: tuple[str, ...]
    """The first digits of the digest of each world's trace."""
    rows: tuple[Row, ...]
    """Metrics by world."""
    parts: tuple[Parts, ...]
    """What metrics are made of, by world."""
    remarks: tuple[str, ...] = ()
    scenario: Scenario | None = field(default=None, compare=False)
    """None of a baseline, which does not hold it."""

    def values(self, metric: str) -> list[float | None]:
        """One metric in each world."""
        return [row.get(metric) for row in self.rows]

    def first(self, n_worlds: int) -> Side:
        """The same with the first few worlds alone."""
        world = replace(self.world, seeds=self.world.seeds[:n_worlds])
        return replace(
            self, world=world, traces=self.traces[:n_worlds], rows=self.rows[:n_worlds], parts=self.parts[:n_worlds]
        )


def row_of(summary: dict[str, Any]) -> Row:
    """The metrics of a run that can be compared, rounded; None for one without a value."""
    return {name: rounded(value) for name, value in metrics(summary).items() if name in METRICS}


def rounded(value: float | None) -> float | None:
    """As many digits as are compared."""
    return None if value is None else float(f"{value:.{DIGITS}g}")


def noise_digest(scenario: Scenario) -> str:
    """Of the sources of noise and their parameters, whatever the preset is called and says of its origin."""
    rows = [[row.source, list(row.device_kinds), row.values] for row in scenario.noise.rows]
    return hashlib.sha256(json.dumps(sorted(rows), sort_keys=True).encode()).hexdigest()[:TRACE_DIGITS]


def world_of(scenario: Scenario, seeds: Iterable[int], metric_definitions: str) -> World:
    """What a scenario's worlds are told apart by."""
    return World(
        tuple(seeds), dict(scenario.source_seeds), scenario.noise.name, noise_digest(scenario),
        dict(scenario.limits_ms), metric_definitions,
    )  # fmt: skip


_EXPECTED = {
    "seeds": "expected the same on both sides",
    "source_seeds": "expected the same on both sides",
    "noise_digest": "expected the same noise on both sides, such as by --set noise=datacenter",
    "limits_ms": "expected the same slo on both sides, which goodput and attainment are counted by",
    "metric_definitions": "expected the same version, or a baseline made anew with --update-baseline",
}


def require_comparable(base: Side, candidates: Sequence[Side]) -> None:
    """
    Hold that all sides were in the same worlds and are measured alike.

    Raises:
        InputError: with what differs.
    """
    problems = []
    for candidate in candidates:
        for key, expected in _EXPECTED.items():
            one, other = getattr(base.world, key), getattr(candidate.world, key)
            if one != other:
                what = "noise" if key == "noise_digest" else key
                here, there = _shown(candidate.world, key), _shown(base.world, key)
                if here == there:  # presets of one name
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
