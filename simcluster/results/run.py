"""
A run folder: the token trace, the request table, a summary, the resolved scenario, and where it all came from.

It is written next to its place under a name that says it is incomplete, and renamed when all files are complete. What
a killed run leaves is thus recognisable, and the next run to the same place removes it.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

import simcluster
from simcluster.files.problems import InputError, Problem
from simcluster.kernel.simulate import Outcome, run_scenario
from simcluster.numerics.ticks import TICKS_PER_S
from simcluster.policies.chosen import AS_IN_SCENARIO, Policies
from simcluster.results import steady_state
from simcluster.results.intervals import calibration_of, uncertainty
from simcluster.results.metrics import DEFINITIONS, TokenSums, latencies_ms, of_requests, summarise
from simcluster.scenario.requests import requests_of
from simcluster.scenario.reread import dump
from simcluster.scenario.resolved import Scenario
from simcluster.trace.columns import TOKEN_COLUMNS, Block
from simcluster.trace.digest import Digest

PACKAGES = ("numpy", "scipy", "networkx", "pyarrow", "simpy")
"""Packages whose version can reach a result."""

TOKENS_PER_S = 50_000

INCOMPLETE = ".incomplete"
RESOLVED = "scenario.resolved.yaml"
"""The file that a run folder has its scenario in."""
RUN_FORMAT = "simcluster-run-2"


@dataclass(frozen=True, eq=False)
class Result:
    """A finished simulation: its summary, and its tables as pandas DataFrames on request."""

    scenario: Scenario
    summary: dict[str, Any]
    requests_table: dict[str, Any]
    blocks: tuple[Block, ...]

    def tokens(self) -> Any:
        """One row per token: a pandas DataFrame with the columns of `trace.TOKEN_COLUMNS`, all int64 ticks."""
        import numpy as np
        import pandas as pd

        none = np.empty((len(TOKEN_COLUMNS), 0), np.int64)
        rows = np.concatenate([none, *self.blocks], axis=1)
        return pd.DataFrame(dict(zip(TOKEN_COLUMNS, rows, strict=True)))

    def requests(self) -> Any:
        """One row per request, a pandas DataFrame."""
        import pandas as pd

        return pd.DataFrame(self.requests_table)


def simulate(
    scenario: Scenario, progress: Callable[[int], None] | None = None, policies: Policies = AS_IN_SCENARIO
) -> Result:
    """
    Simulate a scenario in memory.

    Args:
        scenario: as `load` gives it.
        progress: called now and then with the number of tokens made since the last call.
        policies: schedulers and a router instead of those that the scenario names.

    Raises:
        PolicyError: one of the policies decides what is not possible.
    """
    blocks: list[Block] = []
    summary, requests = observe(scenario, [blocks.append, *_reporting(progress)], policies)
    return Result(scenario, summary, requests, tuple(blocks))


def expected_s(scenario: Scenario) -> float:
    """How long a run may take on a machine of today, by order of magnitude: about a second per 50,000 tokens."""
    return float(requests_of(scenario).output_tokens.sum()) / TOKENS_PER_S


def measure(scenario: Scenario) -> dict[str, Any]:
    """Simulate a scenario for its summary alone; token rows are counted and not kept."""
    return observe(scenario, ())[0]


def observe(
    scenario: Scenario, sinks: Iterable[Callable[[Block], None]], policies: Policies = AS_IN_SCENARIO
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Simulate a scenario while token rows go to the sinks; returns its summary and its request table."""
    digest, sums = Digest(), TokenSums("horizon" in scenario.workload)
    outcome = run_scenario(scenario, [*sinks, digest.add_tokens, sums.add], policies=policies)
    digest.add_requests(outcome.requests)
    described = policies.described()
    digest.add_policies(described)
    summary = _summary(scenario, outcome, digest.hexdigest(), sums)
    return (summary | {"policies": described} if described else summary), outcome.requests


def record(
    scenario: Scenario,
    folder: Path,
    progress: Callable[[int], None] | None = None,
    policies: Policies = AS_IN_SCENARIO,
) -> dict[str, Any]:
    """
    Simulate a scenario into a run folder, replacing what a former run left there.

    Returns:
        The summary.

    Raises:
        InputError: the folder's place is taken by something that is not a run.
    """
    _require_replaceable(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(folder.name + INCOMPLETE)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        summary = _write(scenario, partial, progress, policies)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    former = folder.with_name(folder.name + ".former")
    shutil.rmtree(former, ignore_errors=True)
    if folder.exists():
        folder.rename(former)
    partial.rename(folder)
    shutil.rmtree(former, ignore_errors=True)
    return summary


def _write(
    scenario: Scenario, folder: Path, progress: Callable[[int], None] | None, policies: Policies
) -> dict[str, Any]:
    """Write all files of a run."""
    from simcluster.results.tables import TokenFile, write_table

    origin = provenance(scenario, policies)
    with TokenFile(folder / "tokens.parquet", origin) as file:
        summary, requests = observe(scenario, [file.write, *_reporting(progress)], policies)
        file.describe({"trace_digest": summary["trace_digest"]})
    origin["trace_digest"] = summary["trace_digest"]
    write_table(folder / "requests.parquet", requests, origin)
    (folder / RESOLVED).write_text(dump(scenario), encoding="utf-8")
    write_json(folder / "summary.json", summary)
    write_json(folder / "provenance.json", origin)
    return summary


def _reporting(progress: Callable[[int], None] | None) -> list[Callable[[Block], None]]:
    return [] if progress is None else [lambda block: progress(block.shape[1])]


def _summary(scenario: Scenario, outcome: Outcome, digest: str, sums: TokenSums) -> dict[str, Any]:
    """The summary of a run, self-contained."""
    long_run: dict[str, Any] = {}
    notes = list(outcome.notes)
    if scenario.steady_state:
        long_run["steady_state"], remarks = steady_state.describe(latencies_ms(outcome.requests))
        notes += remarks
    summary = {
        "scenario": scenario.name,
        "title": scenario.title,
        "seed": scenario.seed,
        "fidelity": scenario.fidelity,
        "scenario_digest": scenario.digest(),
        "trace_digest": digest,
        "model": ", ".join(scenario.models),
        "topology": scenario.topology,
        "device": ", ".join(scenario.device_names),
        "devices": scenario.n_devices,
        "noise": scenario.noise.name,
        "calibration": calibration_of(scenario),
        **summarise(outcome.requests, sums, outcome.duration_ticks, scenario.power_w, scenario.limits_ms),
        **long_run,
        **_by_pool(scenario, outcome.requests),
        "kv_blocks": _kv_blocks(scenario),
        "dropped_trace_rows": dict(outcome.dropped),
        "notes": notes,
        "assumptions": list(scenario.assumptions),
    }
    return summary | uncertainty(scenario, summary)


def _kv_blocks(scenario: Scenario) -> int | str:
    """KV blocks of a replica; with several pools those of each, in words."""
    blocks = [pool.replicas[0].kv_blocks for pool in scenario.pools]
    return blocks[0] if len(blocks) == 1 else ", ".join(str(n) for n in blocks)


def _by_pool(scenario: Scenario, requests: dict[str, Any]) -> dict[str, Any]:
    """What each of several pools is and did, by its name under `pools`; nothing for a single pool."""
    if len(scenario.pools) == 1:
        return {}
    served_by = np.asarray(requests["replica"])
    found, first = {}, 0
    for pool in scenario.pools:
        end = first + len(pool.replicas)
        own = np.flatnonzero((served_by >= first) & (served_by < end))
        first = end
        figures = of_requests({name: np.asarray(column)[own] for name, column in requests.items()})
        found[pool.name] = {
            "model": pool.model.name,
            "device": pool.device.name,
            "devices": len(pool.devices),
            "replicas": len(pool.replicas),
            "kv_blocks": pool.replicas[0].kv_blocks,
            "power_w": pool.power_w,
            **figures,
        }
    return {"pools": found}


def remarks(summary: dict[str, Any]) -> list[str]:
    """List what a reader of a run's summary must know in addition to its numbers and assumptions."""
    failures = [f"{n:,} requests failed: {why}" for why, n in summary["failures"].items()]
    dropped = [f"{n:,} rows of the trace dropped: {why}" for why, n in summary["dropped_trace_rows"].items()]
    return [*failures, *dropped, *summary["notes"]]


def provenance(scenario: Scenario, policies: Policies = AS_IN_SCENARIO) -> dict[str, Any]:
    """
    Describe where a run comes from, all but the digest of its trace.

    No time and no name of a machine, so that equal runs have equal files.
    """
    return {
        "format": RUN_FORMAT,
        "metric_definitions": DEFINITIONS,
        **versions(),
        "scenario": scenario.name,
        "scenario_digest": scenario.digest(),
        "seed": scenario.seed,
        "ticks_per_s": TICKS_PER_S,
        **({"policies": described} if (described := policies.described()) else {}),
    }


def versions() -> dict[str, Any]:
    """The versions that can reach a result: of simcluster, of Python, and of packages."""
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = "unknown"
    return {"simcluster": simcluster.__version__, "python": platform.python_version(), "packages": packages}


def _require_replaceable(folder: Path) -> None:
    """Require that the place of a run is free or holds a run."""
    if folder.exists() and not (folder / "provenance.json").is_file() and any(folder.iterdir()):
        found = "not a run folder"
        raise InputError([Problem(str(folder), 0, "", found, "expected a free place or a former run")])


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Write what a folder of results says of itself."""
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + os.linesep, encoding="utf-8")
