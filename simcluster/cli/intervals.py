"""Replications as a table: a row per metric with its mean and interval, a column per scenario."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from simcluster.cli.summary import number

ROWS = (
    ("requests finished", "completed", ""),
    ("duration", "duration", "s"),
    ("TTFT median", "median_ttft_ms", "ms"),
    ("TTFT p99", "p99_ttft_ms", "ms"),
    ("TPOT mean", "mean_tpot_ms", "ms"),
    ("TPOT p99", "p99_tpot_ms", "ms"),
    ("ITL mean", "mean_itl_ms", "ms"),
    ("ITL median", "median_itl_ms", "ms"),
    ("ITL p99", "p99_itl_ms", "ms"),
    ("ITL std", "std_itl_ms", "ms"),
    ("E2E median", "median_e2el_ms", "ms"),
    ("E2E p99", "p99_e2el_ms", "ms"),
    ("output throughput", "output_throughput", "tokens/s"),
    ("goodput", "request_goodput", "req/s"),
    ("energy per output token", "joules_per_output_token", "J"),
    ("steady TTFT mean", "steady_state.mean_ttft_ms", "ms"),
    ("steady TPOT mean", "steady_state.mean_tpot_ms", "ms"),
    ("steady E2E mean", "steady_state.mean_e2el_ms", "ms"),
)
"""Title, metric and unit; what no scenario has is left out."""


def print_replications(summaries: Sequence[dict[str, Any]], folders: Sequence[Path]) -> None:
    """Print mean and interval of the metrics side by side, what they assume, and where they are."""
    from rich.console import Console
    from rich.table import Table

    stdout = sys.stdout
    width = max(shutil.get_terminal_size().columns, 60) if stdout.isatty() else 200
    console = Console(file=stdout, width=width, highlight=False, soft_wrap=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("mean over seeds ± 95 %")
    for summary in summaries:
        seeds = summary["seeds"]
        table.add_column(f"{summary['scenario']}\n{len(seeds)} seeds from {seeds[0]}, noise {summary['noise']}",
                         justify="right", overflow="fold")  # fmt: skip
    for title, metric, unit in ROWS:
        cells = [_cell(summary["metrics"].get(metric), unit) for summary in summaries]
        if any(text != "-" for text in cells):
            table.add_row(title, *cells)
    console.print(table)
    console.print()
    remarks = [text for summary in summaries for text in (*_few(summary), *summary["notes"], *summary["assumptions"])]
    for text in dict.fromkeys(remarks):
        console.print(f"* {text}", markup=False, soft_wrap=True)
    for folder in folders:
        console.print(f"runs: {folder}", markup=False, soft_wrap=True)


def _cell(found: dict[str, Any] | None, unit: str) -> str:
    """Mean and half the width of the interval."""
    if found is None:
        return "-"
    if found["high"] is None:
        return number(found["mean"], unit)
    return f"{number(found['mean'])} ± {number(found['high'] - found['mean'], unit, 2)}"


def _few(summary: dict[str, Any]) -> list[str]:
    n = len(summary["seeds"])
    return ["one replication tells nothing of the spread between replications"] if n == 1 else []
