"""Print replications as a table: a row per metric with its mean and interval, a column per scenario."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from simcluster.cli.printing import plus_minus
from simcluster.cli.summary import column_head, print_side_by_side

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
"""Title, metric and unit; metrics that no scenario has are left out."""


def print_replications(summaries: Sequence[dict[str, Any]], folders: Sequence[Path]) -> None:
    """Print the mean and interval of each metric side by side, then assumptions and folders."""
    print_side_by_side(
        "mean over seeds ± 95 %",
        [_head(summary) for summary in summaries],
        [
            (title, [_cell(summary["metrics"].get(metric), unit) for summary in summaries])
            for title, metric, unit in ROWS
        ],
        [text for summary in summaries for text in (*_few(summary), *summary["notes"], *summary["assumptions"])],
        [f"runs: {folder}" for folder in folders],
    )


def _head(summary: dict[str, Any]) -> str:
    seeds = summary["seeds"]
    return column_head(summary, f"{len(seeds)} seeds from {seeds[0]}")


def _cell(found: dict[str, Any] | None, unit: str) -> str:
    """Mean and half the width of the interval."""
    if found is None:
        return "-"
    mean, high = found["mean"], found["high"]
    return plus_minus(mean, None if high is None else high - mean, unit)


def _few(summary: dict[str, Any]) -> list[str]:
    n = len(summary["seeds"])
    return ["one replication does not show the spread between replications"] if n == 1 else []
