"""
Closed forms of collectives on a wafer that no cost uses: lower bounds, whole rectangles, a ring.

They judge those of `simcluster.costs.wafer_collectives`, in the same model and from the same source.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from simcluster.numerics.arrays import Floats


def reduce_lower_bound_cycles(wavelets: npt.ArrayLike, cores: int, ramp_cycles: float) -> Floats:
    """
    What no reduction over a row can beat in this model; the paper generates a reduction that comes close to it.

    Takes time and memory that grow as the square and cube of `cores`: for checking, not for costs.
    """
    words = np.asarray(wavelets, dtype=np.float64)
    if cores == 1:
        return np.zeros_like(words)
    energy = minimum_energy_hops(cores)[1:]  # (depths,)
    depth = np.arange(1, cores)
    times = words[..., None] * energy / (cores - 1) + (cores - 1) + (2 * ramp_cycles + 1) * depth
    return np.asarray(np.where(words > 0, times.min(axis=-1), 0.0), dtype=np.float64)


def minimum_energy_hops(cores: int) -> Floats:
    """
    Fewest hops in which one wavelet per core can be reduced over a row, for each depth from 0 to `cores` - 1.

    The last message into the root comes from core s, which has reduced everything behind it in one round less,
    while the root has reduced the s cores before it: E(r, d) = min over s of E(s, d) + E(r - s, d - 1) + s.
    """
    energy = np.full((cores + 1, cores), np.inf)
    energy[1] = 0.0
    for row in range(2, cores + 1):
        split = np.arange(1, row)
        energy[row, 1:] = (energy[split, 1:] + energy[row - split, :-1] + split[:, None]).min(axis=0)
    return np.asarray(energy[cores], dtype=np.float64)


def ring_all_reduce_cycles(
    wavelets: npt.ArrayLike, cores: int, ramp_cycles: float, hop_cycles: float = 1.0
) -> Floats:
    """Reduce-scatter and all-gather over a ring folded into a row."""
    words = np.asarray(wavelets, dtype=np.float64)
    sent = 2 * (cores - 1) * words / cores
    waiting = (4 * cores - 6) * hop_cycles + 2 * (cores - 1) * (2 * ramp_cycles + 1)
    return _unless_idle(words, cores, sent + waiting)


def broadcast_2d_cycles(
    wavelets: npt.ArrayLike, rows: int, columns: int, ramp_cycles: float, hop_cycles: float = 1.0
) -> Floats:
    """Broadcast from a corner of a rectangle to all its cores."""
    words = np.asarray(wavelets, dtype=np.float64)
    hops = rows + columns - 2
    return _unless_idle(words, rows * columns, words + hops * hop_cycles + 2 * ramp_cycles + 1)


def reduce_2d_lower_bound_cycles(
    wavelets: npt.ArrayLike, rows: int, columns: int, ramp_cycles: float, hop_cycles: float = 1.0
) -> Floats:
    """
    What no reduction over a rectangle to its corner can beat in this model.

    The root hears B wavelets; and the B wavelets of every core but the root go at least one hop, over fewer than
    four link directions per core: at least B / 8 cycles on top of the distance. (B P / 8, as the bound is
    sometimes quoted, is not a bound: trees along the rows and then along a column are faster.)
    """
    words = np.asarray(wavelets, dtype=np.float64)
    spread = words / 8 + (rows + columns - 1) * hop_cycles
    return _unless_idle(words, rows * columns, np.maximum(words, spread) + 2 * ramp_cycles + 1)


def _unless_idle(wavelets: Floats, cores: int, cycles: Floats) -> Floats:
    """Zero where there is one core or nothing to send."""
    return np.where((wavelets > 0) & (cores > 1), cycles, 0.0)
