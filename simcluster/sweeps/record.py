"""The folder of a sweep: journal, table and summary."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from simcluster.files.problems import InputError, Problem
from simcluster.results.run import INCOMPLETE, write_json
from simcluster.sweeps.columns import HIGHER, objectives
from simcluster.sweeps.execute import OnProgress, PointResults, execute
from simcluster.sweeps.plan import Plan
from simcluster.sweeps.store import JOURNAL, Store
from simcluster.sweeps.table import ON_FRONT, TABLE_FORMAT, Row, rows, setting_columns, write

TABLE, SUMMARY = "results.parquet", "sweep.json"
_OURS = {JOURNAL, TABLE, SUMMARY, TABLE + INCOMPLETE, SUMMARY + INCOMPLETE}
MAX_LISTED = 1000
"""Largest number of failures and of infeasible points in the summary."""


def record(
    plan: Plan,
    folder: Path,
    jobs: int | None = None,
    scheduler: str | None = None,
    progress: OnProgress = lambda *_: None,
) -> tuple[dict[str, Any], list[Row]]:
    """
    Simulate a sweep into a folder, and resume what a former or interrupted sweep left there.

    Returns:
        The content of `sweep.json`, and the rows of the table.

    Raises:
        InputError: the folder holds something else, or another sweep is using it.
    """
    require_replaceable(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with Store(folder) as store:
        for name in (TABLE, SUMMARY):
            (folder / name).unlink(missing_ok=True)
        points = execute(plan, store, jobs, scheduler, progress)
        made = rows(plan, points)
        write(folder / TABLE, plan, made)
        summary = describe(plan, points, made)
        partial = folder / (SUMMARY + INCOMPLETE)
        write_json(partial, summary)
        partial.replace(folder / SUMMARY)
    return summary, made


def require_replaceable(folder: Path) -> None:
    """
    Require that a folder is free or holds a sweep.

    Raises:
        InputError: it holds something else.
    """
    inside = {""} if folder.exists() and not folder.is_dir() else set()
    if folder.is_dir():
        inside = {place.name for place in folder.iterdir()}
    if inside - _OURS:
        found = "a place with other files"
        raise InputError([Problem(str(folder), 0, "", found, "expected a free place or a former sweep")])


def describe(plan: Plan, points: Sequence[PointResults], made: Sequence[Row]) -> dict[str, Any]:
    """Summarise a sweep: counts, the front, infeasible points and failures."""
    statuses = [point.status for point in points]
    columns = objectives(plan.file)
    settings = setting_columns(plan)
    texts = [list(dict.fromkeys(text for point in points for runs in point.tried.values()
                                for run in runs.values() for text in run[name]))
             for name in ("notes", "assumptions")]  # fmt: skip

    def of_point(number: int) -> dict[str, Any]:
        return {"point": number, "settings": {name: plain(values[number]) for name, values in settings.items()}}

    return {
        "format": TABLE_FORMAT,
        "sweep": plan.name,
        "title": plan.file.title,
        "scenario": plan.base,
        "seeds": plan.file.seeds,
        "points": {"all": len(points)} | {name: statuses.count(name) for name in ("ok", "infeasible", "failed")},
        "currency": plan.file.currency,
        "capacity": None if plan.file.capacity is None else plan.file.capacity.model_dump(),
        "objectives": {name: "higher" if name in HIGHER else "lower" for name in columns},
        "front": [
            of_point(number) | {name: row[name] for name in columns}
            for number, row in enumerate(made)
            if row[ON_FRONT]
        ],
        "infeasible": [
            of_point(number) | {"reason": row["reason"]}
            for number, row in enumerate(made)
            if row["status"] == "infeasible"
        ][:MAX_LISTED],
        "failed": [
            of_point(number) | {"seed": failed.seed, "rate_req_per_s": failed.rate, "reason": failed.reason}
            for number, point in enumerate(points)
            for failed in point.failed
        ][:MAX_LISTED],
        "notes": sorted(texts[0])[:MAX_LISTED],
        "assumptions": sorted(texts[1])[:MAX_LISTED],
    }


def plain(value: Any) -> Any:
    """Convert a value to JSON: NaN becomes null."""
    return None if isinstance(value, float) and math.isnan(value) else value
