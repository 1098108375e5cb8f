"""The duration of one op on a device that fetches from memory and computes: GPUs, LPUs, RDUs."""

from __future__ import annotations

import math
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from simcluster.catalog.calibration.gpu import OpFit
from simcluster.catalog.device import Device
from simcluster.numerics.arrays import Floats

Value = TypeVar("Value", float, Floats)

PEAK_FORMATS = {16: ("bf16", "fp16"), 8: ("fp8", "int8"), 4: ("fp4",)}
"""Number formats whose data-sheet peak is used, by bits of the operands and in order of preference."""


class Work(NamedTuple, Generic[Value]):
    """The work of one op on one device; numbers, or arrays of one shape."""

    flop: Value
    bytes_: Value
    """Weights, or cached keys and values, read."""
    inputs: Value
    """Bytes of activations read."""
    outputs: Value
    """Bytes of activations written; for experts, the vectors of all tokens of the step, routed here or not."""
    rows: Value
    """Tokens of a matrix product; 0 of other ops, which have no tiles."""
    reduction: Value
    """Length of a matrix product's reduction."""
    keys: Value
    """Cached entries that a prompt's token attends to on average."""


def op_s(work: Work[Any], fit: OpFit, peak_flop_per_s: float, bytes_per_s: float) -> tuple[Floats, Floats, Floats]:
    """
    Find the three parts of an op's duration: it lasts `fixed_s + max(compute_s, fetch_s)`.

    It is a roofline with a fixed cost, and these corrections where the fit has constants for them:

    * compute = flop / (peak · compute_efficiency). A matrix product works on whole tiles of 64 rows, or of 128 rows
      if it has more than 64; and its last wave of tiles keeps the device busy like `wave_columns` more columns.
    * fetch = (bytes + ramp_slowdown · first) / (bandwidth · memory_efficiency): the first bytes are slower, while few
      thread blocks fetch; first = bytes / (1 + (bytes / ramp)³)^(1/3), which is all of few bytes and `ramp` of many.
    * compute and fetch of similar lengths slow each other down: the longer becomes (compute^p + fetch^p)^(1/p).
    * activations are fetched like weights, unless the fit has an `activation_efficiency`: then they pass before
      and after the arithmetic, in passes that overlap with nothing (quantising, gathering the tokens of an expert,
      first and last tile of attention), and their time is part of both compute and fetch; outputs have an efficiency
      of their own if the fit has an `output_efficiency`.
    * attention to a prompt passes over the keys block by block: `key_s` for each, times two, as the last rows attend
      to twice as many as the mean.

    More work never makes it shorter; an op without any work takes no time, not even its fixed cost.
    Left out: cache hits, clocks that fall under load, launches (see `launch_s`).

    Args:
        work: of one op or of many; numbers and arrays that are broadcast against each other. Activations written
            may be counted as read where they move at the same speed.
        fit: constants of the op's class at its precision.
        peak_flop_per_s: of the device at `fit.compute_bits`, see `peak_flop_per_s`.
        bytes_per_s: of the device's memory.

    Returns:
        fixed_s, compute_s, fetch_s, each of the broadcast shape.

    Source:
        Williams, Waterman, Patterson, "Roofline", CACM 52(4), 2009 (the maximum).
    """
    work = Work(*np.broadcast_arrays(*(np.asarray(part, dtype=np.float64) for part in work)))
    attained = rates(fit, peak_flop_per_s, bytes_per_s)
    compute_s, fetch_s = parts_s(attained, *work)
    is_idle = (work.flop <= 0) & (work.bytes_ <= 0) & (work.inputs <= 0) & (work.outputs <= 0)
    return np.where(is_idle, 0.0, attained.fixed_s), compute_s, fetch_s


class Rates(NamedTuple):
    """The rates that an op attains: a fit applied to a device."""

    fixed_s: float
    flop_per_s: float
    bytes_per_s: float
    input_bytes_per_s: float
    """For activations that pass before the arithmetic; infinite where they are fetched with the rest."""
    output_bytes_per_s: float
    """For activations that pass after it, likewise."""
    fetched_share: float
    """Share of the activations that is fetched with the rest: 1 or 0."""
    ramp_bytes: float
    ramp_slowdown: float
    passage: float
    wave_columns: float
    key_s: float


def rates(fit: OpFit, peak_flop_per_s: float, bytes_per_s: float) -> Rates:
    """Apply a fit to a device with this peak and this memory bandwidth."""
    serial = fit.activation_efficiency
    return Rates(
        fixed_s=fit.fixed_s,
        flop_per_s=peak_flop_per_s * fit.compute_efficiency,
        bytes_per_s=bytes_per_s * fit.memory_efficiency,
        input_bytes_per_s=math.inf if serial is None else bytes_per_s * serial,
        output_bytes_per_s=math.inf if serial is None else bytes_per_s * (fit.output_efficiency or serial),
        fetched_share=1.0 if serial is None else 0.0,
        ramp_bytes=fit.ramp_bytes,
        ramp_slowdown=fit.ramp_slowdown,
        passage=fit.passage,
        wave_columns=fit.wave_columns,
        key_s=fit.key_s,
    )


def parts_s(
    attained: Rates, flop: Value, bytes_: Value, inputs: Value, outputs: Value, rows: Value, reduction: Value,
    keys: Value,
) -> tuple[Value, Value]:  # fmt: skip
    """Find compute and fetch of `op_s`, for one op or many with the same rates; the parts of a `Work` in order."""
    fetched = bytes_ + attained.fetched_share * (inputs + outputs)
    if attained.wave_columns:
        flop = _tiled_flop(flop, rows, reduction, attained.wave_columns)
    compute_s = flop / attained.flop_per_s + 2 * attained.key_s * keys
    if attained.ramp_bytes:
        first = fetched / (1 + (fetched / attained.ramp_bytes) ** 3) ** (1 / 3)
        fetched = fetched + attained.ramp_slowdown * first
    fetch_s = fetched / attained.bytes_per_s
    if attained.passage:
        compute_s, fetch_s = _blended(compute_s, fetch_s, attained.passage)
    serial_s = inputs / attained.input_bytes_per_s + outputs / attained.output_bytes_per_s
    return compute_s + serial_s, fetch_s + serial_s


def _tiled_flop(flop: Value, rows: Value, reduction: Value, wave_columns: float) -> Value:
    """Round the arithmetic up to whole tiles and add the last wave of tiles."""
    if isinstance(rows, float):
        if rows <= 0:
            return flop
        tile = 64.0 if rows <= 64 else 128.0
        return flop * (math.ceil(rows / tile) * tile / rows) + 2 * tile * reduction * wave_columns
    some = np.maximum(rows, 1e-9)
    tiles = np.where(some <= 64, 64.0, 128.0)
    padded = flop * (np.ceil(some / tiles) * tiles / some) + 2 * tiles * reduction * wave_columns
    return np.where(rows > 0, padded, flop)


def _blended(compute_s: Value, fetch_s: Value, passage: float) -> tuple[Value, Value]:
    """Lengthen both by the factor that makes the longer one (compute^p + fetch^p)^(1/p)."""
    if isinstance(compute_s, float):
        longer, shorter = (compute_s, fetch_s) if compute_s > fetch_s else (fetch_s, compute_s)
        factor = (1 + (shorter / longer) ** passage) ** (1 / passage) if shorter > 0 else 1.0
    else:
        longer = np.maximum(np.maximum(compute_s, fetch_s), 1e-300)
        factor = (1 + (np.minimum(compute_s, fetch_s) / longer) ** passage) ** (1 / passage)
    return compute_s * factor, fetch_s * factor


def peak_flop_per_s(device: Device, compute_bits: int) -> float:
    """
    Look up the data-sheet peak for arithmetic on operands of `compute_bits` bits.

    Raises:
        ValueError: the device has no arithmetic of that width.
    """
    for number_format in PEAK_FORMATS[compute_bits]:
        if number_format in device.peak_flop_per_s:
            return device.peak_flop_per_s[number_format]
    raise ValueError(f"{device.name} has no {compute_bits}-bit arithmetic, only {sorted(device.peak_flop_per_s)}")
