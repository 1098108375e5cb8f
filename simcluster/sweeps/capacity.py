"""Capacity: the largest arrival rate that meets a service level, found by bisection."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from simcluster.sweeps.design import DIGITS
from simcluster.sweeps.spec import Capacity


@dataclass(frozen=True)
class Bracket:
    """The tried rates next to the capacity, in requests per second."""

    good: float | None
    """The largest rate that meets the service level; None if the lowest rate fails."""
    bad: float | None
    """The smallest rate that fails; None if the highest rate meets the service level."""


def bracket(search: Capacity, tried: Mapping[float, float]) -> Bracket:
    """The bracket given the attained shares by rate."""
    bad = min((rate for rate, share in tried.items() if share < search.attainment), default=None)
    good = [r for r, share in tried.items() if share >= search.attainment and (bad is None or r < bad)]
    return Bracket(max(good, default=None), bad)


def next_rate(search: Capacity, tried: Mapping[float, float]) -> float | None:
    """
    The rate to try next; None when the search has finished.

    Both ends come first, then the geometric mean of the bracket, until it reaches the precision. The attained share
    is assumed to fall with the rate. In the same worlds, where the same requests arrive in the same order but closer
    together, it nearly always does; otherwise the bracket still contains a rate at which the target is crossed.
    """
    low, high = rounded(search.low), rounded(search.high)
    if low not in tried:
        return low
    if tried[low] < search.attainment:
        return None
    if high not in tried:
        return high
    found = bracket(search, tried)
    if found.good is None or found.bad is None or found.bad <= found.good * (1 + search.precision):
        return None
    middle = rounded(math.sqrt(found.good * found.bad))
    return None if middle in tried else middle


def max_rates(search: Capacity) -> int:
    """The largest number of rates that a search tries."""
    halvings = math.log2(math.log(search.high / search.low) / math.log1p(search.precision))
    return 2 + max(0, math.ceil(halvings))


def rounded(rate_req_per_s: float) -> float:
    """Round a rate to the digits that scenarios hold."""
    return float(f"{rate_req_per_s:.{DIGITS}g}")


def n_met(summary: Mapping[str, Any]) -> tuple[int, int] | None:
    """
    The number of requests that meet every limit, and of those that arrived; None without limits.

    Requests that failed or are unfinished at the horizon do not meet them.
    """
    if summary["request_goodput"] is None:
        return None
    n_arrived = summary["completed"] + summary["failed"] + summary["unfinished"]
    return round(summary["request_goodput"] * summary["duration"]), int(n_arrived)
