"""
Attention on a device that fetches from its memory: what of an op depends on how long the contexts are.

Layers with a sliding window attend to their window only, and an op stands for the mean of the layers with and without
one.
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
        """Decoding so many tokens with this sum of contexts."""
        if not n_tokens:
            return IDLE
        parts = self._decode_parts(n_tokens, context)
        if self._windowed:
            parts = self._mean(parts, self._decode_parts(n_tokens, min(context, n_tokens * self._window)))
        return OpSeconds(self._launch_s, *parts, 0.0)

    def _decode_parts(self, n_tokens: int, context: int) -> tuple[float, float]:
        """Compute and fetch of a layer that attends to all these entries."""
        inputs = float(n_tokens * self._activation_bytes)
        flop, kv_bytes = float(self._flop * context), float(self._kv_bytes * context)
        return parts_s(self._attained, flop, kv_bytes, inputs, 0.0, 0.0, 0.0, 0.0)

    def prefill(self, batch: Batch) -> OpSeconds:
        """The prompts of a step, whose work is that of their tokens, pairs and entries read."""
        n_tokens, pairs, context = batch.prefill_tokens, batch.prefill_pairs, batch.prefill_context
        if not n_tokens:
            return IDLE
        parts = self._prefill_parts(n_tokens, pairs, context)
        if self._windowed:
            # How many prompts there are is not told: one, and its window behind it.
            seen = min(pairs, n_tokens * self._window), min(context, n_tokens + self._window)
            parts = self._mean(parts, self._prefill_parts(n_tokens, *seen))
        return OpSeconds(self._launch_s, *parts, 0.0)

    def _prefill_parts(self, n_tokens: int, pairs: int, context: int) -> tuple[float, float]:
        keys = pairs / n_tokens
        flop, kv_bytes, inputs = self._flop * pairs, self._kv_bytes * context, n_tokens * self._activation_bytes
        return parts_s(self._attained, flop, kv_bytes, inputs, 0.0, 0.0, 0.0, keys)

    def _mean(self, whole: tuple[float, float], windowed: tuple[float, float]) -> tuple[float, float]:
        """Compute and fetch of a layer on the average: some attend to everything, the others to a window."""
        share = self._windowed
        return (1 - share) * whole[0] + share * windowed[0], (1 - share) * whole[1] + share * windowed[1]
