"""Blocks on a device that fetches from its memory and computes: one rank of a group of GPUs, LPUs or RDUs."""

from __future__ import annotations

import numpy as np

from simcluster.calibration.gpu import GpuCalibration
from simcluster.costs.batch import Batch
from simcluster.costs.blocks import ExchangeTime, HostTime, OpSeconds, WeightStream
from simcluster.costs.gpu import Rates, parts_s, peak_flop_per_s, rates
from simcluster.costs.ops import BlockName, Exchange, Floats, Op, Precision, block_ops, features, matrix
from simcluster.hardware import Device
from simcluster.shapes import ModelShape


class _Block:
    """The ops of a block, their work as matrices over a batch's features, and their rates."""

    def __init__(self, ops: list[Op], rates: Rates) -> None:
        self.ops = ops
        self.rates = rates
        self._work = np.concatenate(
            [
                matrix([op.flop for op in ops]),
                matrix([op.weight_bytes for op in ops]),
                matrix([op.kv_bytes for op in ops]),
                matrix([op.activation_bytes for op in ops]),
                matrix([op.exchange_bytes for op in ops]),
            ],
            axis=1,
        )
        kinds = {op.exchange for op in ops if op.exchange}
        self.exchanges: dict[Exchange, list[int]] = {
            kind: [index for index, op in enumerate(ops) if op.exchange == kind] for kind in sorted(kinds)
        }

    def work(self, batch_features: Floats) -> Floats:
        """FLOP, weight, KV, activation and exchanged bytes, shape (5, ops)."""
        work: Floats = (batch_features @ self._work).reshape(5, -1)
        return work


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
        names: list[BlockName] = ["embedding", "dense", *(["moe"] if shape.moe else []), "head"]  # type: ignore[list-item]
        self._blocks: dict[BlockName, _Block] = {}
        for name in names:
            ops = block_ops(name, shape, precision, n_ranks)
            columns = zip(*(_rates(op, device, calibration) for op in ops), strict=True)
            self._blocks[name] = _Block(ops, Rates(*(np.array(column) for column in columns)))

    def ops(self, name: BlockName) -> list[Op]:
        """The ops of a block, in order."""
        return [Op("host", "host")] if name == "host" else self._blocks[name].ops

    def seconds(self, name: BlockName, batch: Batch) -> OpSeconds:
        """Durations without noise, shape (ops,) each."""
        if name == "host":
            return self._host.seconds(batch, self._stream)
        block = self._blocks[name]
        flop, weight, kv, activation, exchanged = block.work(features(batch, self._shape))
        fixed, compute, fetch = parts_s(flop, weight + kv, activation, block.rates)
        if self._stream is not None:
            fetch = np.maximum(fetch, weight / self._stream.bytes_per_s)
        launch = fixed + np.where(fixed > 0, self._launch_s, 0.0)
        exchange = np.zeros(len(block.ops))
        for kind, index in block.exchanges.items():
            exchange[index] = self._exchange_s(kind, exchanged[index])
        return OpSeconds(launch, compute, fetch, exchange)


def _rates(op: Op, device: Device, calibration: GpuCalibration) -> Rates:
    """What an op attains on a device, by its class and the bits of its operands."""
    assert op.kind != "host"
    fit = calibration.ops[op.kind][nearest_width(op.bits)]
    return rates(fit, peak_flop_per_s(device, fit.compute_bits), device.memory_bytes_per_s)


def nearest_width(bits: float) -> int:
    """The calibrated width nearest to so many bits: 16, 8 or 4 (4.25 bit, with its scales, counts as 4)."""
    return min((4, 8, 16), key=lambda width: abs(width - bits))
