"""
Attention on a device that fetches from its memory: what of an op depends on how long the contexts are.

Decoding is a straight line over the sum of contexts, plus a root of it where bandwidth is reached with size; so are
successive steps of a batch, found all at once. Layers with a sliding window attend to their window only, and an op
stands for the mean of the layers with and without one.
"""

from __future__ import annotations

import numpy as np

from simcluster.costs.batch import Batch
from simcluster.costs.blocks import IDLE, Floats, Integers, Line, OpSeconds
from simcluster.costs.gpu import Rates, Work, parts_s
from simcluster.costs.ops import Op
from simcluster.shapes import ModelShape, layer_windows


class Attention:
    """The durations of one attention op, prefill or decode, at the rates that it attains."""

    def __init__(self, op: Op, attained: Rates, launch_s: float, shape: ModelShape) -> None:
        self._attained = attained
        self._launch_s = attained.fixed_s + launch_s
        ((_, self._flop),) = op.flop.items()
        ((_, self._kv_bytes),) = op.kv_bytes.items()
        ((_, self._activation_bytes),) = op.activation_bytes.items()
        windows = [window for window in layer_windows(shape) if window is not None]
        self._windowed = len(windows) / shape.layers
        """Share of the layers that have a sliding window."""
        self._window = max(windows, default=0)
        is_serial = attained.fetched_share == 0
        self._is_line = not (self._windowed or attained.passage or (attained.ramp_bytes and is_serial))

    def line(self, n_tokens: int) -> Line | None:
        """Decoding so many tokens, over the sum of their contexts; None if that is no line, nor one and its root."""
        if not self._is_line:
            return None
        attained, activation_bytes = self._attained, n_tokens * self._activation_bytes
        serial_s = activation_bytes / attained.input_bytes_per_s
        return Line(
            self._launch_s,
            serial_s,
            self._flop / attained.flop_per_s,
            serial_s + attained.fetched_share * activation_bytes / attained.bytes_per_s,
            self._kv_bytes / attained.bytes_per_s,
            attained.ramp_bytes / attained.bytes_per_s,
        )

    def decode(self, n_tokens: int, contexts: Integers) -> Floats:
        """Decoding so many tokens with each of these sums of contexts, shape (4, contexts)."""
        context: Floats = contexts.astype(np.float64)
        launch, none = np.full(contexts.shape, self._launch_s), np.zeros(contexts.shape)
        if (line := self.line(n_tokens)) is not None:
            compute = line.compute_s + line.compute_s_per_context * context
            return np.stack([launch, compute, line.fetches_s(context), none])
        parts = self._decode_parts(n_tokens, context)
        if self._windowed:
            window = self._decode_parts(n_tokens, np.minimum(context, n_tokens * self._window))
            parts = [(1 - self._windowed) * a + self._windowed * b for a, b in zip(parts, window, strict=True)]
        return np.stack([launch, *parts, none])

    def _decode_parts(self, n_tokens: int, context: Floats) -> list[Floats]:
        """Compute and fetch of a layer that attends to all these entries."""
        none = np.zeros(context.shape)
        inputs = np.full(context.shape, n_tokens * self._activation_bytes)
        work = Work(self._flop * context, self._kv_bytes * context, inputs, none, none, none, none)
        return list(parts_s(work, self._attained))

    def decode_one(self, n_tokens: int, context: int) -> OpSeconds:
        """The same with one sum of contexts."""
        if not n_tokens:
            return IDLE
        if (line := self.line(n_tokens)) is None:
            return OpSeconds(*self.decode(n_tokens, np.array([context]))[:, 0].tolist())
        compute_s = line.compute_s + line.compute_s_per_context * context
        return OpSeconds(line.launch_s, compute_s, line.fetches_s(context), 0.0)

    def prefill(self, batch: Batch) -> OpSeconds:
        """The prompts of a step, whose work is that of their tokens, pairs and entries read."""
        n_tokens, pairs, context = batch.prefill_tokens, batch.prefill_pairs, batch.prefill_context
        if not n_tokens:
            return IDLE
        compute_s, fetch_s = self._prefill_parts(n_tokens, pairs, context)
        if self._windowed:
            share, window = self._windowed, self._window
            # How many prompts there are is not told: one, and its window behind it.
            seen = min(pairs, n_tokens * window), min(context, n_tokens + window)
            of_window = self._prefill_parts(n_tokens, *seen)
            compute_s, fetch_s = (
                (1 - share) * a + share * b for a, b in zip((compute_s, fetch_s), of_window, strict=True)
            )
        return OpSeconds(self._launch_s, compute_s, fetch_s, 0.0)

    def _prefill_parts(self, n_tokens: int, pairs: float, context: float) -> tuple[float, float]:
        keys = pairs / n_tokens
        flop, kv_bytes, inputs = self._flop * pairs, self._kv_bytes * context, n_tokens * self._activation_bytes
        return parts_s(Work(flop, kv_bytes, inputs, 0.0, 0.0, 0.0, keys), self._attained)
