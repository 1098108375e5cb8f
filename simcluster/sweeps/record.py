"""The folder of a sweep: its journal, its table and its summary."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from simcluster.files.problems import InputError, Problem
from simcluster.results.run import INCOMPLETE, write_json
from simcluster.sweeps.columns import HIGHER, objectives
from simcluster.sweeps.execute import Progress, Tell, execute
from simcluster.sweeps.plan import Plan
from simcluster.sweeps.store import JOURNAL, Store
from simcluster.sweeps.table import ON_FRONT, TABLE_FORMAT, Row, rows, setting_columns, write

TABLE, SUMMARY = "results.parquet", "sweep.json"
_OURS = {JOURNAL, TABLE, SUMMARY, TABLE + INCOMPLETE, SUMMARY + INCOMPLETE}
MOST_TOLD = 1000
"""Failures and impossible points that the summary lists."""


def record(
    plan: Plan, folder: Path, jobs: int | None = None, scheduler: str | None = None, tell: Tell = lambda *_: None
) -> tuple[dict[str, Any], list[Row]]:
    """
    Play a sweep into a folder; what a former or a killed one left there is not played again.

    Returns:
        What `sweep.json` holds, and the rows of the table.

    Raises:
        InputError: the folder's place is taken by something else, or by a sweep that is at work.
    """
    require_replaceable(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with Store(folder) as store:
        for name in (TABLE, SUMMARY):
            (folder / name).unlink(missing_ok=True)
        points = execute(plan, store, jobs, scheduler, tell)
        made = rows(plan, points)
        write(folder / TABLE, plan, made)
        summary = describe(plan, points, made)
        beside = folder / (SUMMARY + INCOMPLETE)
        write_json(beside, summary)
        beside.replace(folder / SUMMARY)
    return summary, made


def require_replaceable(folder: Path) -> None:
    """
    Hold that nothing but a sweep stands at the place of a sweep.

    Raises:
        InputError: something else does.
    """
    inside = {""} if folder.exists() and not folder.is_dir() else set()
    if folder.is_dir():
        inside = {place.name for place in folder.iterdir()}
    if inside - _OURS:
        found = "a place that is taken by something else"
        raise InputError([Problem(str(folder), 0, "", found, "expected a free one or a former sweep")])


def describe(plan: Plan, points: Sequence[Progress], made: Sequence[Row]) -> dict[str, Any]:
    """What a sweep says in short: counts, the front, and what could not be played."""
    statuses = [progress.status for progress in points]
    weighed = objectives(plan.file)
    settings = setting_columns(plan)
    texts = [list(dict.fromkeys(text for progress in points for runs in progress.tried.values()
                                for run in runs.values() for text in run[name]))
             for name in ("notes", "assumptions")]  # fmt: skip

    def told(number: int) -> dict[str, Any]:
        return {"point": number, "settings": {name: plain(values[number]) for name, values in settings.items()}}

    return {
        "format": TABLE_FORMAT,
        "sweep": plan.name,
        "title": plan.file.title,
        "scenario": plan.base,
        "seeds": plan.file.seeds,
        "points": {"all": len(points)} | {name: statuses.count(name) for name in ("ok", "impossible", "failed")},
        "currency": plan.file.currency,
        "capacity": None if plan.file.capacity is None else plan.file.capacity.model_dump(),
        "objectives": {name: "higher" if name in HIGHER else "lower" for name in weighed},
        "front": [
            told(number) | {name: row[name] for name in weighed} for number, row in enumerate(made) if row[ON_FRONT]
        ],
        "impossible": [
            told(number) | {"reason": row["reason"]}
            for number, row in enumerate(made)
            if row["status"] == "impossible"
        ][:MOST_TOLD],
        "failed": [
            told(number) | {"seed": failed.seed, "rate_req_per_s": failed.rate, "reason": failed.reason}
            for number, progress in enumerate(points)
            for failed in progress.failed
        ][:MOST_TOLD],
        "notes": sorted(texts[0])[:MOST_TOLD],
        "assumptions": sorted(texts[1])[:MOST_TOLD],
    }


def plain(value: Any) -> Any:
    """A value as JSON has it."""
    return None if isinstance(value, float) and math.isnan(value) else value
