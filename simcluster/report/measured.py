"""What was measured: the runs side by side with ratios, and of each run its latencies and their components."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from simcluster.files.units import number
from simcluster.report.table import Cell, Row, Table
from simcluster.report.told import STATISTICS, Told, assumed_places
from simcluster.results.metrics import LATENCIES
from simcluster.trace.columns import COMPONENTS

ZERO_ASSUMED = (
    "nobody has published a distribution of token times of this device; its spread holds only what queues, prompts, "
    "batches and links do, and is likely too small"
)


class Metric(NamedTuple):
    """A line of the comparison."""

    head: str
    key: str
    unit: str
    better: Literal["low", "high", ""]
    group: str
    per: float = 1.0
    """What the summary's number is divided by for its unit."""


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
    """What one looks at first."""
    tpot_ms = summary["mean_tpot_ms"]
    return [
        Headline("TTFT median", number(summary["median_ttft_ms"], "ms")),
        Headline("ITL median", number(summary["median_itl_ms"], "ms")),
        Headline("ITL p99", number(summary["p99_itl_ms"], "ms"), is_spread=True),
        Headline("speed per user", number(1000 / tpot_ms if tpot_ms else None, "tokens/s")),
        Headline("output", number(summary["output_throughput"], "tokens/s")),
        Headline("energy per token", number(summary["joules_per_output_token"], "J")),
    ]


def comparison(runs: Sequence[Told], labels: Sequence[str], differing: Sequence[str]) -> Table:
    """The metrics of all runs side by side; of every run but the first also its ratio to the first."""
    rows: list[Row] = []
    group = ""
    for metric in METRICS:
        values = [run.summary[metric.key] for run in runs]
        if all(value is None for value in values):
            continue
        rows.append(Row(metric.head, _compared(metric, values), "" if metric.group == group else "group"))
        group = metric.group
    notes = ["Every run but the first has its ratio to the first; better or worse only says which way."]
    if "Seed" not in differing:
        notes.append("The runs share one seed, so devices of one name meet the same noise in each of them.")
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


def latencies(run: Told) -> Table:
    """All statistics of one run's latencies, a line for each latency."""
    rows = [
        Row(LATENCIES[name], [Cell(number(run.summary[f"{statistic}_{name}_ms"])) for statistic in STATISTICS])
        for name in LATENCIES
    ]
    return Table("Latencies in ms", STATISTICS, rows, assumed=() if not run.zero_is_assumed else (0,))


def components(run: Told) -> Table:
    """The components of one run's mean TTFT and mean ITL; those that are nowhere are left out."""
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
