"""Print summaries as a table: a row per metric, a column per run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from simcluster.cli.printing import bare_table, plus_minus, print_remarks, wide_console
from simcluster.files.units import number
from simcluster.results.run import remarks

Summary = dict[str, Any]


def _ms(key: str) -> Callable[[Summary], str]:
    return lambda summary: number(summary[key], "ms")


def _steady(summary: Summary, name: str) -> str:
    """The steady-state mean and half the width of its interval, if the scenario asks for it."""
    found = summary.get("steady_state", {})
    mean, half_width = found.get(f"mean_{name}_ms"), found.get(f"half_width_{name}_ms")
    return plus_minus(mean, half_width, "ms")


def _per_user(summary: Summary) -> str:
    tpot = summary["mean_tpot_ms"]
    return number(1000 / tpot if tpot else None, "tokens/s")


def _devices(summary: Summary) -> str:
    """How many devices of which kind; with several pools those of each."""
    pools = summary.get("pools", {"": summary}).values()
    return ", ".join(f"{pool['devices']} x {pool['device']}" for pool in pools)


def _by_pool(key: str, unit: str = "") -> Callable[[Summary], str]:
    """A value of each of several pools; nothing for a single one."""

    def cell(summary: Summary) -> str:
        pools = summary.get("pools", {}).items()
        return ", ".join(f"{name} {number(pool[key], unit)}" for name, pool in pools) or "-"

    return cell


ROWS: tuple[tuple[str, Callable[[Summary], str]], ...] = (
    ("model", lambda s: s["model"]),
    ("devices", _devices),
    ("requests finished", lambda s: number(s["completed"])),
    ("  by pool", _by_pool("completed")),
    ("  failed, unfinished", lambda s: f"{s['failed']}, {s['unfinished']}"),
    ("duration", lambda s: number(s["duration"], "s")),
    ("TTFT median", _ms("median_ttft_ms")),
    ("TTFT p99", _ms("p99_ttft_ms")),
    ("  by pool", _by_pool("p99_ttft_ms", "ms")),
    ("TPOT mean", _ms("mean_tpot_ms")),
    ("  by pool", _by_pool("mean_tpot_ms", "ms")),
    ("ITL median", _ms("median_itl_ms")),
    ("ITL p99", _ms("p99_itl_ms")),
    ("ITL std", _ms("std_itl_ms")),
    ("E2E median", _ms("median_e2el_ms")),
    ("steady TTFT mean", lambda s: _steady(s, "ttft")),
    ("steady TPOT mean", lambda s: _steady(s, "tpot")),
    ("steady E2E mean", lambda s: _steady(s, "e2el")),
    ("speed per user (1/TPOT)", _per_user),
    ("output throughput", lambda s: number(s["output_throughput"], "tokens/s")),
    ("goodput", lambda s: number(s["request_goodput"], "req/s")),
    ("power of the devices", lambda s: number(s["power_w"] / 1000, "kW")),
    ("energy per output token", lambda s: number(s["joules_per_output_token"], "J")),
    ("most of ITL", lambda s: _largest(s["itl_shares"])),
)


def _largest(shares: dict[str, float]) -> str:
    """The two largest components."""
    ranked = sorted(shares.items(), key=lambda item: -item[1])[:2]
    return ", ".join(f"{name} {share:.0%}" for name, share in ranked if share > 0) or "-"


def column_head(summary: Summary, seeds: str) -> str:
    """The head of a column; changes of a noise preset are on a line of their own."""
    return f"{summary['scenario']}\n{seeds}, noise {summary['noise']}".replace(" (", "\n(")


def print_summaries(summaries: Sequence[Summary], folders: Sequence[Path]) -> None:
    """Print runs side by side, then assumptions and folders."""
    print_side_by_side(
        "",
        [column_head(summary, f"seed {summary['seed']}") for summary in summaries],
        [(title, [cell(summary) for summary in summaries]) for title, cell in ROWS],
        [text for summary in summaries for text in (*remarks(summary), *summary["assumptions"])],
        [f"run: {folder}" for folder in folders],
    )


def print_side_by_side(
    corner: str,
    columns: Sequence[str],
    rows: Iterable[tuple[str, Sequence[str]]],
    remarks: Iterable[str],
    places: Iterable[str],
) -> None:
    """Print a column for each scenario without rows that all lack, then remarks, each once, then places."""
    console = wide_console()
    table = bare_table()
    table.add_column(corner)
    for column in columns:
        table.add_column(column, justify="right", overflow="fold")
    for title, cells in rows:
        if any(text != "-" for text in cells):
            table.add_row(title, *cells)
    console.print(table)
    console.print()
    print_remarks(console, dict.fromkeys(remarks))
    for place in places:
        console.print(place, markup=False, soft_wrap=True)
