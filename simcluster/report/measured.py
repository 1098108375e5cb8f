"""The measured figures: runs side by side with ratios, and for each run its latencies and their components."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from simcluster.files.units import number
from simcluster.report.reported_run import ReportedRun, assumed_places
from simcluster.report.table import Cell, Row, Table
from simcluster.results.metrics import LATENCIES
from simcluster.results.summary_fields import STATISTICS
from simcluster.trace.columns import COMPONENTS

ZERO_ASSUMED = (
    "no distribution of token times of this device has been published; its spread holds only what queues, prompts, "
    "batches and links do, and is likely too small"
)


class Metric(NamedTuple):
    """A row of the comparison."""

    head: str
    key: str
    unit: str
    better: Literal["low", "high", ""]
    group: str
    per: float = 1.0
    """Divisor that turns the summary's number into the unit."""


METRICS = (
    *(
        Metric(f"{LATENCIES[name]} {statistic}", f"{statistic}_{name}_ms", "ms", "low", LATENCIES[name])
        for name in LATENCIES
        for statistic in ("mean", "median", "p99", "p99.9", "std")
    ),
    Metric("output throughput", "output_throughput", "tokens/s", "high", "Load"),
    Metric("request throughput", "request_throughput", "req/s", "high", "Load"),
    Metric("goodput", "request_goodput", "req/s", "high", "Load"),
    Metric("duration", "duration", "s", "", "Load"),
    Metric("requests finished", "completed", "", "", "Load"),
    Metric("requests failed", "failed", "", "", "Load"),
    Metric("requests unfinished", "unfinished", "", "", "Load"),
    Metric("input tokens", "total_input_tokens", "", "", "Load"),
    Metric("output tokens", "total_output_tokens", "", "", "Load"),
    Metric("preemptions", "preemptions", "", "low", "Load"),
    Metric("power of the devices", "power_w", "kW", "low", "Energy", per=1000.0),
    Metric("energy per output token", "joules_per_output_token", "J", "low", "Energy"),
)


class Headline(NamedTuple):
    """One figure of a run's card."""

    head: str
    text: str
    is_spread: bool = False


def headlines(summary: dict[str, Any]) -> list[Headline]:
    """The figures of a run's card."""
    tpot_ms = summary["mean_tpot_ms"]
    return [
        Headline("TTFT median", number(summary["median_ttft_ms"], "ms")),
        Headline("ITL median", number(summary["median_itl_ms"], "ms")),
        Headline("ITL p99", number(summary["p99_itl_ms"], "ms"), is_spread=True),
        Headline("speed per user", number(1000 / tpot_ms if tpot_ms else None, "tokens/s")),
        Headline("output", number(summary["output_throughput"], "tokens/s")),
        Headline("energy per token", number(summary["joules_per_output_token"], "J")),
    ]


def comparison(runs: Sequence[ReportedRun], labels: Sequence[str], differing: Sequence[str]) -> Table:
    """The metrics of all runs side by side, with the ratio of every run but the first to the first."""
    rows: list[Row] = []
    group = ""
    for metric in METRICS:
        values = [run.summary[metric.key] for run in runs]
        if all(value is None for value in values):
            continue
        rows.append(Row(metric.head, _compared(metric, values), "" if metric.group == group else "group"))
        group = metric.group
    notes = ["Every run but the first has its ratio to the first; better or worse only gives the direction."]
    if "Seed" not in differing:
        notes.append("The runs share one seed, so devices of one name have the same noise in each of them.")
    notes.append("One run of each is one sample: small differences of high percentiles may be chance.")
    return Table(
        "The runs side by side" if len(runs) > 1 else "Summary", labels, rows, notes if len(runs) > 1 else (),
        assumed_places(runs), of_runs=True,
    )  # fmt: skip


def _compared(metric: Metric, values: Sequence[float | None]) -> list[Cell]:
    first = values[0]
    line = []
    for place, value in enumerate(values):
        shown = number(None if value is None else value / metric.per, metric.unit)
        if not place or value is None or not first:
            line.append(Cell(shown))
            continue
        ratio = value / first
        is_lower = ratio < 1
        sense = "" if not metric.better else "better" if is_lower == (metric.better == "low") else "worse"
        text = f"{ratio:.3g}"
        line.append(Cell(shown, f"× {text}", sense if text != "1" else ""))
    return line


def latencies(run: ReportedRun) -> Table:
    """All statistics of one run's latencies, a row for each latency."""
    rows = [
        Row(LATENCIES[name], [Cell(number(run.summary[f"{statistic}_{name}_ms"])) for statistic in STATISTICS])
        for name in LATENCIES
    ]
    return Table("Latencies in ms", STATISTICS, rows, assumed=() if not run.zero_is_assumed else (0,))


def components(run: ReportedRun) -> Table:
    """The components of one run's mean TTFT and mean ITL, without those that are zero in both."""
    kinds = ("ttft", "itl")
    rows = []
    for name in COMPONENTS:
        shares = [run.summary[f"{kind}_shares"][name] for kind in kinds]
        if any(shares):
            line = [_part(run.summary[f"mean_{kind}_ms"], share) for kind, share in zip(kinds, shares, strict=True)]
            rows.append(Row(name.replace("_", " "), line, name))
    means = [number(run.summary[f"mean_{kind}_ms"], "ms") for kind in kinds]
    columns = [f"of mean TTFT, {means[0]}", f"of mean ITL, {means[1]}"]
    return Table("Components of the mean", columns, rows)


def _part(mean_ms: float | None, share: float) -> Cell:
    if mean_ms is None:
        return Cell("-")
    return Cell(number(mean_ms * share, "ms") if share else "0", f"{share * 100:.1f} %" if share else "", share=share)
