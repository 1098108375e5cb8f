"""
Latencies in steady state: the warm-up of a run, which starts empty, is found and left out.

A replayed trace is finite, and its latencies are those of all its requests: nothing is left out there. Only a
scenario with `steady_state: true` asks for the steady state. Of each latency, in the order of arrival, the first
values are deleted by MSER-5; where that would delete more than half, the run has not settled and no mean is given.
The interval is Student's over twenty batch means; none is given while successive batch means are correlated.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from simcluster.numerics.arrays import Floats

MSER_BATCH = 5
MIN_BATCHES = 10
"""Fewest batches of five values in which a truncation is searched."""
N_BATCHES = 20
"""Number of batch means for the interval."""
_CRITICAL_LAG1 = 1.645 / math.sqrt(N_BATCHES)
"""Lag-1 autocorrelation that independent batch means exceed once in twenty."""
_STUDENT_19 = 2.093024
"""97.5 % quantile of Student's t with 19 degrees of freedom."""


class Steady(NamedTuple):
    """The steady-state mean of a series, in its own unit."""

    warm_up: int | None
    """Values left out at the beginning; None, like all other fields, if the series has not settled."""
    mean: float | None
    half_width: float | None
    """Half-width of the 95 % interval; None if batch means are correlated, or too few values are left for them."""
    lag1: float | None
    """Autocorrelation of successive batch means."""


UNSETTLED = Steady(None, None, None, None)


def mser5(values: Floats) -> int | None:
    """
    Find how many of the first values to delete: the number that minimises the standard error of the rest's mean.

    Args:
        values: a series in order, shape (n,).

    Returns:
        A multiple of five; None when more than half would go, or with fewer than fifty values.

    Source:
        White, Cobb and Spratt, "A comparison of five steady-state truncation heuristics for simulation" (WSC 2000).
    """
    k = len(values) // MSER_BATCH
    if k < MIN_BATCHES:
        return None
    means = values[: k * MSER_BATCH].reshape(k, MSER_BATCH).mean(axis=1)
    means = means - means.mean()  # centred, so that sums of squares lose no digits
    left = k - np.arange(k)
    sums, squares = means[::-1].cumsum()[::-1], (means**2)[::-1].cumsum()[::-1]
    statistic = np.maximum(squares - sums**2 / left, 0.0) / left**2.0
    # The last few batches always seem to have little spread; a single mean has none.
    best = int(np.argmin(statistic[: k - MSER_BATCH]))
    return None if best > k / 2 else best * MSER_BATCH


def steady(values: Floats) -> Steady:
    """Find the steady-state mean of a series, shape (n,), with its interval."""
    warm_up = mser5(values)
    if warm_up is None:
        return UNSETTLED
    rest = values[warm_up:]
    size = len(rest) // N_BATCHES
    if size == 0:
        return Steady(warm_up, float(rest.mean()), None, None)
    batches = rest[len(rest) - size * N_BATCHES :].reshape(N_BATCHES, size).mean(axis=1)
    off = batches - batches.mean()
    spread = float((off * off).sum())  # not `@`, which adds in another order on another processor
    lag1 = float((off[1:] * off[:-1]).sum()) / spread if spread > 0 else 0.0
    half = _STUDENT_19 * math.sqrt(spread / (N_BATCHES - 1) / N_BATCHES)
    return Steady(warm_up, float(rest.mean()), half if lag1 <= _CRITICAL_LAG1 else None, lag1)


def describe(latencies_ms: dict[str, Floats]) -> tuple[dict[str, float | int | None], list[str]]:
    """
    Find steady-state means of latencies, and remarks for the reader.

    Args:
        latencies_ms: by name, in the order of arrival.

    Returns:
        By latency `mean_…_ms`, `half_width_…_ms`, `lag1_…` and `warm_up_…` (values left out), None where unknown.
    """
    found: dict[str, float | int | None] = {}
    notes = []
    for name, values in latencies_ms.items():
        warm_up, mean, half_width, lag1 = steady(values)
        found |= {
            f"warm_up_{name}": warm_up,
            f"mean_{name}_ms": mean,
            f"half_width_{name}_ms": half_width,
            f"lag1_{name}": lag1,
        }
        if warm_up is None:
            notes.append(f"{name} has not settled within {len(values):,} requests, so it has no steady state here")
        elif half_width is None:
            notes.append(f"{name}: batch means are correlated, so its steady state has no interval")
    return found, notes
