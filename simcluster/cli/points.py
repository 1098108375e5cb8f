"""The points of a sweep as a table: a row for each, its settings and the figures that are weighed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from simcluster.cli.printed import bare_table, plus_minus, print_remarks, wide_console
from simcluster.files.units import number

if TYPE_CHECKING:
    from simcluster.sweeps.plan import Plan

MOST_ROWS = 40
LONGEST_SETTING = 40


def print_points(plan: Plan, summary: dict[str, Any], rows: Sequence[dict[str, Any]]) -> None:
    """Print the points that were played, those that cannot be, and what all of them assume."""
    from rich.text import Text

    from simcluster.sweeps import columns

    console = wide_console()
    played = [point for point, row in enumerate(rows) if row["status"] == "ok"]
    shown = sorted(sorted(played, key=lambda point: -rows[point]["on_front"])[:MOST_ROWS])
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
    if len(played) > len(shown):
        print_remarks(console, [f"{len(shown)} of {len(played):,} points are shown, those on the front first"])
    remarks = (*_impossible(settings, rows), *_explained(summary), *summary["notes"], *summary["assumptions"])
    print_remarks(console, remarks)


def _impossible(settings: dict[str, list[Any]], rows: Sequence[dict[str, Any]]) -> list[str]:
    """Points that cannot be, those with the same reason together."""
    points: dict[str, list[int]] = {}
    for point, row in enumerate(rows):
        if row["status"] == "impossible":
            points.setdefault(row["reason"], []).append(point)
    said = []
    for reason, of in list(points.items())[:MOST_ROWS]:
        where = ", ".join(f"{title} {_setting(values[of[0]])}" for title, values in settings.items())
        more = f" and {len(of) - 1:,} more points" if len(of) > 1 else ""
        said.append(f"cannot be: {where}{more}: {reason}")
    left = list(points.values())[MOST_ROWS:]
    return said + ([f"{sum(map(len, left)):,} more points cannot be"] if left else [])


def _settings(plan: Plan) -> dict[str, list[Any]]:
    """The columns that tell points apart: of a sweep with variants their names stand for their keys."""
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
    """Devices, latencies people ask for first, and all that is weighed."""
    usual = ["devices", "median_ttft_ms", "p99_ttft_ms", "mean_tpot_ms", "slo_attainment"]
    there = {name for row in rows for name in row}
    return [name for name in dict.fromkeys([*usual, *summary["objectives"]]) if name in there]


def _setting(value: Any) -> str:
    text = value if isinstance(value, str) else "-" if value != value else f"{value:g}"
    return text if len(text) <= LONGEST_SETTING else text[: LONGEST_SETTING - 1] + "…"


def _figure(row: dict[str, Any], name: str, currency: str | None) -> str:
    """A figure with its unit, and half the width of its interval where there is one."""
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
    """What the columns mean that are not those of every run."""
    said = [f"front: no other point is as good in {', '.join(summary['objectives'])} and better in one of them"]
    if summary["seeds"] > 1:
        said.append(f"means over {summary['seeds']} seeds, ± half the 95 % interval")
    if summary["capacity"] is not None:
        asked = summary["capacity"]
        said.append(
            f"capacity: the largest rate tried at which {asked['attainment']:.4g} of all requests meet the limits, "
            f"to {asked['precision']:.2g}; all figures are at this rate"
        )
    return said
