"""
The duration of one op on the rectangle of cores that a layer occupies on a wafer.

Decode is bound by latency: a matrix-vector product is a little local work, then partial sums cross the
rectangle to its middle and the result crosses it back, and a fixed overhead. More cores make the local work
shorter and the crossing longer, so a larger rectangle can be slower. Prefill is bound by work: a matrix-matrix
product (MeshGEMM) takes as many shifts as the longer side has cores, each with an overhead.
Activations have 16 bit on the fabric.

Counted: multiply-adds at the attainable rate, reads of weights and KV through the core's SRAM port (they overlap
the multiply-adds), reductions and broadcasts by the closed forms of `wafer_collectives`, all-reduces of norms and
softmax. In the fitted overheads: task start, the arithmetic of norms, activation, rotary embedding and residual,
and everything else in the measured kernels. Left out: tiles that do not divide evenly, turns, contention between
ops, routing set-up.

An op lasts `overhead + max(compute, fetch) + interconnect`. Its ops per layer, as the constants were fitted:
decode: qkv (normed), attention, o, gate and up as one (normed), down; after the last layer the head (normed).
prefill: the same products by `matmul_s`, and `attention_prefill_s`.

Source: He et al.: WaferLLM: Large Language Model Inference at Wafer Scale, OSDI 2025, arXiv 2502.04563, and its
published kernels (github.com/MeshInfra/WaferLLM): the place of the root of an all-reduce, their number per layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from simcluster.catalog.calibration.wafer import WaferCalibration
from simcluster.catalog.device import WaferGrid
from simcluster.costs.wafer_collectives import broadcast_from_centre_cycles, reduce_to_centre_cycles
from simcluster.numerics.arrays import Floats
from simcluster.work.op import ACTIVATION_BYTES


@dataclass(frozen=True)
class Region:
    """
    A rectangle of cores on a wafer of one generation.

    Raises:
        ValueError: the rectangle is empty or larger than the wafer.
    """

    grid: WaferGrid
    rows: int
    columns: int
    calibration: WaferCalibration

    def __post_init__(self) -> None:
        grid = self.grid
        if not (1 <= self.rows <= grid.rows and 1 <= self.columns <= grid.columns):
            found = f"a region of {self.rows} x {self.columns} cores"
            raise ValueError(f"{found} does not lie on {grid.rows} x {grid.columns}")

    @property
    def cores(self) -> int:
        """The number of cores."""
        return self.rows * self.columns


class OpTime(NamedTuple):
    """The parts of an op's time in seconds, all of one shape."""

    overhead_s: Floats
    compute_s: Floats
    fetch_s: Floats
    """Reads of weights or KV from the cores' SRAM, at the same time as the compute."""
    interconnect_s: Floats

    @property
    def total_s(self) -> Floats:
        """From start to end."""
        return self.overhead_s + np.maximum(self.compute_s, self.fetch_s) + self.interconnect_s


def matvec_s(
    region: Region,
    in_features: npt.ArrayLike,
    out_features: npt.ArrayLike,
    n_tokens: npt.ArrayLike,
    *,
    weight_bytes: float = 2.0,
    normed: bool = False,
) -> OpTime:
    """
    Time a linear layer over a few tokens (decode).

    Each core holds in/rows x out/columns of the weights and multiplies them with every token in turn, reading them
    each time; the sums over the rows are then reduced to the middle and broadcast. Kernels turn the axes from op
    to op; on a rectangle, reducing over the rows and broadcasting along the columns is the mean of the two.

    Args:
        region: where the op runs.
        in_features: numbers per token that come in.
        out_features: numbers per token that go out.
        n_tokens: of the whole batch; zero costs nothing.
        weight_bytes: of one weight in SRAM (0.5 for 4 bit).
        normed: a norm comes first: one more all-reduce, of one number per token.
    """
    grid, calibration = region.grid, region.calibration
    inputs, outputs, tokens = _floats(in_features, out_features, n_tokens)
    products = inputs * outputs * tokens
    sums_bytes = outputs * tokens * ACTIVATION_BYTES / region.columns
    interconnect = _all_reduce_cycles(region, sums_bytes)
    if normed:
        interconnect = interconnect + _all_reduce_cycles(region, tokens * ACTIVATION_BYTES)
    return _op_time(
        grid,
        tokens,
        overhead=np.full_like(tokens, calibration.matvec_overhead_cycles),
        compute=2 * products / (region.cores * calibration.matvec_flop_per_cycle),
        fetch=products * weight_bytes / (region.cores * grid.sram_bytes_per_cycle),
        interconnect=interconnect,
    )


def attention_decode_s(
    region: Region,
    heads: int,
    kv_heads: int,
    head_dim: int,
    context_tokens: npt.ArrayLike,
    n_tokens: npt.ArrayLike,
    *,
    kv_bytes: float = 2.0,
) -> OpTime:
    """
    Time scores, softmax and values of one query token per sequence over its cached context.

    Two matrix-vector products whose weights are the cached keys and values, spread over all cores of the rectangle.
    Four all-reduces: scores, the softmax's maximum and sum (one number per head and token), values.
    Query heads that share a KV head share its read.

    Args:
        region: where the op runs.
        heads: of the queries.
        kv_heads: of the cache.
        head_dim: numbers per head.
        context_tokens: cached tokens that are read, summed over the batch.
        n_tokens: query tokens, one per sequence; zero costs nothing.
        kv_bytes: of one cached number.
    """
    grid, calibration = region.grid, region.calibration
    context, tokens = _floats(context_tokens, n_tokens)
    flop = 4 * context * heads * head_dim
    cached_bytes = 2 * context * kv_heads * head_dim * kv_bytes
    column_bytes = ACTIVATION_BYTES / region.columns
    scores = _all_reduce_cycles(region, context * column_bytes)
    softmax = _all_reduce_cycles(region, tokens * heads * column_bytes)
    values = _all_reduce_cycles(region, tokens * heads * head_dim * column_bytes)
    return _op_time(
        grid,
        tokens,
        overhead=np.full_like(tokens, calibration.matvec_overhead_cycles),
        compute=flop / (region.cores * calibration.matvec_flop_per_cycle),
        fetch=cached_bytes / (region.cores * grid.sram_bytes_per_cycle),
        interconnect=scores + 2 * softmax + values,
    )


def matmul_s(
    region: Region,
    in_features: npt.ArrayLike,
    out_features: npt.ArrayLike,
    n_tokens: npt.ArrayLike,
    *,
    weight_bytes: float = 2.0,
) -> OpTime:
    """
    Time a linear layer over many tokens (prefill), by MeshGEMM.

    Both operands are cut into a tile per core and shifted by two hops in each step, while the present tiles are
    multiplied.
    The arguments are those of `matvec_s`; norms are in the overhead. For few tokens `matvec_s` can be faster.
    """
    inputs, outputs, tokens = _floats(in_features, out_features, n_tokens)
    return _mesh_product(
        region,
        tokens,
        n_products=1,
        flop=2 * inputs * outputs * tokens,
        held_bytes=inputs * outputs * weight_bytes,
        shifted_bytes=inputs * outputs * weight_bytes + inputs * tokens * ACTIVATION_BYTES,
    )


def attention_prefill_s(
    region: Region,
    heads: int,
    kv_heads: int,
    head_dim: int,
    pairs: npt.ArrayLike,
    context_tokens: npt.ArrayLike,
    n_tokens: npt.ArrayLike,
    *,
    kv_bytes: float = 2.0,
) -> OpTime:
    """
    Time scores, softmax and values of a chunk of a prompt, as two matrix-matrix products by MeshGEMM.

    Args:
        region: where the op runs.
        heads: of the queries.
        kv_heads: of the cache.
        head_dim: numbers per head.
        pairs: of a query and a key that it attends to, n (n + 1) / 2 for a whole prompt of n tokens.
        context_tokens: keys, the chunk's own included.
        n_tokens: queries; zero costs nothing.
        kv_bytes: of one cached number.
    """
    attended, context, tokens = _floats(pairs, context_tokens, n_tokens)
    cached_bytes = 2 * context * kv_heads * head_dim * kv_bytes
    # Keys against queries, then values against scores.
    shifted_bytes = cached_bytes + (tokens * heads * head_dim + attended * heads) * ACTIVATION_BYTES
    return _mesh_product(
        region,
        tokens,
        n_products=2,
        flop=4 * attended * heads * head_dim,
        held_bytes=cached_bytes,
        shifted_bytes=shifted_bytes,
    )


def move_s(grid: WaferGrid, hops: npt.ArrayLike, n_bytes: npt.ArrayLike, links: int = 1) -> Floats:
    """
    Time the transfer of activations from one rectangle of cores to another on the same wafer.

    Args:
        grid: the wafer.
        hops: between the two, along the mesh.
        n_bytes: in total; zero bytes cost nothing.
        links: parallel mesh links that carry them.
    """
    distance, size = _floats(hops, n_bytes)
    wavelets = np.ceil(size / (links * grid.link_bytes_per_cycle))
    cycles = wavelets + distance * grid.hop_cycles + 2 * grid.ramp_cycles + 1
    return np.where(size > 0, cycles, 0.0) / grid.clock_hz


def _all_reduce_cycles(region: Region, column_bytes: Floats) -> Floats:
    """Time the sum over the rows of each column's values; the middle receives it first and broadcasts it."""
    grid, rows, columns = region.grid, region.rows, region.columns
    wavelets = np.ceil(column_bytes / grid.link_bytes_per_cycle)
    if wavelets.ndim == 0:
        return _one_all_reduce_cycles(float(wavelets), rows, columns, grid.ramp_cycles, grid.hop_cycles)
    return _all_reduce_of(wavelets, rows, columns, grid.ramp_cycles, grid.hop_cycles)


def _all_reduce_of(wavelets: npt.ArrayLike, rows: int, columns: int, ramp_cycles: float, hop_cycles: float) -> Floats:
    gathered = reduce_to_centre_cycles(wavelets, rows, ramp_cycles, hop_cycles)
    return gathered + broadcast_from_centre_cycles(wavelets, columns, ramp_cycles, hop_cycles)


_one_all_reduce_cycles = lru_cache(maxsize=65536)(_all_reduce_of)
"""A cache for single sizes, as the same few occur in every step."""


def _mesh_product(
    region: Region,
    tokens: Floats,
    *,
    n_products: int,
    flop: Floats,
    held_bytes: Floats,
    shifted_bytes: Floats,
) -> OpTime:
    """Time MeshGEMM: shifts are hidden by multiplication and reads, and their excess counts as interconnect."""
    grid, calibration = region.grid, region.calibration
    steps = n_products * max(region.rows, region.columns)
    # Each product shifts its own operands once per step.
    tile_cycles = shifted_bytes / n_products / (region.cores * grid.link_bytes_per_cycle)
    shift = steps * (tile_cycles + 2 * grid.hop_cycles + 2 * grid.ramp_cycles + 1)
    compute = flop / (region.cores * calibration.matmul_flop_per_cycle)
    fetch = steps * held_bytes / n_products / (region.cores * grid.sram_bytes_per_cycle)
    return _op_time(
        grid,
        tokens,
        overhead=np.full_like(tokens, steps * calibration.matmul_step_overhead_cycles),
        compute=compute,
        fetch=fetch,
        interconnect=np.maximum(shift - np.maximum(compute, fetch), 0.0),
    )


def _op_time(
    grid: WaferGrid, tokens: Floats, *, overhead: Floats, compute: Floats, fetch: Floats, interconnect: Floats
) -> OpTime:
    """Convert cycles to seconds; all parts are zero where there is no token."""
    parts = np.broadcast_arrays(overhead, compute, fetch, interconnect)
    return OpTime(*(np.where(tokens > 0, part, 0.0) / grid.clock_hz for part in parts))


def _floats(*values: npt.ArrayLike) -> tuple[Floats, ...]:
    """Broadcast to float64 arrays of one shape."""
    return tuple(np.broadcast_arrays(*(np.asarray(value, dtype=np.float64) for value in values)))
