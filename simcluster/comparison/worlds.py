"""Sides with their worlds: scenarios are simulated, run folders are read."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from simcluster.comparison.parts import Parts, PartSums, rounded
from simcluster.comparison.side import TRACE_DIGITS, Row, Side, row_of, world_of
from simcluster.results.metrics import DEFINITIONS, are_finished
from simcluster.results.read_run import RunFolder
from simcluster.results.replications import read_all
from simcluster.results.run import observe, provenance
from simcluster.scenario.resolved import Scenario
from simcluster.trace.columns import TOKEN_COLUMNS
from simcluster.workers.pool import each

WorldResult = tuple[Row, Parts, str, list[str]]
"""Metrics of a run, their components, the trace digest, and remarks."""


def made_with(origin: dict[str, Any]) -> dict[str, str]:
    """Versions in a run's provenance."""
    packages = origin.get("packages")
    versions = {"simcluster": origin.get("simcluster"), "python": origin.get("python")}
    versions |= packages if isinstance(packages, dict) else {}
    return {str(name)[:80]: str(version)[:80] for name, version in versions.items()}


def scenario_side(scenario: Scenario, file: str, name: str = "") -> Side:
    """A side without worlds, under its scenario's name or another."""
    shown = "".join(character if character.isprintable() else "?" for character in name)
    return Side(
        shown or scenario.name, "scenario", file, scenario.digest(), world_of(scenario, (), DEFINITIONS),
        made_with(provenance(scenario)), scenario.gates, (), (), (), scenario.assumptions, scenario,
    )  # fmt: skip


def simulate_worlds(
    sides: Sequence[Side],
    n_worlds: int,
    jobs: int | None = None,
    scheduler: str | None = None,
    done: Callable[[int], None] = lambda _: None,
) -> list[Side]:
    """
    Simulate sides that are scenarios under the seeds that they lack, in parallel.

    Args:
        sides: of any kind; runs and baselines are returned unchanged.
        n_worlds: number of worlds that each scenario has afterwards.
        jobs: processes at once; see `workers.each`.
        scheduler: address of a Dask scheduler, to use its workers.
        done: called with the number of finished runs.

    Raises:
        InputError: a scenario cannot be simulated.
    """
    tasks = [
        (side.scenario.model_copy(update={"seed": side.scenario.seed + number}))
        for side in sides
        if side.kind == "scenario" and side.scenario is not None
        for number in range(len(side.rows), n_worlds)
    ]
    count = itertools.count(1)
    found = iter(each(_simulate_world, tasks, jobs, scheduler, lambda: done(next(count))))
    return [
        _with_worlds(side, list(itertools.islice(found, n_worlds - len(side.rows))))
        if side.kind == "scenario" and n_worlds > len(side.rows)
        else side
        for side in sides
    ]


def _simulate_world(scenario: Scenario) -> WorldResult:
    parts = PartSums("horizon" in scenario.workload)
    summary, requests = observe(scenario, [parts.add])
    return row_of(summary), rounded(parts.shares(requests)), summary["trace_digest"][:TRACE_DIGITS], summary["notes"]


def _with_worlds(side: Side, played: Sequence[WorldResult]) -> Side:
    """Add worlds to a side."""
    assert side.scenario is not None
    rows, parts, traces, notes = zip(*played, strict=True)
    n_before = len(side.rows)
    first = side.scenario.seed
    world = replace(side.world, seeds=tuple(range(first, first + n_before + len(rows))))
    remarks = tuple(dict.fromkeys([*side.remarks, *(note for some in notes for note in some)]))
    return replace(
        side,
        world=world,
        rows=(*side.rows, *rows),
        traces=(*side.traces, *traces),
        parts=(*side.parts, *parts),
        remarks=remarks,
    )


def from_folder(folder: Path) -> Side:
    """
    Read a side from a run folder or a folder of replications.

    Raises:
        InputError: it is not a run folder, or was written by an older version.
    """
    runs = read_all(folder)
    scenario = runs[0].recorded_scenario()
    seeds = [int(run.summary["seed"]) for run in runs]
    origin = runs[0].provenance
    remarks = [str(text) for run in runs for key in ("notes", "assumptions") for text in run.summary.get(key, ())]
    return Side(
        scenario.name, "runs", str(folder), str(runs[0].summary["scenario_digest"]),
        world_of(scenario, seeds, str(origin.get("metric_definitions"))), made_with(origin), scenario.gates,
        tuple(run.summary["trace_digest"][:TRACE_DIGITS] for run in runs), tuple(row_of(r.summary) for r in runs),
        tuple(_parts_of(run) for run in runs), tuple(dict.fromkeys(remarks)), scenario,
    )  # fmt: skip


def _parts_of(run: RunFolder) -> Parts:
    """Shares of the components in the metrics of a run on disk."""
    parts = PartSums()
    finished = are_finished(run.requests)
    for columns in run.tokens():
        block = np.stack([columns[name] for name in TOKEN_COLUMNS])
        parts.add(block[:, finished[block[0]]])
    return rounded(parts.shares(run.requests))
