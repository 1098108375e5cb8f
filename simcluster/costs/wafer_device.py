"""
Blocks on a wafer: its layers are placed next to each other in strips of columns, equally wide; each op runs on a
strip.

A token passes the strips one after another. Several tokens of a step are multiplied together, or follow each other
through matrix–vector products, so that each strip works on a different one: n of them then occupy a layer of L on the
wafer for 1 + (n - 1) / L times the time of one. Prompts may also go through MeshGEMM. Each op takes the fastest.
Embedding and head use the whole grid. Left out: the transfer from one strip to the next, some 0.1 us.
Norms, activation functions and residuals are inside the fitted overhead of the matrix products, so they are not
timed as ops. Experts are spread like dense layers: every chosen expert of every token is one more strip of columns.
"""

from __future__ import annotations

from functools import lru_cache
from math import fsum

import numpy as np
import numpy.typing as npt

from simcluster.catalog.calibration.wafer import WaferCalibration
from simcluster.catalog.device import Device
from simcluster.costs import wafer
from simcluster.costs.blocks import IDLE, HostTime, OpSeconds, WeightStream
from simcluster.numerics.arrays import Floats, Integers
from simcluster.work.batch import Batch
from simcluster.work.op import ACTIVATION_BYTES, Op, features
from simcluster.work.programs import BlockName, RankWork

_AFTER_NORM = {"qkv", "latent_down", "ffn_up", "shared_up", "router", "head"}
"""Products with a norm before them, which costs one more all-reduce of one number per token."""


class WaferDevice:
    """
    Blocks on a wafer's region of `rows` x `columns` cores.

    `strips` is the number of layers that share it; layers whose weights are streamed use the whole region in turn.
    """

    def __init__(
        self,
        work: RankWork,
        device: Device,
        calibration: WaferCalibration,
        host: HostTime,
        region: tuple[int, int],
        stream: WeightStream | None = None,
        strips: int = 1,
    ) -> None:
        if device.grid is None:
            raise ValueError(f"{device.name} has no grid of cores")
        self._shape = work.shape
        self._precision = work.precision
        self._host = host
        rows, columns = region
        self._stream = stream
        self._strips = 1 if stream else max(1, min(strips, columns))
        self._strip = wafer.Region(device.grid, rows, columns // self._strips, calibration)
        self._whole = wafer.Region(device.grid, rows, columns, calibration)
        self._ops = {name: [op for op in ops if op.kind != "elementwise"] for name, ops in work.blocks().items()}
        self._matvec = lru_cache(maxsize=4096)(self._matvec_parts)
        self._matmul = lru_cache(maxsize=4096)(self._matmul_parts)

    def ops(self, name: BlockName) -> list[Op]:
        """List the ops of a block that take time on a wafer, in order."""
        return self._ops[name]

    def seconds(self, name: BlockName, batch: Batch, n_experts: float | None = None) -> list[OpSeconds]:
        """Find durations without noise, attention left idle; `n_experts` of a layer are streamed, if any are."""
        if name == "host":
            return self._host.seconds(batch, self._stream)
        rows = [IDLE if op.is_attention else self._one(op, batch) for op in self._ops[name]]
        if self._stream is None:
            return rows
        of_batch = features(batch, self._shape, n_experts)
        streamed = [op.weight_bytes.at(of_batch) / self._stream.bytes_per_s for op in self._ops[name]]
        return [row._replace(fetch=max(row.fetch, s)) for row, s in zip(rows, streamed, strict=True)]

    def attention(self, op: Op, batch: Batch) -> OpSeconds:
        """Find the duration of an attention op."""
        if op.kind == "attention_decode":
            n_tokens, context = batch.decode_tokens, batch.decode_context
            return _sum([self._decode_attention_time(context, n_tokens)]) if n_tokens else IDLE
        return self._prefill_attention(batch) if batch.prefill_tokens else IDLE

    def decode_attention(self, op: Op, n_tokens: int, contexts: Integers) -> Floats:
        """Find the durations of a decode attention op for each sum of contexts, shape (4, contexts)."""
        time = self._decode_attention_time(contexts, n_tokens)
        return np.stack([time.overhead_s, time.compute_s, time.fetch_s, time.interconnect_s])

    def _one(self, op: Op, batch: Batch) -> OpSeconds:
        """Time one op other than attention."""
        if op.kind == "embedding":
            return OpSeconds(0.0, 0.0, 0.0, self._look_up_s(batch.tokens))
        if op.per == "outputs":
            return self._product(op, batch.outputs, 0)
        return self._product(op, batch.decode_tokens, batch.prefill_tokens)

    def _look_up_s(self, n_tokens: int) -> float:
        """Time the transfer of the tokens' vectors from the embedding table to the first layer."""
        vector_bytes = n_tokens * self._shape.hidden * ACTIVATION_BYTES
        grid, rows, columns = self._whole.grid, self._whole.rows, self._whole.columns
        return float(wafer.move_s(grid, (rows + columns) // 2, vector_bytes, links=columns))

    def _product(self, op: Op, n_decode: int, n_prefill: int) -> OpSeconds:
        """Time a matrix product of decode tokens and then one of prompt tokens."""
        decode = self._matvec(op, n_decode) if n_decode else []
        return _sum([*decode, *self._matmul(op, n_prefill)] if n_prefill else decode)

    def _matvec_parts(self, op: Op, n_tokens: int) -> list[wafer.OpTime]:
        """Time decode tokens, together or in a row through the strips."""
        together = self._together(op, n_tokens)
        return together if n_tokens == 1 else _faster(together, self._in_a_row(op, n_tokens))

    def _matmul_parts(self, op: Op, n_tokens: int) -> list[wafer.OpTime]:
        """Time tokens of prompts, by MeshGEMM or in a row."""
        mesh = [
            wafer.matmul_s(self._region(op), n_in, n_out, n_tokens, weight_bytes=op.bits / 8)
            for n_in, n_out in self._matrices(op)
        ]
        return _faster(mesh, self._in_a_row(op, n_tokens))

    def _together(self, op: Op, n_tokens: int) -> list[wafer.OpTime]:
        normed, weight_bytes = op.name in _AFTER_NORM, op.bits / 8
        return [
            wafer.matvec_s(self._region(op), n_in, n_out, n_tokens, weight_bytes=weight_bytes, normed=normed)
            for n_in, n_out in self._matrices(op)
        ]

    def _in_a_row(self, op: Op, n_tokens: int) -> list[wafer.OpTime]:
        strips = 1 if op.per == "outputs" else self._strips
        return [_passing(time, n_tokens, strips) for time in self._together(op, 1)]

    def _region(self, op: Op) -> wafer.Region:
        """Find the region in which an op runs."""
        return self._whole if op.per == "outputs" else self._strip

    def _matrices(self, op: Op) -> list[tuple[int, int]]:
        """List inputs and outputs of an op's matrices: one, or for experts the projections up and down."""
        moe = self._shape.moe
        if op.kind != "moe" or moe is None:
            return [(op.in_features, op.out_features)]
        n_up = 2 if self._shape.ffn_kind == "glu" else 1
        chosen = moe.top_k * moe.expert_ff
        return [(self._shape.hidden, n_up * chosen), (chosen, self._shape.hidden)]

    def _heads(self) -> tuple[int, int, float]:
        """Find the heads that read the cache, numbers per head, and bytes of a cached number; one head if latent."""
        shape, kv_bytes = self._shape, self._precision.kv_bits / 8
        if shape.mla is None:
            return shape.kv_heads, shape.head_dim, kv_bytes
        # Keys are the latent vector with its rotary part, values the latent vector alone, which is read once.
        latent = shape.mla.kv_lora_rank + shape.mla.qk_rope_head_dim
        width = (latent + shape.mla.kv_lora_rank) // 2
        return 1, width, kv_bytes * latent / (2 * width)

    def _decode_attention_time(self, context: npt.ArrayLike, n_tokens: int) -> wafer.OpTime:
        together = self._attend(context, n_tokens)
        if n_tokens == 1:
            return together
        in_a_row = _passing(self._attend(np.asarray(context) / n_tokens, 1), n_tokens, self._strips)
        pairs = zip(together, in_a_row, strict=True)
        return wafer.OpTime(*(np.where(together.total_s <= in_a_row.total_s, a, b) for a, b in pairs))

    def _attend(self, context: npt.ArrayLike, n_tokens: int) -> wafer.OpTime:
        kv_heads, head_dim, kv_bytes = self._heads()
        heads = self._shape.heads
        return wafer.attention_decode_s(self._strip, heads, kv_heads, head_dim, context, n_tokens, kv_bytes=kv_bytes)

    def _prefill_attention(self, batch: Batch) -> OpSeconds:
        shape, kv_bytes = self._shape, self._precision.kv_bits / 8
        kv_heads, head_dim = shape.kv_heads, shape.head_dim
        if shape.mla is not None:
            head_dim = (shape.mla.qk_nope_head_dim + shape.mla.qk_rope_head_dim + shape.mla.v_head_dim) // 2
        n_tokens = batch.prefill_tokens
        sizes = (batch.prefill_pairs, batch.prefill_context, n_tokens)
        mesh = wafer.attention_prefill_s(self._strip, shape.heads, kv_heads, head_dim, *sizes, kv_bytes=kv_bytes)
        one = self._attend(batch.prefill_pairs / n_tokens, 1)
        return _sum(_faster([mesh], [_passing(one, n_tokens, self._strips)]))


def _passing(one: wafer.OpTime, n_tokens: int, strips: int) -> wafer.OpTime:
    """Time an op of tokens that follow each other through the strips, from the time of one of them."""
    times = 1 + (n_tokens - 1) / strips
    return wafer.OpTime(*(times * part for part in one))


def _faster(some: list[wafer.OpTime], others: list[wafer.OpTime]) -> list[wafer.OpTime]:
    """Choose the sequence of ops that takes less time, the first of equals."""
    return min(some, others, key=lambda times: fsum(float(time.total_s) for time in times))


def _sum(times: list[wafer.OpTime]) -> OpSeconds:
    """Add successive ops; where one is bound by its fetch and another by its compute, each keeps its longer side."""
    launch = fsum(float(time.overhead_s) for time in times)
    exchange = fsum(float(time.interconnect_s) for time in times)
    if len(times) == 1:
        return OpSeconds(launch, float(times[0].compute_s), float(times[0].fetch_s), exchange)
    compute = fsum(float(time.compute_s) for time in times if time.compute_s >= time.fetch_s)
    fetch = fsum(float(time.fetch_s) for time in times if time.compute_s < time.fetch_s)
    return OpSeconds(launch, compute, fetch, exchange)
