"""
Sums of products of ticks without any rounding.

Squares of ticks do not fit into 64 bits and floating point loses them, so numbers are cut into limbs of 18 bits:
products of limbs have 36, and sums of 2^17 of these are whole numbers below 2^53, which float64 holds exactly in
whatever order a matrix product adds them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simcluster.numerics.arrays import Floats, Integers
from simcluster.numerics.ticks import Ticks

LIMB_BITS = 18
MAX_ROWS = 2**17
"""Rows whose products are added at once."""
_MASK = 2**LIMB_BITS - 1


def products(rows: Sequence[Ticks], values: Ticks) -> list[int]:
    """
    The sum of each row times `values`, exactly.

    Args:
        rows: int64 ticks, shape (n,) each.
        values: int64 ticks, shape (n,).
    """
    sums = [0] * len(rows)
    for start in range(0, len(values), MAX_ROWS):
        part = slice(start, start + MAX_ROWS)
        right = _limbs(values[part])
        left = [_limbs(row[part]) for row in rows]
        found = (np.concatenate(left) @ right.T).tolist() if left else []
        place = 0
        for number, limbs in enumerate(left):
            for power in range(len(limbs)):
                for other, product in enumerate(found[place + power]):
                    sums[number] += int(product) << LIMB_BITS * (power + other)
            place += len(limbs)
    return sums


def sums_by(keys: Integers, values: Ticks, n_keys: int) -> Ticks:
    """The sum of the values of each key from 0 on, shape (n_keys,), of at most 2^21 values; int64 must hold it."""
    high = np.bincount(keys, values >> 32, n_keys)
    low = np.bincount(keys, values & (2**32 - 1), n_keys)
    return (high.astype(np.int64) << 32) + low.astype(np.int64)


def squares_by(keys: Integers, values: Ticks) -> dict[int, int]:
    """The sum of the squares of the values of each key, exactly, of at most 2^26 values."""
    if not len(keys):
        return {}
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=ordered[0] - 1))
    limbs = _limbs(values[order]).astype(np.int64)
    sums = [0] * len(starts)
    for a in range(len(limbs)):
        for b in range(a, len(limbs)):
            times = 1 if a == b else 2
            for place, found in enumerate(np.add.reduceat(limbs[a] * limbs[b], starts).tolist()):
                sums[place] += times * found << LIMB_BITS * (a + b)
    return dict(zip(ordered[starts].tolist(), sums, strict=True))


def _limbs(values: Ticks) -> Floats:
    """Parts of 18 bits, the lowest first, shape (limbs, n); the highest carries the sign."""
    most = max(int(values.max(initial=0)), -int(values.min(initial=0)))
    n_limbs = most.bit_length() // LIMB_BITS + 1
    limbs = np.empty((n_limbs, len(values)))
    for number in range(n_limbs):
        shifted = values >> LIMB_BITS * number
        limbs[number] = shifted if number == n_limbs - 1 else shifted & _MASK
    return limbs
