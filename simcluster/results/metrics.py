"""
Metrics of a run, with vLLM's definitions and names.

ttft: first token minus arrival, queueing included. tpot: (last token - first token) / (n - 1), one number per
request, none for a single token. itl: every gap between successive tokens of a request, pooled. e2el: last token
minus arrival. Only finished requests count. Percentiles are numpy's, with linear interpolation. Times are those of
the engine's clock: clients and the network to them are not modelled.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from simcluster.numerics.arrays import Floats
from simcluster.numerics.ticks import TICKS_PER_S, Ticks, totals
from simcluster.trace.columns import COMPONENTS, N_KEYS, Block

DEFINITIONS = "simcluster-metrics-1"
"""Version of a summary's names and their meanings; it changes when a name gets another meaning."""

Table = dict[str, Any]

TICKS_PER_MS = TICKS_PER_S // 1000
PERCENTILES = (50, 90, 95, 99, 99.9)
LATENCIES = {"ttft": "TTFT", "tpot": "TPOT", "itl": "ITL", "e2el": "E2E"}
"""Names for people, by the name in a summary."""


class TokenSums:
    """
    Sums over the token table that a summary needs, collected block by block: the gaps, and the components' sums.

    Requests of a step nearly always have the same gap, so runs of equal gaps are kept as value and count.
    Without a horizon every request finishes or fails before its first token, so all rows count. With one, each row is
    kept with its request until the end of the run, when it is known which requests have finished.
    """

    def __init__(self, has_horizon: bool = False) -> None:
        self._has_horizon = has_horizon
        self._kept: list[Block] = []
        self._gaps: list[tuple[Ticks, Ticks]] = []
        self._sums = {"ttft": [0] * len(COMPONENTS), "itl": [0] * len(COMPONENTS)}

    def add(self, block: Block) -> None:
        """Add rows of the token table, shape (columns, rows)."""
        if self._has_horizon:
            self._kept.append(block)
        else:
            self._count(block)

    def finish(self, requests: Table) -> None:
        """Count the kept rows of finished requests at the end of the run."""
        finished = are_finished(requests)
        for block in self._kept:
            self._count(block[:, finished[block[0]]])
        self._kept = []

    def _count(self, block: Block) -> None:
        components = block[N_KEYS:]
        is_first = block[1] == 0
        of_all, of_first = totals(components), totals(components[:, np.flatnonzero(is_first)])
        for index, (ticks, ticks_of_first) in enumerate(zip(of_all, of_first, strict=True)):
            self._sums["ttft"][index] += ticks_of_first
            self._sums["itl"][index] += ticks - ticks_of_first
        gaps = components.sum(axis=0)[~is_first]
        if len(gaps):
            starts = np.flatnonzero(np.append(True, gaps[1:] != gaps[:-1]))
            self._gaps.append((gaps[starts], np.diff(starts, append=len(gaps))))

    def gaps_ms(self) -> Weighted:
        """Count the inter-token latencies in ms, by value in ascending order."""
        if not self._gaps:
            return Weighted(np.empty(0), np.empty(0, np.int64))
        ticks, counts = (np.concatenate(parts) for parts in zip(*self._gaps, strict=True))
        order = np.argsort(ticks)
        ordered = ticks[order]
        starts = np.flatnonzero(np.diff(ordered, prepend=ordered[0] - 1))
        return Weighted(ordered[starts] / TICKS_PER_MS, np.add.reduceat(counts[order], starts))

    def shares(self, kind: str) -> dict[str, float]:
        """Find each component's share of the sum of all first-token (`ttft`) or inter-token (`itl`) latencies."""
        sums = self._sums[kind]
        total = sum(sums)
        return {name: ticks / total if total else 0.0 for name, ticks in zip(COMPONENTS, sums, strict=True)}


class Weighted(NamedTuple):
    """Values in ascending order, and the count of each."""

    values: Floats
    counts: Ticks

    @classmethod
    def of(cls, values: Floats) -> Weighted:
        """Count each value once."""
        return cls(np.sort(values), np.ones(len(values), np.int64))

    def written_out(self) -> Floats:
        """Repeat every value by its count."""
        return np.repeat(self.values, self.counts)

    def percentiles(self, percentiles: Sequence[float]) -> list[float]:
        """Find what `numpy.percentile` gives for the repeated values, with linear interpolation."""
        ends = np.cumsum(self.counts)  # (values,)
        found = []
        for percentile in percentiles:
            place = percentile / 100 * (int(ends[-1]) - 1)
            below = math.floor(place)
            low, high = self.values[np.searchsorted(ends, [below, min(below + 1, int(ends[-1]) - 1)], side="right")]
            share = place - below
            found.append(float(low + (high - low) * share if share < 0.5 else high - (high - low) * (1 - share)))
        return found


def are_finished(requests: Table) -> npt.NDArray[np.bool_]:
    """Find which requests finished, by number."""
    return np.array([status == "finished" for status in requests["status"]], dtype=bool)


def latencies_ms(requests: Table) -> dict[str, Floats]:
    """Find ttft, tpot and e2el of the finished requests in ms; tpot only of those with more than one token."""
    finished = are_finished(requests)
    arrived, first, last, n_tokens = (
        np.asarray(requests[name], np.int64)[finished]
        for name in ("arrived_at_ticks", "first_token_at_ticks", "last_token_at_ticks", "tokens_emitted")
    )
    several = n_tokens > 1
    return {
        "ttft": (first - arrived) / TICKS_PER_MS,
        "tpot": (last - first)[several] / (n_tokens[several] - 1) / TICKS_PER_MS,
        "e2el": (last - arrived) / TICKS_PER_MS,
    }


def describe(latencies: Weighted, name: str) -> dict[str, float | None]:
    """Find mean, median, standard deviation and percentiles of a latency, under vLLM's keys; None without values."""
    keys = [f"mean_{name}_ms", f"median_{name}_ms", f"std_{name}_ms", *(f"p{p:g}_{name}_ms" for p in PERCENTILES)]
    values, counts = latencies
    if not len(values):
        return dict.fromkeys(keys)
    n = int(counts.sum())
    mean = _dot(values, counts) / n
    # A spread that is only floating-point rounding counts as zero.
    std = 0.0 if values[0] == values[-1] else math.sqrt(_dot((values - mean) ** 2, counts) / n)
    median, *others = latencies.percentiles((50, *PERCENTILES))
    return dict(zip(keys, [mean, median, std, *others], strict=True))


def _dot(values: Floats, counts: Ticks) -> float:
    """Add values times counts in numpy's own order: `@` adds in an order that depends on the processor's library."""
    return float((values * counts).sum())


def goodput(requests: Table, limits_ms: dict[str, float], duration_s: float) -> float | None:
    """
    Count the finished requests per second that meet every limit, as vLLM does; None without limits.

    A request of one token has no tpot and meets any limit on it.
    """
    n_good = good_requests(requests, limits_ms)
    return None if n_good is None or duration_s <= 0 else n_good / duration_s


def good_requests(requests: Table, limits_ms: dict[str, float]) -> int | None:
    """Count the finished requests that meet every limit; None without limits."""
    if not limits_ms:
        return None
    values = latencies_ms(requests)
    n_tokens = np.asarray(requests["tokens_emitted"], np.int64)
    finished = are_finished(requests)
    tpot = np.zeros(int(finished.sum()))
    tpot[n_tokens[finished] > 1] = values["tpot"]
    good = np.ones(len(tpot), dtype=bool)
    for name, limit in limits_ms.items():
        good &= (tpot if name == "tpot" else values[name]) <= limit
    return int(good.sum())


def attainment(requests: Table, limits_ms: dict[str, float]) -> float | None:
    """Find the share of all requests, failed and unfinished ones included, that meet every limit; None without."""
    n_good = good_requests(requests, limits_ms)
    return None if n_good is None or not len(requests["status"]) else n_good / len(requests["status"])


def of_requests(requests: Table) -> dict[str, Any]:
    """
    Counts and latencies of some requests, from the request table alone: without gaps between tokens.

    Args:
        requests: rows of the request table.
    """
    finished = are_finished(requests)
    counts = {
        "completed": int(finished.sum()),
        "failed": sum(status == "failed" for status in requests["status"]),
        "unfinished": sum(status == "unfinished" for status in requests["status"]),
        "total_output_tokens": int(np.asarray(requests["tokens_emitted"], np.int64)[finished].sum()),
    }
    described = (describe(Weighted.of(values), name) for name, values in latencies_ms(requests).items())
    return counts | {key: value for values in described for key, value in values.items()}


def summarise(
    requests: Table, tokens: TokenSums, duration_ticks: int, power_w: float, limits_ms: dict[str, float]
) -> dict[str, Any]:
    """
    Make the summary of a run, under vLLM's keys where vLLM has them.

    Args:
        requests: the request table.
        tokens: sums over the token table.
        duration_ticks: from the start to the last token, or to the horizon.
        power_w: of all devices used, drawn all the time; the energy is divided among all tokens, finished or not.
        limits_ms: of the service level, by latency name.
    """
    tokens.finish(requests)
    status, finished = requests["status"], are_finished(requests)
    completed = int(finished.sum())
    duration_s = duration_ticks / TICKS_PER_S
    n_emitted = int(np.sum(requests["tokens_emitted"]))
    n_output = int(np.asarray(requests["tokens_emitted"], np.int64)[finished].sum())
    n_input = int(np.asarray(requests["prompt_tokens"], np.int64)[finished].sum())
    per_s = 1 / duration_s if duration_s else 0.0
    summary: dict[str, Any] = {
        "duration": duration_s,
        "completed": completed,
        "failed": sum(s == "failed" for s in status),
        "unfinished": sum(s == "unfinished" for s in status),
        "total_input_tokens": n_input,
        "total_output_tokens": n_output,
        "request_throughput": completed * per_s,
        "output_throughput": n_output * per_s,
        "total_token_throughput": (n_input + n_output) * per_s,
        "request_goodput": goodput(requests, limits_ms, duration_s),
        "slo_attainment": attainment(requests, limits_ms),
        "preemptions": int(np.sum(requests["preemptions"])),
        "power_w": power_w,
        "joules_per_output_token": power_w * duration_s / n_emitted if n_emitted else None,
    }
    values = {name: Weighted.of(ms) for name, ms in latencies_ms(requests).items()} | {"itl": tokens.gaps_ms()}
    for name in LATENCIES:
        summary |= describe(values[name], name)
    summary["ttft_shares"] = tokens.shares("ttft")
    summary["itl_shares"] = tokens.shares("itl")
    reasons = sorted({reason for reason in requests["reason"] if reason})
    summary["failures"] = {reason: sum(r == reason for r in requests["reason"]) for reason in reasons}
    return summary
