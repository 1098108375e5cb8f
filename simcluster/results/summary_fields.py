"""The fields of a run's summary that are read back, and what each must hold."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeGuard

from simcluster.files.problems import shown
from simcluster.results.metrics import LATENCIES, PERCENTILES
from simcluster.trace.columns import COMPONENTS

STATISTICS = ("mean", "median", "std", *(f"p{percentile:g}" for percentile in PERCENTILES if percentile != 50))
"""Statistics of each latency in a summary."""

Fields = Mapping[str, Callable[[object], bool]]
"""By key of a summary, whether a value is of the kind that this version writes."""


def is_finite(value: object) -> TypeGuard[float]:
    """Whether it is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_number(value: object) -> bool:
    return is_finite(value) and value >= 0


def _is_number_or_none(value: object) -> bool:
    return value is None or _is_number(value)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def _are_counts(value: object) -> bool:
    return isinstance(value, dict) and all(_is_number(count) for count in value.values())


def _are_shares(value: object) -> bool:
    """Shares may be negative: tokens after a paused one come early, so the stall of their gaps is below zero."""
    return isinstance(value, dict) and set(value) == set(COMPONENTS) and all(map(is_finite, value.values()))


OF_EVERY_RUN: Fields = {
    **dict.fromkeys(("scenario", "title", "device", "noise", "scenario_digest", "trace_digest"), _is_text),
    **dict.fromkeys(("seed", "duration", "completed", "failed", "unfinished"), _is_number),
    **dict.fromkeys(("mean_ttft_ms", "mean_tpot_ms", "mean_itl_ms"), _is_number_or_none),
    **dict.fromkeys(("ttft_shares", "itl_shares"), _are_shares),
    "assumptions": _are_texts,
}
"""What everything that reads a run needs."""

OF_THE_REPORT: Fields = {
    **dict.fromkeys(
        (
            "devices", "total_input_tokens", "total_output_tokens", "request_throughput", "output_throughput",
            "total_token_throughput", "preemptions", "power_w",
        ),
        _is_number,
    ),
    **dict.fromkeys(("request_goodput", "joules_per_output_token"), _is_number_or_none),
    **{f"{statistic}_{name}_ms": _is_number_or_none for name in LATENCIES for statistic in STATISTICS},
    **dict.fromkeys(("failures", "dropped_trace_rows"), _are_counts),
    "kv_blocks": lambda value: _is_number(value) or _is_text(value),  # a text where pools differ
    "notes": _are_texts,
}  # fmt: skip
"""What the report shows besides."""


def summary_faults(summary: Mapping[str, Any], fields: Fields) -> Iterator[tuple[str, str]]:
    """Keys that a summary lacks, or whose values are of another kind, each with what was found."""
    for name, is_valid in fields.items():
        if name not in summary:
            yield name, "missing"
        elif not is_valid(summary[name]):
            of_shares = is_valid is _are_shares and isinstance(summary[name], dict)
            yield name, "other components" if of_shares else shown(summary[name])
