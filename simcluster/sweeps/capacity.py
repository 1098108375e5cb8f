"""The largest rate that meets a service level, by bisection: which rate to try next, and what is known by then."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from simcluster.sweeps.design import DIGITS
from simcluster.sweeps.spec import Capacity


@dataclass(frozen=True)
class Bracket:
    """What was tried, in requests per second: the largest rate that is good enough, and the least one that is not."""

    good: float | None
    """None: not even the least rate is."""
    bad: float | None
    """None: even the greatest rate is good enough."""


def bracket(asked: Capacity, tried: Mapping[float, float]) -> Bracket:
    """What the attained shares at the rates tried so far say."""
    bad = min((rate for rate, share in tried.items() if share < asked.attainment), default=None)
    good = [r for r, share in tried.items() if share >= asked.attainment and (bad is None or r < bad)]
    return Bracket(max(good, default=None), bad)


def next_rate(asked: Capacity, tried: Mapping[float, float]) -> float | None:
    """
    The rate to try next; None when the search is over.

    Both ends first, then the geometric mean of the bracket, until it is as narrow as asked. The attained share is
    taken to fall with the rate. In the same worlds, where the same requests come in the same order and only closer
    together, it nearly always does; where it does not, the bracket still holds a rate at which it is crossed.
    """
    low, high = rounded(asked.low), rounded(asked.high)
    if low not in tried:
        return low
    if tried[low] < asked.attainment:
        return None
    if high not in tried:
        return high
    found = bracket(asked, tried)
    if found.good is None or found.bad is None or found.bad <= found.good * (1 + asked.precision):
        return None
    middle = rounded(math.sqrt(found.good * found.bad))
    return None if middle in tried else middle


def most_rates(asked: Capacity) -> int:
    """How many rates a search tries at most."""
    halvings = math.log2(math.log(asked.high / asked.low) / math.log1p(asked.precision))
    return 2 + max(0, math.ceil(halvings))


def rounded(rate_req_per_s: float) -> float:
    """A rate as it can be written."""
    return float(f"{rate_req_per_s:.{DIGITS}g}")


def n_met(summary: Mapping[str, Any]) -> tuple[int, int] | None:
    """
    Requests of a run that meet every limit, and all that arrived; None without limits.

    Requests that failed, or were not finished at the horizon, do not meet them.
    """
    if summary["request_goodput"] is None:
        return None
    n_arrived = summary["completed"] + summary["failed"] + summary["unfinished"]
    return round(summary["request_goodput"] * summary["duration"]), int(n_arrived)
