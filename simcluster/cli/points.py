"""Print the points of a sweep as a table: a row per point with its settings and the figures of the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from simcluster.cli.printing import bare_table, plus_minus, print_remarks, wide_console
from simcluster.files.units import number

if TYPE_CHECKING:
    from simcluster.sweeps.plan import Plan

MAX_ROWS = 40
MAX_SETTING_LENGTH = 40


def print_points(plan: Plan, summary: dict[str, Any], rows: Sequence[dict[str, Any]]) -> None:
    """Print the simulated points, the infeasible ones, and the assumptions of all."""
    from rich.text import Text

    from simcluster.sweeps import columns

    console = wide_console()
    simulated = [point for point, row in enumerate(rows) if row["status"] == "ok"]
    shown = sorted(sorted(simulated, key=lambda point: -rows[point]["on_front"])[:MAX_ROWS])
    settings, figures = _settings(plan), _figures(summary, rows)
    table = bare_table()
    table.add_column("point", justify="right")
    for title, values in settings.items():
        is_text = any(isinstance(value, str) for value in values)
        table.add_column(Text(title), justify="left" if is_text else "right", overflow="fold")
    for name in figures:
        table.add_column(Text(columns.title(name)), justify="right")
    table.add_column("front")
    for point in shown:
        cells = [_setting(values[point]) for values in settings.values()]
        cells += [_figure(rows[point], name, summary["currency"]) for name in figures]
        table.add_row(str(point), *map(Text, cells), "*" if rows[point]["on_front"] else "")
    if shown:
        console.print(table)
        console.print()
    if len(simulated) > len(shown):
        print_remarks(console, [f"{len(shown)} of {len(simulated):,} points are shown, those on the front first"])
    remarks = (*_infeasible(settings, rows), *_explained(summary), *summary["notes"], *summary["assumptions"])
    print_remarks(console, remarks)


def _infeasible(settings: dict[str, list[Any]], rows: Sequence[dict[str, Any]]) -> list[str]:
    """Describe infeasible points, those with the same reason together."""
    points: dict[str, list[int]] = {}
    for point, row in enumerate(rows):
        if row["status"] == "infeasible":
            points.setdefault(row["reason"], []).append(point)
    lines = []
    for reason, of in list(points.items())[:MAX_ROWS]:
        where = ", ".join(f"{title} {_setting(values[of[0]])}" for title, values in settings.items())
        more = f" and {len(of) - 1:,} more points" if len(of) > 1 else ""
        lines.append(f"infeasible: {where}{more}: {reason}")
    left = list(points.values())[MAX_ROWS:]
    return lines + ([f"{sum(map(len, left)):,} more points are infeasible"] if left else [])


def _settings(plan: Plan) -> dict[str, list[Any]]:
    """The columns that distinguish points; names of variants replace the keys that variants set."""
    from simcluster.sweeps import columns
    from simcluster.sweeps.table import setting_columns

    settings = setting_columns(plan)
    variants = plan.file.design.variants or {}
    of_variants = {key for variant in variants.values() for key in variant}
    return {
        columns.short_key(title): values
        for title, values in settings.items()
        if title.partition(" [")[0] not in of_variants or not variants
    }


def _figures(summary: dict[str, Any], rows: Sequence[dict[str, Any]]) -> list[str]:
    """The usual columns, then those of the Pareto front."""
    usual = ["devices", "median_ttft_ms", "p99_ttft_ms", "mean_tpot_ms", "slo_attainment"]
    there = {name for row in rows for name in row}
    return [name for name in dict.fromkeys([*usual, *summary["objectives"]]) if name in there]


def _setting(value: Any) -> str:
    text = value if isinstance(value, str) else "-" if value != value else f"{value:g}"
    return text if len(text) <= MAX_SETTING_LENGTH else text[: MAX_SETTING_LENGTH - 1] + "…"


def _figure(row: dict[str, Any], name: str, currency: str | None) -> str:
    """A figure with its unit, and half the width of its interval if it has one."""
    from simcluster.sweeps import columns
    from simcluster.sweeps.table import HALF_WIDTH

    value = row.get(name)
    unit, scale = columns.unit(name, currency)
    if value is None or value != value:
        is_below = row.get(columns.BOUND) == "below" and name == columns.CAPACITY
        return f"below {number(row[columns.NEXT_RATE], unit)}" if is_below else "-"
    prefix = "≥ " if row.get(columns.BOUND) == "above" and name == columns.CAPACITY else ""
    half_width = row.get(HALF_WIDTH + name)
    return prefix + plus_minus(value * scale, half_width * scale if half_width else None, unit)


def _explained(summary: dict[str, Any]) -> list[str]:
    """Explain the columns that single runs do not have."""
    lines = [f"front: no other point is as good in {', '.join(summary['objectives'])} and better in one of them"]
    if summary["seeds"] > 1:
        lines.append(f"means over {summary['seeds']} seeds, ± half the 95 % interval")
    if summary["capacity"] is not None:
        search = summary["capacity"]
        lines.append(
            f"capacity: the largest rate tried at which {search['attainment']:.4g} of all requests meet the limits, "
            f"to {search['precision']:.2g}; all figures are at this rate"
        )
    return lines
