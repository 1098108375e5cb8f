"""
Replications: one scenario under successive seeds, a run folder for each, and their summary.

The folder is called incomplete until all runs are finished, and a killed command is resumed by the next: a run that
the same version made of the same scenario is not made twice. Intervals are Student's over the replications, which are
the only independent values: tokens of a run share its load and its devices.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simcluster.files.problems import InputError, Problem
from simcluster.files.source import read_text
from simcluster.policies.chosen import AS_IN_SCENARIO, Policies
from simcluster.results.read_run import REPLICATIONS, RunFolder, read_runs
from simcluster.results.run import INCOMPLETE, RESOLVED, expected_s, provenance, record, write_json
from simcluster.results.tables import write_table
from simcluster.scenario.reread import dump
from simcluster.scenario.resolved import Scenario
from simcluster.workers.pool import each

REPLICATIONS_FORMAT = "simcluster-replications-1"
SUMMARY, TABLE = REPLICATIONS, "replications.parquet"
CONFIDENCE = 0.95

_SAME_IN_ALL = ("scenario", "title", "model", "topology", "device", "devices", "noise", "fidelity")
"""Keys of a run's summary that are the same for all replications."""
_NO_METRICS = (*_SAME_IN_ALL, "seed", "kv_blocks")
_SPLIT = ("ttft_shares", "itl_shares", "steady_state")
"""Keys of nested metrics."""


@dataclass(frozen=True)
class Interval:
    """Mean of a metric over replications, and a 95 % confidence interval for its expectation."""

    n: int
    """Replications in which the metric has a value."""
    mean: float
    std: float | None
    """Between replications, with n - 1; None with one."""
    low: float | None
    high: float | None
    min: float
    max: float

    @property
    def half_width(self) -> float | None:
        """Half the width of the interval; None with one replication."""
        return None if self.high is None else self.high - self.mean


def interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """
    Student's t interval for the mean of independent values, at least one.

    Source:
        Law, Simulation Modeling and Analysis, 5th ed. (2015), 9.4.1: replications of terminating simulations.
    """
    n = len(values)
    low, high = min(values), max(values)
    mean = low if low == high else math.fsum(values) / n  # equal values have no spread by rounding
    if n < 2:
        return Interval(n, mean, None, None, None, low, high)
    std = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    half = student(n - 1, confidence) * std / math.sqrt(n)
    return Interval(n, mean, std, mean - half, mean + half, low, high)


def intervals(rows: Sequence[Mapping[str, float | None]]) -> dict[str, Interval]:
    """An interval for each metric over the rows in which it has a value; metrics without a value are left out."""
    names = dict.fromkeys(name for row in rows for name in row)
    found = {name: [value for row in rows if (value := row.get(name)) is not None] for name in names}
    return {name: interval(values) for name, values in found.items() if values}


def student(degrees: int, confidence: float = CONFIDENCE) -> float:
    """The two-sided quantile of Student's t: 12.7 for one degree of freedom, 1.96 for very many."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, (1 + confidence) / 2))


def replicate(
    scenario: Scenario,
    n_seeds: int,
    folder: Path,
    jobs: int | None = None,
    scheduler: str | None = None,
    done: Callable[[int], None] = lambda _: None,
    policies: Policies = AS_IN_SCENARIO,
) -> dict[str, Any]:
    """
    Simulate a scenario under its seed and those that follow, into one folder with a run folder for each.

    Args:
        scenario: the first replication.
        n_seeds: number of replications.
        folder: an existing one of the same scenario is resumed: runs that would be made again alike are kept.
        jobs: processes at once; see `workers.each`.
        scheduler: of Dask, whose workers see the folder under the same path.
        done: called with the number of finished runs, at first that of those kept.
        policies: instead of those that the scenario names; functions travel to the processes by value.

    Returns:
        The content of `replications.json`.

    Raises:
        InputError: the folder's place is taken by something else, or a scenario cannot be simulated.
    """
    partial = folder.with_name(folder.name + INCOMPLETE)
    for place in (folder, partial):
        require_replaceable(place)
    partial.parent.mkdir(parents=True, exist_ok=True)
    if folder.exists():
        _merge(folder, partial)
    partial.mkdir(exist_ok=True)
    seeds = range(scenario.seed, scenario.seed + n_seeds)
    planned = {seed_folder(seed): scenario.model_copy(update={"seed": seed}) for seed in seeds}
    try:
        kept = _kept(partial, planned, policies)
        n_done = len(kept)
        done(n_done)

        def one_more() -> None:
            nonlocal n_done
            n_done += 1
            done(n_done)

        missing = [(one, (partial / name).absolute(), policies) for name, one in planned.items() if name not in kept]
        each(_recorded, missing, jobs, scheduler, one_more, len(missing) * expected_s(scenario))
        summary = _describe(partial, list(planned))
    except Exception:
        if not any(partial.glob("seed-*/provenance.json")):
            shutil.rmtree(partial, ignore_errors=True)
        raise
    partial.rename(folder)
    return summary


def _recorded(task: tuple[Scenario, Path, Policies]) -> None:
    scenario, folder, policies = task
    record(scenario, folder, policies=policies)


def seed_folder(seed: int) -> str:
    """The name of a replication's run folder."""
    return f"seed-{seed:04}"


def require_replaceable(folder: Path) -> None:
    """
    Require that a place for replications is free or holds replications.

    Raises:
        InputError: it holds something else.
    """
    inside = [] if not folder.exists() else [p.name for p in folder.iterdir()] if folder.is_dir() else [""]
    if any(name not in (SUMMARY, TABLE) and not name.startswith("seed-") for name in inside):
        found = "a place that is taken by something else"
        raise InputError([Problem(str(folder), 0, "", found, "expected a free one or former replications")])


def _merge(folder: Path, partial: Path) -> None:
    """Move the runs of a complete folder into the incomplete one, whose own runs are newer."""
    for name in (SUMMARY, TABLE):
        (folder / name).unlink(missing_ok=True)
    if not partial.exists():
        folder.rename(partial)
        return
    for run in sorted(folder.iterdir()):
        if not (partial / run.name).exists():
            run.rename(partial / run.name)
    shutil.rmtree(folder)


def _kept(folder: Path, planned: dict[str, Scenario], policies: Policies) -> set[str]:
    """Names of the runs that would be made again alike; everything else is removed."""
    kept = set()
    for place in sorted(folder.iterdir()):
        if place.name in planned and _is_of(place, planned[place.name], policies):
            kept.add(place.name)
        elif place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        else:
            place.unlink()
    return kept


def _is_of(run: Path, scenario: Scenario, policies: Policies) -> bool:
    """Whether this version, with these packages, would make the same run."""
    try:
        found = json.loads((run / "provenance.json").read_text(encoding="utf-8"))
        resolved = (run / RESOLVED).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False
    digest = found.pop("trace_digest", None) if isinstance(found, dict) else None
    return digest is not None and found == provenance(scenario, policies) and resolved == dump(scenario)


def read_all(folder: Path) -> list[RunFolder]:
    """
    Read a run folder, or all runs of a folder of replications in the order of their seeds.

    Raises:
        InputError: it is neither, or unfinished.
    """
    return read_runs(run_folders(folder))


def run_folders(folder: Path) -> list[Path]:
    """
    The folder itself, or those of the runs of a folder of replications, in the order of their seeds.

    Raises:
        InputError: the replications are unfinished.
    """
    if folder.is_dir() and not (folder / SUMMARY).is_file() and any(folder.glob("seed-*")):
        runs = [run for run in folder.glob("seed-*") if not run.name.endswith(INCOMPLETE)]
        n_finished = sum((run / "provenance.json").is_file() for run in runs)
        found, expected = f"unfinished replications, {n_finished:,} finished", "run the same command again"
        raise InputError([Problem(str(folder), 0, "", found, expected)])
    if not (folder / SUMMARY).is_file():
        return [folder]
    try:
        seeds = [int(seed) for seed in json.loads(read_text(folder / SUMMARY))["seeds"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        found = "not what `simcluster replay --seeds` writes"
        raise InputError([Problem(str(folder / SUMMARY), 0, "", found, "run the scenario again")]) from None
    return [folder / seed_folder(seed) for seed in seeds]


def metrics(summary: dict[str, Any]) -> dict[str, float | None]:
    """The numbers of a run's summary by name, nested ones as `itl_shares.queue`."""
    flat = {name: value for name, value in summary.items() if name not in (*_NO_METRICS, *_SPLIT)}
    for outer in _SPLIT:
        flat |= {f"{outer}.{inner}": value for inner, value in (summary.get(outer) or {}).items()}
    return {
        name: value if value is None else float(value)
        for name, value in flat.items()
        if value is None or (isinstance(value, int | float) and not isinstance(value, bool))
    }


def _describe(folder: Path, names: Iterable[str]) -> dict[str, Any]:
    """Write the table of all runs and then their summary."""
    summaries = [json.loads(read_text(folder / name / "summary.json")) for name in names]
    first, rows = summaries[0], [metrics(summary) for summary in summaries]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    table = {"seed": np.array([summary["seed"] for summary in summaries], np.int64)} | {
        name: np.array([_or_nan(row.get(name)) for row in rows]) for name in columns
    }
    write_table(folder / TABLE, table, {"format": REPLICATIONS_FORMAT, "scenario": first["scenario"]})
    summary = {
        "format": REPLICATIONS_FORMAT,
        **{name: first[name] for name in _SAME_IN_ALL},
        "seeds": [summary["seed"] for summary in summaries],
        "confidence": CONFIDENCE,
        "metrics": {name: _as_json(found) for name, found in intervals(rows).items()},
        "trace_digests": [summary["trace_digest"] for summary in summaries],
        **{
            name: list(dict.fromkeys(text for each_of in summaries for text in each_of[name]))
            for name in ("notes", "assumptions")
        },
    }
    write_json(folder / SUMMARY, summary)
    return summary


def _as_json(found: Interval) -> dict[str, float | int | None]:
    return {
        "n": found.n, "mean": found.mean, "std": found.std, "low": found.low, "high": found.high,
        "min": found.min, "max": found.max,
    }  # fmt: skip


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
