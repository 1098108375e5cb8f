"""
Gates: what makes a comparison fail, as people write it: `p99_ttft_ms > +5%` or `slo_attainment < 95%`.

A number with a sign is a change relative to the base; one without is a limit, whatever the base. Both name a metric
of a run's summary. The default margins are what a paired comparison of twenty replications can resolve.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from simcluster.files import units
from simcluster.files.problems import nearest

MAX_GATES = 100
DEFAULTS = "defaults"
"""Stands in a list of gates for the twelve that hold without one."""

Unit = Literal["ms", "tokens/s", "req/s", "J", "%"]


@dataclass(frozen=True)
class Metric:
    """A number of a run's summary that two sides can be compared by."""

    name: str
    title: str
    unit: Unit
    worse: Literal[">", "<"]
    """Whether more or less of it is worse."""
    margin: float | None = None
    """Relative change that a gate allows by default; None where none gates by default."""
    may_gate: bool = True
    """Whether the mean over some twenty replications is precise enough."""


_TITLES = {"ttft": "TTFT", "tpot": "TPOT", "itl": "ITL", "e2el": "E2E"}
_STATISTICS = {
    "mean": "mean", "median": "p50", "p90": "p90", "p95": "p95", "p99": "p99", "p99.9": "p99.9", "std": "std",
}  # fmt: skip
_MARGINS = {
    "mean_itl_ms": 0.02, "median_itl_ms": 0.02, "p95_itl_ms": 0.03, "p99_itl_ms": 0.05, "mean_tpot_ms": 0.02,
    "p99_tpot_ms": 0.05, "mean_ttft_ms": 0.03, "median_ttft_ms": 0.03, "p99_ttft_ms": 0.1, "median_e2el_ms": 0.02,
    "p99_e2el_ms": 0.05,
}  # fmt: skip
_ANECDOTES = ("p99.9", "std")
"""Rare causes decide these: most replications do not have them, and the metrics look unchanged when they are not."""


def _metrics() -> dict[str, Metric]:
    found = [
        Metric(name, f"{title} {words}", "ms", ">", _MARGINS.get(name), statistic not in _ANECDOTES)
        for latency, title in _TITLES.items()
        for statistic, words in _STATISTICS.items()
        for name in [f"{statistic}_{latency}_ms"]
    ]
    found += [
        Metric("output_throughput", "output throughput", "tokens/s", "<", 0.02),
        Metric("request_throughput", "request throughput", "req/s", "<"),
        Metric("request_goodput", "goodput", "req/s", "<"),
        Metric("slo_attainment", "SLO attainment", "%", "<"),
        Metric("joules_per_output_token", "energy per output token", "J", ">"),
    ]
    return {metric.name: metric for metric in found}


METRICS = _metrics()
"""Metrics by name; latencies first."""


class GateError(ValueError):
    """A text is not a gate; `found` and `expected` say why."""

    def __init__(self, found: str, expected: str) -> None:
        self.found = found
        self.expected = expected
        super().__init__(f"{found}; {expected}")


@dataclass(frozen=True)
class Gate:
    """One metric, and how far it may go."""

    metric: str
    fails: Literal[">", "<"]
    """Beyond the threshold in this direction."""
    threshold: float
    """A relative change such as 0.05; or a limit in the metric's unit, a ratio for `%`."""
    is_change: bool

    def __str__(self) -> str:
        if self.is_change:
            return f"{self.metric} {self.fails} {_short(self.threshold * 100, '+')}%"
        unit = METRICS[self.metric].unit
        limit = f"{_short(self.threshold * 100)}%" if unit == "%" else f"{_short(self.threshold)} {unit}"
        return f"{self.metric} {self.fails} {limit}"


def _short(value: float, sign: str = "") -> str:
    return f"{value:{sign}.12g}"


_GATE = re.compile(r"\s*([^\s<>=]+)\s*([<>])\s*(.*?)\s*", re.DOTALL)
_CHANGE = re.compile(rf"([+-]{units.NUMBER.removeprefix('[+-]?')})\s*%")
_EXAMPLE = "expected one such as 'p99_ttft_ms > +5%' or 'p99_ttft_ms > 500 ms'"


def parse(text: str) -> Gate:
    """
    Read a gate.

    Args:
        text: a metric, `>` or `<`, and a change with sign and `%`, or a limit: a quantity with its unit, or a number
            in the metric's own.

    Raises:
        GateError: no such metric, one that must not gate, or something that is not a threshold.
    """
    match = _GATE.fullmatch(text) if len(text) <= 200 else None
    if match is None:
        raise GateError(f"'{text[:80]}' is not a gate", _EXAMPLE)
    name, fails, threshold = match.groups()
    metric = METRICS.get(name)
    if metric is None:
        raise GateError(f"unknown metric '{name[:80]}'", nearest(name[:80], METRICS))
    if not metric.may_gate:
        found = f"a gate on {name}, whose causes most replications do not have"
        raise GateError(found, f"expected p99{name[name.index('_') :]} instead")
    sign: Literal[">", "<"] = ">" if fails == ">" else "<"
    if change := _CHANGE.fullmatch(threshold):
        return Gate(name, sign, _change(change[1], sign, text), True)
    return Gate(name, sign, _limit(threshold, metric), False)


def _change(number: str, fails: str, text: str) -> float:
    change = float(number.replace("_", "")) / 100
    if (fails == ">") != number.startswith("+") or not -1 < change <= 100:
        expected = "expected '>' with a change of +0% or more, or '<' with one of -0% to -99%"
        raise GateError(f"'{text.strip()[:80]}'", expected)
    return change


_DIMENSION: dict[Unit, tuple[str, float]] = {"ms": ("time", 1e3), "%": ("ratio", 1.0), "req/s": ("rate", 1.0)}
"""Dimension of the limits that may have a unit of their own, and the SI unit in the metric's unit, by unit."""


def _limit(text: str, metric: Metric) -> float:
    """An absolute limit, in the metric's unit."""
    bare = text.removesuffix(metric.unit).rstrip() if metric.unit != "%" else text
    if re.fullmatch(units.NUMBER, bare) and len(bare) <= 40:
        value = float(bare.replace("_", ""))
    elif metric.unit in _DIMENSION:
        dimension, scale = _DIMENSION[metric.unit]
        try:
            value = units.parse(text, dimension) * scale
        except units.UnitError as error:
            raise GateError(f"{metric.name}: {error.found}", f"{error.expected}, or a change such as '+5%'") from None
    else:
        raise GateError(f"{metric.name}: '{text[:80]}'", f"expected a number of {metric.unit}, or such as '+5%'")
    if not 0 <= value <= (1 if metric.unit == "%" else 1e15):
        raise GateError(f"{metric.name}: '{text[:80]}'", "expected a limit that it can be beyond")
    return value


def default_gates() -> tuple[Gate, ...]:
    """The twelve gates that hold where none are given."""
    return tuple(
        Gate(metric.name, metric.worse, metric.margin if metric.worse == ">" else -metric.margin, True)
        for metric in METRICS.values()
        if metric.margin is not None
    )


def parse_all(texts: Sequence[str]) -> tuple[Gate, ...]:
    """
    Read a list of gates, in which `defaults` stands for the twelve; the last of several on one metric holds.

    Raises:
        GateError: as `parse`.
    """
    read = (default_gates() if text.strip() == DEFAULTS else (parse(text),) for text in texts)
    return last_of_each(gate for several in read for gate in several)


def last_of_each(gates: Iterable[Gate]) -> tuple[Gate, ...]:
    """Keep the last of several gates on one metric, of one direction and kind, in the place of the first."""
    return tuple({(gate.metric, gate.fails, gate.is_change): gate for gate in gates}.values())
