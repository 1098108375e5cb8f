"""
Cycles of reductions and broadcasts on the mesh of a wafer, in closed form.

The model is `max(C, E / N + L) + (2 T_R + 1) D` for a row of P cores that hold B wavelets (32-bit words) each:
contention C (wavelets through the busiest core), energy E (wavelet-hops) over the N = P - 1 links, distance L,
depth D (receptions that wait for each other), and the ramp T_R between a core and its router.
A link moves one wavelet per cycle and direction.

Left out: turns at a corner, other traffic on the same links, the cycles of the addition, set-up of a kernel.
A study of WSE-3 silicon found 16 cycles per relaying core, where a chain step is 2 T_R + 2 = 6 here.

All functions take wavelets as a number or an array and give float64 of the same shape.
A single core, or zero wavelets, cost nothing.

Source: Luczynski et al.: Near-Optimal Wafer-Scale Reduce, HPDC 2024, arXiv 2404.15888.
The energies of tree and two-phase are counted for any number of cores; where the paper's form holds
(a power of two, a square) they are equal to it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from simcluster.numerics.arrays import Floats


def star_cycles(wavelets: npt.ArrayLike, cores: int, ramp_cycles: float, hop_cycles: float = 1.0) -> Floats:
    """Every core sends directly to the first, which receives one after the other."""
    return _reduce(wavelets, cores, cores - 1, cores * (cores - 1) / 2, 1, ramp_cycles, hop_cycles)


def chain_cycles(wavelets: npt.ArrayLike, cores: int, ramp_cycles: float, hop_cycles: float = 1.0) -> Floats:
    """Every core adds what it receives from one side and passes it on to the other."""
    return _reduce(wavelets, cores, 1, cores - 1, cores - 1, ramp_cycles, hop_cycles)


def tree_cycles(wavelets: npt.ArrayLike, cores: int, ramp_cycles: float, hop_cycles: float = 1.0) -> Floats:
    """Binary tree: in round r the odd multiples of 2^r send 2^r hops; ceil(log2 P) rounds."""
    distances = [2**r for r in range(_rounds(cores))]
    energy = sum(distance * math.ceil((cores - distance) / (2 * distance)) for distance in distances)
    return _reduce(wavelets, cores, len(distances), energy, len(distances), ramp_cycles, hop_cycles)


def two_phase_cycles(wavelets: npt.ArrayLike, cores: int, ramp_cycles: float, hop_cycles: float = 1.0) -> Floats:
    """A chain inside groups of ceil(sqrt P) neighbours, then a chain over the groups."""
    group = math.ceil(math.sqrt(cores))
    groups = math.ceil(cores / group)
    energy = (cores - groups) + (groups - 1) * group
    return _reduce(wavelets, cores, 2, energy, (group - 1) + (groups - 1), ramp_cycles, hop_cycles)


REDUCE: dict[str, Callable[[npt.ArrayLike, int, float, float], Floats]] = {
    "star": star_cycles,
    "chain": chain_cycles,
    "tree": tree_cycles,
    "two_phase": two_phase_cycles,
}
"""The reductions to the first core of a row."""


def best_reduce_cycles(wavelets: npt.ArrayLike, cores: int, ramp_cycles: float, hop_cycles: float = 1.0) -> Floats:
    """Time the fastest of `REDUCE`, chosen for each number of wavelets."""
    times = [reduce(wavelets, cores, ramp_cycles, hop_cycles) for reduce in REDUCE.values()]
    return np.asarray(np.min(times, axis=0), dtype=np.float64)


def broadcast_cycles(wavelets: npt.ArrayLike, cores: int, ramp_cycles: float, hop_cycles: float = 1.0) -> Floats:
    """Time a broadcast from the first core of a row: routers copy wavelets as they pass, so one pass is enough."""
    words = np.asarray(wavelets, dtype=np.float64)
    # B + P + 2 T_R, written so that only the P - 1 hops scale with the hop.
    return _unless_idle(words, cores, words + (cores - 1) * hop_cycles + 2 * ramp_cycles + 1)


def reduce_to_centre_cycles(
    wavelets: npt.ArrayLike, cores: int, ramp_cycles: float, hop_cycles: float = 1.0
) -> Floats:
    """
    Time a reduction to the middle core of a row: both halves reduce at once, the root receives one after the other.

    This is where WaferLLM (OSDI 2025) puts the root in its published kernels, and it halves the distance.
    """
    words = np.asarray(wavelets, dtype=np.float64)
    half = best_reduce_cycles(words, cores // 2 + 1, ramp_cycles, hop_cycles)
    return half + words if cores > 2 else half


def broadcast_from_centre_cycles(
    wavelets: npt.ArrayLike, cores: int, ramp_cycles: float, hop_cycles: float = 1.0
) -> Floats:
    """Time a broadcast from the middle core of a row to both ends at once."""
    return broadcast_cycles(wavelets, cores // 2 + 1, ramp_cycles, hop_cycles)


def _reduce(
    wavelets: npt.ArrayLike,
    cores: int,
    contention: float,
    energy_hops: float,
    depth: int,
    ramp_cycles: float,
    hop_cycles: float,
) -> Floats:
    """Apply the model's formula; contention and energy are per wavelet of the vector."""
    words = np.asarray(wavelets, dtype=np.float64)
    links = max(cores - 1, 1)
    moving = np.maximum(contention * words, energy_hops / links * words + links * hop_cycles)
    return _unless_idle(words, cores, moving + (2 * ramp_cycles + 1) * depth)


def _unless_idle(wavelets: Floats, cores: int, cycles: Floats) -> Floats:
    """Set cycles to zero where there is one core or nothing to send."""
    return np.where((wavelets > 0) & (cores > 1), cycles, 0.0)


def _rounds(cores: int) -> int:
    """ceil(log2 cores), in integers."""
    return (cores - 1).bit_length()
