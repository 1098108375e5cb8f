"""The table of a sweep: a row for each point with its settings, status and figures."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from math import fsum
from pathlib import Path
from typing import Any

import numpy as np

from simcluster.files.units import NUMBER
from simcluster.results.replications import intervals
from simcluster.results.run import INCOMPLETE
from simcluster.results.tables import write_table
from simcluster.sweeps.columns import (
    ATTAINMENT,
    BOUND,
    CAPACITY,
    COST_PER_HOUR,
    COST_PER_TOKEN,
    HIGHER,
    NEXT_RATE,
    objectives,
)
from simcluster.sweeps.execute import PointResults, attainment, search_result
from simcluster.sweeps.pareto import front
from simcluster.sweeps.plan import Plan
from simcluster.sweeps.spec import Cost

TABLE_FORMAT = "simcluster-sweep-1"
ON_FRONT = "on_front"
HALF_WIDTH = "half_width."

_QUANTITY = re.compile(rf"\s*({NUMBER})\s*([^\s\d]\S*)\s*")

Row = dict[str, Any]


def rows(plan: Plan, points: Sequence[PointResults]) -> list[Row]:
    """
    Make a row for each point: names to texts, integers or numbers; NaN for missing numbers.

    Metrics are means over seeds; with a capacity search, at the rate that it found. With several seeds, each has a
    column with half the width of its 95 % interval.
    """
    settings = setting_columns(plan)
    made = [
        {name: values[number] for name, values in settings.items()} | _figures(plan, point)
        for number, point in enumerate(points)
    ]
    columns = objectives(plan.file)
    signs = [-1.0 if name in HIGHER else 1.0 for name in columns]
    costs = [[sign * row.get(name, math.nan) for name, sign in zip(columns, signs, strict=True)] for row in made]
    for row, is_on in zip(made, front(np.array(costs, np.float64)), strict=True):
        row[ON_FRONT] = int(is_on)
    return made


def setting_columns(plan: Plan) -> dict[str, list[Any]]:
    """
    The settings of all points by key, in the order of the file; the variant's name comes first.

    Quantities with the same unit at all points become numbers, with the unit in brackets behind the key.
    """
    keys = list(dict.fromkeys(setting.key for planned in plan.points for setting in planned.point.settings))
    columns: dict[str, list[Any]] = {}
    if plan.file.design.variants is not None:
        columns["variant"] = [planned.point.variant for planned in plan.points]
    for key in keys:
        values = [_last(planned.point.settings, key) for planned in plan.points]
        name, column = _column(key, values)
        columns[name] = column
    return columns


def _last(settings: Sequence[Any], key: str) -> Any:
    return next((setting.value for setting in reversed(settings) if setting.key == key), None)


def _column(key: str, values: Sequence[Any]) -> tuple[str, list[Any]]:
    """A column of numbers if all values are numbers or quantities of one unit, else of texts."""
    there = [value for value in values if value is not None]
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in there):
        return key, [math.nan if value is None else value for value in values]
    matches = [_QUANTITY.fullmatch(value) if isinstance(value, str) else None for value in there]
    units = {match[2] if match else "" for match in matches}
    if len(units) == 1 and "" not in units:
        numbers = iter(float(match[1]) for match in matches if match)
        return f"{key} [{units.pop()}]", [math.nan if value is None else next(numbers) for value in values]
    return key, [text(value) for value in values]


def text(value: Any) -> str:
    """A value as in a scenario, on one line."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _figures(plan: Plan, point: PointResults) -> Row:
    """Status and figures of a point."""
    scenario, sweep = point.planned.scenario, plan.file
    row: Row = {"status": point.status, "reason": point.planned.reason}
    if point.failed:
        row["reason"] = point.failed[0].reason
    row["scenario_digest"] = "" if scenario is None else scenario.digest()
    row["device"] = "" if scenario is None else ", ".join(scenario.device_names)
    row["devices"] = math.nan if scenario is None else scenario.n_devices
    rate: float | None = None
    if (searched := search_result(sweep, point)) is not None:
        is_ok = point.status == "ok"
        rate = searched.good
        row[CAPACITY] = math.nan if rate is None or not is_ok else rate
        row[NEXT_RATE] = math.nan if searched.bad is None or not is_ok else searched.bad
        row[BOUND] = "" if not is_ok else "below" if rate is None else "above" if searched.bad is None else "between"
    if sweep.cost is not None and scenario is not None:
        per_hour = sweep.cost.per_device_hour
        row[COST_PER_HOUR] = fsum(len(pool.devices) * per_hour[pool.device.name] for pool in scenario.pools)
    runs = [run for _, run in sorted(point.tried.get(rate, {}).items())]
    if point.status == "ok" and runs:
        row |= _means([run["metrics"] for run in runs])
        if (share := attainment(runs)) is not None:
            row[ATTAINMENT] = share
        if sweep.cost is not None:
            row[COST_PER_TOKEN] = _per_million(row, sweep.cost)
    return row


def _means(metrics: Sequence[Mapping[str, float | None]]) -> Row:
    """Means over seeds, and half the width of their intervals if there are several."""
    found = intervals(metrics)
    half_widths = {HALF_WIDTH + name: one.half_width for name, one in found.items() if one.half_width is not None}
    return {name: one.mean for name, one in found.items()} | half_widths


def _per_million(row: Row, cost: Cost) -> float:
    """Price of all devices during the run, per million tokens of finished requests."""
    n_tokens = row["total_output_tokens"]
    return row[COST_PER_HOUR] * row["duration"] / 3600 / n_tokens * 1e6 if n_tokens else math.nan


def write(path: Path, plan: Plan, made: Sequence[Row]) -> None:
    """Write the rows as Parquet, atomically."""
    names = ["point", *dict.fromkeys(name for row in made for name in row)]
    table: dict[str, Any] = {}
    for name in names:
        values = list(range(len(made))) if name == "point" else [row.get(name) for row in made]
        table[name] = _array(values)
    partial = path.with_name(path.name + INCOMPLETE)
    metadata = {"format": TABLE_FORMAT, "sweep": plan.name, "title": plan.file.title}
    if plan.file.currency is not None:
        metadata["currency"] = plan.file.currency
    write_table(partial, table, metadata)
    partial.replace(path)


def _array(values: Sequence[Any]) -> Any:
    """Texts as a list, integers and other numbers as an array."""
    if any(isinstance(value, str) for value in values):
        return ["" if value is None else value for value in values]
    if all(isinstance(value, int) for value in values):
        return np.array(values, np.int64)
    return np.array([math.nan if value is None else value for value in values], np.float64)
