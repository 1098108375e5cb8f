"""Blocks on a device that fetches from its memory and computes: one rank of a group of GPUs, LPUs or RDUs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from simcluster.calibration.gpu import GpuCalibration
from simcluster.costs.batch import Batch
from simcluster.costs.blocks import IDLE, ExchangeTime, Floats, HostTime, Integers, Line, OpSeconds, WeightStream
from simcluster.costs.gpu import Rates, parts_s, peak_flop_per_s, rates
from simcluster.costs.ops import BlockName, Op, Precision, block_names, block_ops, features, value
from simcluster.hardware import Device
from simcluster.shapes import ModelShape


class MemoryDevice:
    """
    Blocks on one rank of a tensor-parallel group; all ranks do the same.

    Streamed weights pass over their link while the op computes: the longer of memory and link counts.
    """

    def __init__(
        self,
        shape: ModelShape,
        precision: Precision,
        n_ranks: int,
        device: Device,
        calibration: GpuCalibration,
        launch: str,
        host: HostTime,
        exchange_s: ExchangeTime,
        stream: WeightStream | None = None,
    ) -> None:
        self._shape = shape
        self._host = host
        self._stream = stream
        self._exchange_s = exchange_s
        self._launch_s = calibration.launch_s["eager" if launch == "eager" else "graph"]
        self._ops = {name: block_ops(name, shape, precision, n_ranks) for name in block_names(shape)}
        self._rates = {
            op: _attained(op, device, calibration) for ops in self._ops.values() for op in ops if op.kind != "host"
        }
        self._per_feature = {
            op: self._parts_per_feature(op) for ops in self._ops.values() for op in ops if op.is_attention
        }

    @property
    def names(self) -> Iterable[BlockName]:
        """The kinds of block there are."""
        return self._ops

    def ops(self, name: BlockName) -> list[Op]:
        """The ops of a block, in order."""
        return self._ops[name]

    def seconds(self, name: BlockName, batch: Batch) -> list[OpSeconds]:
        """Durations without noise, attention left idle."""
        if name == "host":
            return self._host.seconds(batch, self._stream)
        of_batch = features(batch, self._shape)
        return [IDLE if op.is_attention else self._one(op, of_batch) for op in self._ops[name]]

    def attention(self, op: Op, batch: Batch) -> OpSeconds:
        """Duration of an attention op."""
        if op.kind != "attention_decode":
            return self._prefill_attention(op, batch) if batch.prefill_tokens else IDLE
        if not batch.decode_tokens:
            return IDLE
        line, context = self.decode_line(op, batch.decode_tokens), batch.decode_context
        compute_s = line.compute_s + line.compute_s_per_context * context
        return OpSeconds(line.launch_s, compute_s, line.fetch_s + line.fetch_s_per_context * context, 0.0)

    def decode_attention(self, op: Op, n_tokens: int, contexts: Integers) -> Floats:
        """Durations of a decode attention op for each of these sums of contexts, shape (4, contexts)."""
        launch_s, compute_s, per_context_s, fetch_s, fetch_per_context_s = self.decode_line(op, n_tokens)
        launch, none = np.full(contexts.shape, launch_s), np.zeros(contexts.shape)
        return np.stack(
            [launch, compute_s + per_context_s * contexts, fetch_s + fetch_per_context_s * contexts, none]
        )

    def decode_line(self, op: Op, n_tokens: int) -> Line:
        """A decode attention op for so many tokens, over the sum of their contexts."""
        of_token, of_context = self._per_feature[op]["decode_tokens"], self._per_feature[op]["decode_context"]
        compute_s, fetch_s = n_tokens * of_token[0], n_tokens * of_token[1]
        return Line(self._rates[op].fixed_s + self._launch_s, compute_s, of_context[0], fetch_s, of_context[1])

    def _prefill_attention(self, op: Op, batch: Batch) -> OpSeconds:
        """A prefill attention op, whose work is that of its tokens, pairs and entries read."""
        (tokens_c, tokens_f), (pairs_c, pairs_f), (context_c, context_f) = (
            self._per_feature[op][name] for name in ("prefill_tokens", "prefill_pairs", "prefill_context")
        )
        n_tokens, pairs, context = batch.prefill_tokens, batch.prefill_pairs, batch.prefill_context
        compute_s = n_tokens * tokens_c + pairs * pairs_c + context * context_c
        fetch_s = n_tokens * tokens_f + pairs * pairs_f + context * context_f
        return OpSeconds(self._rates[op].fixed_s + self._launch_s, compute_s, fetch_s, 0.0)

    def _parts_per_feature(self, op: Op) -> dict[str, tuple[float, float]]:
        """Compute and fetch of an attention op in seconds for one of each feature of a batch."""
        parts = {}
        for name in Batch._fields:
            of_batch = {field: float(field == name) for field in Batch._fields}
            flop, kv_bytes = value(op.flop, of_batch), value(op.kv_bytes, of_batch)
            parts[name] = parts_s(flop, kv_bytes, value(op.activation_bytes, of_batch), self._rates[op])
        return parts

    def _one(self, op: Op, of_batch: Mapping[str, float]) -> OpSeconds:
        """One op; without work it takes no time."""
        flop, weight_bytes = value(op.flop, of_batch), value(op.weight_bytes, of_batch)
        kv_bytes, activation_bytes = value(op.kv_bytes, of_batch), value(op.activation_bytes, of_batch)
        if not (flop or weight_bytes or kv_bytes or activation_bytes):
            return IDLE
        attained = self._rates[op]
        compute, fetch = parts_s(flop, weight_bytes + kv_bytes, activation_bytes, attained)
        if self._stream is not None:
            fetch = max(fetch, weight_bytes / self._stream.bytes_per_s)
        exchanged = value(op.exchange_bytes, of_batch)
        exchange = self._exchange_s(op.exchange, exchanged) if op.exchange and exchanged else 0.0
        return OpSeconds(attained.fixed_s + self._launch_s, compute, fetch, exchange)


def _attained(op: Op, device: Device, calibration: GpuCalibration) -> Rates:
    """What an op attains on a device, by its class and the bits of its operands."""
    assert op.kind != "host"
    fit = calibration.ops[op.kind][nearest_width(op.bits)]
    return rates(fit, peak_flop_per_s(device, fit.compute_bits), device.memory_bytes_per_s)


def nearest_width(bits: float) -> int:
    """The calibrated width nearest to so many bits: 16, 8 or 4 (4.25 bit, with its scales, counts as 4)."""
    return min((4, 8, 16), key=lambda width: abs(width - bits))
