"""Summaries as a table: a row per metric, a column per run."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Summary = dict[str, Any]


def _ms(key: str) -> Callable[[Summary], str]:
    return lambda summary: number(summary[key], "ms")


def number(value: float | None, unit: str = "", digits: int = 4) -> str:
    """Four significant digits, or so many, without exponents in the range people read."""
    if value is None:
        return "-"
    least_whole = 10 ** min(digits, 3) - (0.5 if digits < 4 else 0)  # which `g` would round up to an exponent
    text = f"{value:,.0f}" if abs(value) >= least_whole else f"{value:.{digits}g}"
    return f"{text} {unit}".rstrip()


def _steady(summary: Summary, name: str) -> str:
    """The mean in the long run and half the width of its interval, where the scenario asks for it."""
    found = summary.get("steady_state", {})
    mean, half_width = found.get(f"mean_{name}_ms"), found.get(f"half_width_{name}_ms")
    if half_width is None:
        return number(mean, "ms")
    return f"{number(mean)} ± {number(half_width, 'ms', 2)}"


def _per_user(summary: Summary) -> str:
    tpot = summary["mean_tpot_ms"]
    return number(1000 / tpot if tpot else None, "tokens/s")


ROWS: tuple[tuple[str, Callable[[Summary], str]], ...] = (
    ("model", lambda s: s["model"]),
    ("devices", lambda s: f"{s['devices']} x {s['device']}"),
    ("requests finished", lambda s: number(s["completed"])),
    ("  failed, unfinished", lambda s: f"{s['failed']}, {s['unfinished']}"),
    ("duration", lambda s: number(s["duration"], "s")),
    ("TTFT median", _ms("median_ttft_ms")),
    ("TTFT p99", _ms("p99_ttft_ms")),
    ("TPOT mean", _ms("mean_tpot_ms")),
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


def print_summaries(summaries: Sequence[Summary], folders: Sequence[Path]) -> None:
    """Print the runs side by side, what they assume, and where they are."""
    from rich.console import Console
    from rich.table import Table

    stdout = sys.stdout
    width = max(shutil.get_terminal_size().columns, 60) if stdout.isatty() else 200
    console = Console(file=stdout, width=width, highlight=False, soft_wrap=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for summary in summaries:
        table.add_column(f"{summary['scenario']}\nseed {summary['seed']}, noise {summary['noise']}", justify="right",
                         overflow="fold")  # fmt: skip
    for title, cell in ROWS:
        cells = [cell(summary) for summary in summaries]
        if any(text != "-" for text in cells):
            table.add_row(title, *cells)
    console.print(table)
    console.print()
    for text in dict.fromkeys(text for summary in summaries for text in _remarks(summary)):
        console.print(f"* {text}", markup=False, soft_wrap=True)
    for folder in folders:
        console.print(f"run: {folder}", markup=False, soft_wrap=True)


def _remarks(summary: Summary) -> list[str]:
    """What a reader must know besides the numbers."""
    dropped = [f"{n:,} rows of the trace dropped: {why}" for why, n in summary["dropped_trace_rows"].items()]
    failures = [f"{n:,} requests failed: {why}" for why, n in summary["failures"].items()]
    return [*failures, *dropped, *summary["notes"], *summary["assumptions"]]
