"""Simulated time: whole picoseconds, so that sums are exact and ties are real ties."""

from __future__ import annotations

import numpy as np

from simcluster.numerics.arrays import Floats, Integers

TICKS_PER_S = 10**12
MAX_TICK = 2**63 - 1
"""The last tick that an int64 holds, after 106 days."""

Ticks = Integers
Seconds = Floats


def to_ticks(duration_s: float) -> int:
    """Round a duration in seconds to ticks. Scalar durations are rounded here and nowhere else."""
    return round(duration_s * TICKS_PER_S)


def array_to_ticks(durations_s: Seconds) -> Ticks:
    """
    Round durations in seconds, any shape, to int64 ticks of the same shape, half to even as `to_ticks`.

    Raises:
        OverflowError: one of them does not fit.
    """
    ticks = np.rint(durations_s * TICKS_PER_S)
    if ticks.size and not np.abs(ticks).max() < 2.0**63:
        raise OverflowError("a duration of more than 106 days, the most that ticks can hold")
    return ticks.astype(np.int64)


def total(ticks: Ticks) -> int:
    """Add up to 2^31 ticks, whose sum may not fit an int64, in two halves."""
    return (int((ticks >> 32).sum()) << 32) + int((ticks & (2**32 - 1)).sum())


def totals(ticks: Ticks) -> list[int]:
    """Add the rows of non-negative ticks, shape (rows, n), even where a sum does not fit an int64."""
    if int(ticks.max(initial=0)) * ticks.shape[1] <= MAX_TICK:
        sums: list[int] = ticks.sum(axis=1).tolist()
        return sums
    return [total(row) for row in ticks]
