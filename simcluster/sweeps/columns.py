"""Columns of a sweep's table that the Pareto front may use, and which direction is better."""

from __future__ import annotations

from collections.abc import Iterator

from simcluster.results.metrics import LATENCIES, PERCENTILES
from simcluster.sweeps.spec import SweepFile

_STATISTICS = ("mean", "median", "std", *(f"p{percentile:g}" for percentile in PERCENTILES))

CAPACITY = "capacity_req_per_s"
BOUND = "capacity_bound"
NEXT_RATE = "capacity_fails_at_req_per_s"
COST_PER_HOUR = "cost_per_hour"
COST_PER_TOKEN = "cost_per_million_output_tokens"
ATTAINMENT = "slo_attainment"

HIGHER = (
    "request_throughput", "output_throughput", "total_token_throughput", "request_goodput", ATTAINMENT, CAPACITY,
)  # fmt: skip
LOWER = (
    *(f"{statistic}_{name}_ms" for name in LATENCIES for statistic in _STATISTICS),
    "devices", "power_w", "joules_per_output_token", COST_PER_HOUR, COST_PER_TOKEN, "preemptions", "failed",
    "unfinished",
)  # fmt: skip
"""Columns of which a lower value is better."""


_UNITS = {
    "_ms": ("ms", 1.0), "output_throughput": ("tokens/s", 1.0), "total_token_throughput": ("tokens/s", 1.0),
    "request_throughput": ("req/s", 1.0), "request_goodput": ("req/s", 1.0), "_req_per_s": ("req/s", 1.0),
    "power_w": ("kW", 1e-3), "joules_per_output_token": ("J", 1.0), ATTAINMENT: ("%", 100.0),
}  # fmt: skip
"""Displayed unit and scale, by the end of a column's name."""
_TITLES = {
    CAPACITY: "capacity", COST_PER_HOUR: "cost per hour", COST_PER_TOKEN: "cost per million tokens",
    "power_w": "power", "joules_per_output_token": "energy per token", ATTAINMENT: "within SLO",
}  # fmt: skip


def short_key(key: str) -> str:
    """A key of a scenario without its usual sections."""
    return key.removeprefix("workload.").removeprefix("deployment.")


def title(name: str) -> str:
    """The title of a column."""
    if name in _TITLES:
        return _TITLES[name]
    statistic, _, latency = name.removesuffix("_ms").rpartition("_")
    if latency in LATENCIES and name.endswith("_ms"):
        return f"{LATENCIES[latency]} {statistic}"
    return name.replace("_", " ")


def unit(name: str, currency: str | None) -> tuple[str, float]:
    """The displayed unit of a column, and its scale."""
    if name in (COST_PER_HOUR, COST_PER_TOKEN):
        return currency or "", 1.0
    return next((found for end, found in _UNITS.items() if name.endswith(end)), ("", 1.0))


def titled(name: str, currency: str | None) -> str:
    """The title of a column with its unit."""
    shown_unit, _ = unit(name, currency)
    return f"{title(name)}, {shown_unit}" if shown_unit else title(name)


def objectives(file: SweepFile) -> tuple[str, ...]:
    """The columns of the Pareto front."""
    if file.pareto is not None:
        return tuple(file.pareto)
    throughput = CAPACITY if file.capacity is not None else "output_throughput"
    return ("mean_tpot_ms", throughput, "power_w", *([COST_PER_HOUR] if file.cost is not None else []))


def absent(file: SweepFile) -> Iterator[tuple[str, str]]:
    """Columns that this sweep leaves empty, with the section that would fill them."""
    if file.capacity is None:
        yield CAPACITY, "capacity"
    if file.cost is None:
        yield COST_PER_HOUR, "cost"
        yield COST_PER_TOKEN, "cost"
