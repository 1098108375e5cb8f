"""How long one op takes on a device that fetches from memory and computes: GPUs, LPUs, RDUs."""

from __future__ import annotations

import math
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from simcluster.calibration.gpu import OpFit
from simcluster.hardware import Device

Floats = npt.NDArray[np.float64]

PEAK_FORMATS = {16: ("bf16", "fp16"), 8: ("fp8", "int8"), 4: ("fp4",)}
"""Number formats whose data-sheet peak stands for arithmetic on so many bits, in order of preference."""


def op_s(
    flop: npt.ArrayLike,
    bytes_: npt.ArrayLike,
    activation_bytes: npt.ArrayLike,
    fit: OpFit,
    peak_flop_per_s: float,
    bytes_per_s: float,
) -> tuple[Floats, Floats, Floats]:
    """
    The three parts of an op's duration: it lasts `fixed_s + max(compute_s, fetch_s)`.

    A roofline with a fixed cost: compute = flop / (peak · compute_efficiency), fetch = bytes / (bandwidth ·
    memory_efficiency). Activations are fetched like weights, unless the fit has an `activation_efficiency`: then
    they pass before and after the arithmetic, in passes that overlap with nothing (quantising, gathering the
    tokens of an expert, first and last tile of attention), and their time is part of both compute and fetch.
    Never faster with more work; an op without any work takes no time, its fixed cost included.
    Left out: wave and tile quantisation, cache hits, clocks that fall under load, launches (see `launch_s`).

    Args:
        flop: floating-point operations, any shape.
        bytes_: weights or cached keys and values read, broadcast against `flop`.
        activation_bytes: activations read and written, broadcast against `flop`.
        fit: constants of the op's class at its precision.
        peak_flop_per_s: of the device at `fit.compute_bits`, see `peak_flop_per_s`.
        bytes_per_s: of the device's memory.

    Returns:
        fixed_s, compute_s, fetch_s, each of the broadcast shape.

    Source:
        Williams, Waterman, Patterson, "Roofline", CACM 52(4), 2009 (the maximum).
    """
    flop, bytes_, activation_bytes = np.broadcast_arrays(
        *(np.asarray(work, dtype=np.float64) for work in (flop, bytes_, activation_bytes))
    )
    attained = rates(fit, peak_flop_per_s, bytes_per_s)
    compute_s, fetch_s = parts_s(flop, bytes_, activation_bytes, attained)
    fixed_s = np.where((flop > 0) | (bytes_ > 0) | (activation_bytes > 0), attained.fixed_s, 0.0)
    return fixed_s, compute_s, fetch_s


class Rates(NamedTuple):
    """A fit on a device: what an op attains."""

    fixed_s: float
    flop_per_s: float
    bytes_per_s: float
    serial_bytes_per_s: float
    """Of activations that pass before and after the arithmetic; infinite where they are fetched with the rest."""
    fetched_share: float
    """Of the activations that is fetched with the rest: all or nothing."""


def rates(fit: OpFit, peak_flop_per_s: float, bytes_per_s: float) -> Rates:
    """What an op of this fit attains on a device with this peak and this memory bandwidth."""
    flop_per_s, fetched_per_s = peak_flop_per_s * fit.compute_efficiency, bytes_per_s * fit.memory_efficiency
    if fit.activation_efficiency is None:
        return Rates(fit.fixed_s, flop_per_s, fetched_per_s, math.inf, 1.0)
    return Rates(fit.fixed_s, flop_per_s, fetched_per_s, bytes_per_s * fit.activation_efficiency, 0.0)


Work = TypeVar("Work", float, Floats)


def parts_s(flop: Work, bytes_: Work, activation_bytes: Work, attained: Rates) -> tuple[Work, Work]:
    """Compute and fetch of `op_s`, of one op or of many with the same rates."""
    serial_s = activation_bytes / attained.serial_bytes_per_s
    fetched = bytes_ + attained.fetched_share * activation_bytes
    return flop / attained.flop_per_s + serial_s, fetched / attained.bytes_per_s + serial_s


def peak_flop_per_s(device: Device, compute_bits: int) -> float:
    """
    The data-sheet peak for arithmetic on operands of `compute_bits` bits.

    Raises:
        ValueError: the device has no arithmetic of that width.
    """
    for number_format in PEAK_FORMATS[compute_bits]:
        if number_format in device.peak_flop_per_s:
            return device.peak_flop_per_s[number_format]
    raise ValueError(f"{device.name} has no {compute_bits}-bit arithmetic, only {sorted(device.peak_flop_per_s)}")
