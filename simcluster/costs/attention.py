"""
Attention on a device that fetches from its memory: the ops whose durations depend on the lengths of contexts.

Layers with a sliding window attend to their window only; an op is the mean of the layers with and without one.
"""

from __future__ import annotations

from simcluster.catalog.shapes import ModelShape, layer_windows
from simcluster.costs.blocks import IDLE, OpSeconds
from simcluster.costs.gpu import Rates, parts_s
from simcluster.work.batch import Batch
from simcluster.work.op import Op


class Attention:
    """The durations of one attention op, prefill or decode, at the rates that it attains."""

    def __init__(self, op: Op, attained: Rates, launch_s: float, shape: ModelShape) -> None:
        self._attained = attained
        self._launch_s = attained.fixed_s + launch_s
        self._flop, self._kv_bytes = op.flop.coefficient, op.kv_bytes.coefficient
        self._activation_bytes = op.activation_bytes.coefficient
        windows = [window for window in layer_windows(shape) if window is not None]
        self._windowed = len(windows) / shape.layers
        """Share of the layers that have a sliding window."""
        self._window = max(windows, default=0)

    def decode(self, n_tokens: int, context: int) -> OpSeconds:
        """Time the decoding of `n_tokens` whose contexts add up to `context`."""
        if not n_tokens:
            return IDLE
        parts = self._decode_parts(n_tokens, context)
        if self._windowed:
            parts = self._mean(parts, self._decode_parts(n_tokens, min(context, n_tokens * self._window)))
        return OpSeconds(self._launch_s, *parts, 0.0)

    def _decode_parts(self, n_tokens: int, context: int) -> tuple[float, float]:
        """Time compute and fetch of a layer that attends to all these entries."""
        inputs = float(n_tokens * self._activation_bytes)
        flop, kv_bytes = float(self._flop * context), float(self._kv_bytes * context)
        return parts_s(self._attained, flop, kv_bytes, inputs, 0.0, 0.0, 0.0, 0.0)

    def prefill(self, batch: Batch) -> OpSeconds:
        """Time the prompts of a step, whose work follows from their tokens, pairs and entries read."""
        n_tokens, pairs, context = batch.prefill_tokens, batch.prefill_pairs, batch.prefill_context
        if not n_tokens:
            return IDLE
        parts = self._prefill_parts(n_tokens, pairs, context)
        if self._windowed:
            # The batch does not say how many prompts it has: assume one, with its window before it.
            seen = min(pairs, n_tokens * self._window), min(context, n_tokens + self._window)
            parts = self._mean(parts, self._prefill_parts(n_tokens, *seen))
        return OpSeconds(self._launch_s, *parts, 0.0)

    def _prefill_parts(self, n_tokens: int, pairs: int, context: int) -> tuple[float, float]:
        keys = pairs / n_tokens
        flop, kv_bytes, inputs = self._flop * pairs, self._kv_bytes * context, n_tokens * self._activation_bytes
        return parts_s(self._attained, flop, kv_bytes, inputs, 0.0, 0.0, 0.0, keys)

    def _mean(self, whole: tuple[float, float], windowed: tuple[float, float]) -> tuple[float, float]:
        """Average compute and fetch over layers that attend to everything and layers that attend to a window."""
        share = self._windowed
        return (1 - share) * whole[0] + share * windowed[0], (1 - share) * whole[1] + share * windowed[1]
