"""Blocks on a device that fetches from its memory and computes: one rank of a group of GPUs, LPUs or RDUs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import fsum

from simcluster.catalog.calibration.gpu import GpuCalibration, OpClass
from simcluster.catalog.device import Device
from simcluster.catalog.shapes import ModelShape
from simcluster.costs.attention import Attention
from simcluster.costs.blocks import IDLE, ExchangeTime, HostTime, OpSeconds, WeightStream
from simcluster.costs.gpu import Rates, parts_s, peak_flop_per_s, rates
from simcluster.work.batch import Batch
from simcluster.work.op import ACTIVATION_BYTES, Op, features
from simcluster.work.programs import BlockName, RankWork

OpTime = Callable[[Mapping[str, float]], OpSeconds]
"""The duration of an op, from the features of a batch."""


class MemoryDevice:
    """
    Blocks on one rank of a tensor-parallel group; all ranks do the same work.

    Streamed weights pass over their link while the op computes; the slower of memory and link counts.
    """

    def __init__(
        self,
        work: RankWork,
        device: Device,
        calibration: GpuCalibration,
        launch: str,
        host: HostTime,
        exchange_s: ExchangeTime,
        stream: WeightStream | None = None,
        skew_s: float = 0.0,
    ) -> None:
        """Fit the ops to the device; `skew_s` is the time for which ranks wait for the last one at a collective."""
        shape, block_scales = work.shape, work.precision.block_scales
        self._shape = shape
        self._skew_s = skew_s
        self._host_s = calibration.eager_host_s if launch == "eager" else 0.0
        self._passes = calibration.eager_passes if launch == "eager" else 1.0
        self._slowdown = (calibration.sustained_slowdown, calibration.sustained_from)
        self._host = host
        self._stream = stream
        self._exchange_s = exchange_s
        self._launch_s = calibration.launch_s["eager" if launch == "eager" else "graph"]
        self._ops = work.blocks()
        ops = [op for block in self._ops.values() for op in block]
        self._rates = {op: _attained(op, shape, device, calibration, block_scales) for op in ops if op.kind != "host"}
        self._times = {name: [self._time(op) for op in block] for name, block in self._ops.items() if name != "host"}
        self._attention = {op: Attention(op, self._rates[op], self._launch_s, shape) for op in ops if op.is_attention}

    decode_attention = None
    """Its durations are smooth."""

    def ops(self, name: BlockName) -> list[Op]:
        """List the ops of a block, in order."""
        return self._ops[name]

    def seconds(self, name: BlockName, batch: Batch, n_experts: float | None = None) -> list[OpSeconds]:
        """Find durations without noise, attention left idle; `n_experts` of a layer are touched."""
        if name == "host":
            return self._host.seconds(batch, self._stream)
        of_batch = features(batch, self._shape, n_experts)
        rows = [time(of_batch) for time in self._times[name]]
        rows = _under_load(rows, *self._slowdown) if self._slowdown[0] else rows
        return self._launched(rows) if self._host_s else rows

    def _launched(self, rows: list[OpSeconds]) -> list[OpSeconds]:
        """
        Delay the first op of a block that is launched op by op, by the time that the host is slower than the device.

        The host runs ahead within a block. Attention is timed elsewhere; here it counts as one launch without work.
        """
        n_launched = sum(any(row) for row in rows) + any(not any(row) for row in rows)
        busy = fsum(row.total for row in rows)
        missing = n_launched * self._host_s - busy
        if missing <= 0 or not any(rows[0]):
            return rows
        return [rows[0]._replace(launch=rows[0].launch + missing), *rows[1:]]

    def attention(self, op: Op, batch: Batch) -> OpSeconds:
        """Find the duration of an attention op."""
        if op.kind != "attention_decode":
            return self._attention[op].prefill(batch)
        return self._attention[op].decode(batch.decode_tokens, batch.decode_context)

    def _time(self, op: Op) -> OpTime:
        """Make the function that times an op; attention is left idle, and an op without work takes no time."""
        if op.is_attention:
            return lambda of_batch: IDLE
        attained, stream, kind, exchange_s = self._rates[op], self._stream, op.exchange, self._exchange_s
        start_s = attained.fixed_s + self._launch_s
        late_s = start_s + self._skew_s
        (vectors, input_bytes, output_bytes, rows), reduction = self._vectors(op), float(op.in_features)
        (flop_of, flop), (weights_of, weight_bytes), (sent, sent_bytes) = op.flop, op.weight_bytes, op.exchange_bytes

        def time(of_batch: Mapping[str, float]) -> OpSeconds:
            n, weights = of_batch[vectors], weight_bytes * of_batch[weights_of]
            if not (n or weights):
                return IDLE
            sizes = (input_bytes * n, output_bytes * n, rows * n, reduction, 0.0)
            compute, fetch = parts_s(attained, flop * of_batch[flop_of], weights, *sizes)
            if stream is not None:
                fetch = max(fetch, weights / stream.bytes_per_s)
            n_bytes = sent_bytes * of_batch[sent]
            exchange = exchange_s(kind, n_bytes) if n_bytes else 0.0
            return OpSeconds(late_s if exchange else start_s, compute, fetch, exchange)

        return time

    def _vectors(self, op: Op) -> tuple[str, float, float, float]:
        """Describe the vectors that pass an op: their feature, bytes of each read and written, rows of a product."""
        vectors, n_bytes = op.activation_bytes
        if op.kind == "gemm":
            read = float(op.in_features * ACTIVATION_BYTES)
            return vectors, read, n_bytes - read, 1.0
        if op.kind == "moe":
            return vectors, n_bytes, float(self._shape.hidden * ACTIVATION_BYTES), 0.0
        passes = self._passes if op.kind == "elementwise" else 1.0
        return vectors, passes * n_bytes, 0.0, 0.0


def _under_load(rows: list[OpSeconds], slowdown: float, from_share: float) -> list[OpSeconds]:
    """
    Slow down the arithmetic of a block that computes most of the time, as its device lowers its clock.

    A device at its power limit lowers its clock; fetches and exchanges need less power. The kernel tables were
    measured in bursts, which end before that.
    """
    total = computing = 0.0
    for launch, compute, fetch, exchange in rows:
        total += launch + (compute if compute > fetch else fetch) + exchange
        if compute > fetch:
            computing += compute
    if computing <= from_share * total:
        return rows
    factor = 1 + slowdown * (computing / total - from_share) / (1 - from_share)
    return [row._replace(compute=row.compute * factor) if row.compute > row.fetch else row for row in rows]


def _attained(op: Op, shape: ModelShape, device: Device, calibration: GpuCalibration, block_scales: bool) -> Rates:
    """Find the rates of an op on a device, by its class and the bits of its operands."""
    fit = calibration.ops[op_class(op, shape, calibration, block_scales)][nearest_width(op.bits)]
    return rates(fit, peak_flop_per_s(device, fit.compute_bits), device.memory_bytes_per_s)


def op_class(op: Op, shape: ModelShape, calibration: GpuCalibration, block_scales: bool) -> OpClass:
    """Find the class whose constants an op uses: a special case of its kind if the device has constants for it."""
    assert op.kind != "host"
    special: str = ""
    if op.is_attention:
        special = "latent" if shape.mla else "64" if shape.head_dim <= 64 else ""
    elif op.kind in ("gemm", "moe") and block_scales:
        special = "block"
    elif op.kind == "elementwise":
        name = "norm" if "norm" in op.name else "activation" if "activation" in op.name else ""
        return name if nearest_width(op.bits) in calibration.ops.get(name, {}) else op.kind  # type: ignore[call-overload, return-value]
    found = f"{op.kind}_{special}"
    return found if nearest_width(op.bits) in calibration.ops.get(found, {}) else op.kind  # type: ignore[call-overload, return-value]


def nearest_width(bits: float) -> int:
    """Find the calibrated width nearest to `bits`: 16, 8 or 4 (4.25 bit, scales included, counts as 4)."""
    return min((4, 8, 16), key=lambda width: abs(width - bits))
