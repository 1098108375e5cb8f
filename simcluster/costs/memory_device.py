"""Blocks on a device that fetches from its memory and computes: one rank of a group of GPUs, LPUs or RDUs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from simcluster.calibration.gpu import GpuCalibration
from simcluster.costs.batch import Batch
from simcluster.costs.blocks import IDLE, ExchangeTime, Floats, HostTime, Integers, OpSeconds, WeightStream
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
        return self._one(op, batch._asdict())

    def decode_attention(self, op: Op, n_tokens: int, contexts: Integers) -> Floats:
        """Durations of a decode attention op for each of these sums of contexts, shape (4, contexts)."""
        tokens = np.full(contexts.shape, float(n_tokens))
        of_batch: dict[str, Floats] = {"decode_tokens": tokens, "decode_context": contexts.astype(np.float64)}
        flop, kv_bytes = value(op.flop, of_batch), value(op.kv_bytes, of_batch)
        activation_bytes = value(op.activation_bytes, of_batch)
        attained = self._rates[op]
        compute, fetch = parts_s(flop, kv_bytes, activation_bytes, attained)
        launch = np.full(contexts.shape, attained.fixed_s + self._launch_s)
        return np.stack([launch, compute, fetch, np.zeros(contexts.shape)])

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
