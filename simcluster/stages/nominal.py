"""Durations of a pipeline stage without noise, in ticks: the sum of its blocks."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate, chain
from typing import NamedTuple

import numpy as np

from simcluster.costs.blocks import IDLE, BlockCosts, OpSeconds
from simcluster.numerics.ticks import MAX_TICK, TICKS_PER_S, Ticks, array_to_ticks, to_ticks
from simcluster.stages.timed import NO_WORK, OpRow
from simcluster.trace.columns import COMPONENT
from simcluster.work.batch import Batch
from simcluster.work.op import Op
from simcluster.work.programs import BlockName

FETCH_COMPONENT = {
    "gemm": "weight_fetch", "moe": "weight_fetch", "embedding": "weight_fetch", "attention_prefill": "kv_fetch",
    "attention_decode": "kv_fetch", "elementwise": "compute", "host": "compute",
}  # fmt: skip
"""Component of a memory-bound op's fetch time, by op kind; fetching activations counts as compute."""

KNOTS = tuple(accumulate(range(150), lambda knot, _: knot + max(1, knot // 8), initial=1))
"""
Mean contexts, an eighth apart, between which the duration of decode attention is interpolated linearly.

It equals the costs at every knot; in between, for the fitted law (a root of the size), the error stays below 0.1 %.
"""

_CLEAR_S = 4 / TICKS_PER_S
"""A difference between durations whose sign no rounding changes."""
_MAX_FRACTION_BITS = 20
"""Finest resolution of a `Line`: 2^-20 ticks."""
_STEPS_AHEAD = 64
_MAX_BATCHES_AHEAD = 256
"""Batches whose next steps are cached: as many as can be under way in a pipeline."""
_RAMP = np.arange(512)


class Line(NamedTuple):
    """
    Ticks as a linear function of the sum of contexts, in fixed-point integers.

    Integers make single steps and vectorised runs of steps agree to the tick.
    """

    intercept: int
    """Value at context 0 plus half a tick for rounding, in 2^-shift ticks."""
    per_context: int
    """Slope in 2^-shift ticks per KV entry."""
    shift: int
    """Number of fraction bits."""

    def at(self, context: int) -> int:
        """Ticks at a sum of contexts, rounded."""
        return self.intercept + self.per_context * context >> self.shift

    def along(self, context: int, n: int, n_steps: int) -> Ticks:
        """
        Ticks of successive steps in which the sum of contexts grows by n each, shape (n_steps,).

        Raises:
            OverflowError: an intermediate value does not fit in 63 bits.
        """
        first, growth = self.intercept + self.per_context * context, self.per_context * n
        if first > MAX_TICK or first + growth * n_steps > MAX_TICK:
            raise OverflowError("a duration is longer than ticks can count")
        ramp = _RAMP[:n_steps] if n_steps <= len(_RAMP) else np.arange(n_steps)
        ticks: Ticks = ramp * growth
        ticks += first
        ticks >>= self.shift
        return ticks


def _line(low: int, high: int, low_s: float, high_s: float) -> Line:
    """Line through two points; its resolution leaves room for 128 times the longer duration in 64 bits."""
    greater = max(abs(low_s), abs(high_s)) * TICKS_PER_S
    shift = max(0, min(_MAX_FRACTION_BITS, 56 - int(greater).bit_length()))
    slope = (high_s - low_s) / (high - low)
    scale = TICKS_PER_S * 2**shift
    return Line(round((low_s - slope * low) * scale) + (1 << shift >> 1), round(slope * scale), shift)


class Chord(NamedTuple):
    """Duration of a decode attention op for a fixed number of tokens, over the sum of contexts between two knots."""

    compute: Line
    fetch: Line
    longer: str
    """`compute` or `fetch`, whichever is longer over the whole interval; `either` when they cross or are close."""


class TimedBlocks:
    """
    Durations of a device's blocks in ticks, each op rounded once.

    Durations that depend on token counts only are cached, since decode repeats them; so is attention of the latest
    batches, since all stages of a pipeline need the same.
    """

    def __init__(self, costs: BlockCosts) -> None:
        self.costs = costs
        self.rows = lru_cache(maxsize=8192)(self._rows)
        self._launch = lru_cache(maxsize=8192)(self._launch_of)
        self._prefill_attention = lru_cache(maxsize=256)(self._prefill_attention_of)
        self._decode_attention = lru_cache(maxsize=64)(self._decode_attention_of)
        self._chord = lru_cache(maxsize=8192)(self._chord_of)
        self._ahead: dict[tuple[Op, int, int], list[OpRow]] = {}
        """Rows computed in advance, the next one last; keyed by op, tokens and contexts of the step expected next."""

    def _rows(self, name: BlockName, tokens: Batch) -> list[OpRow]:
        """Compute the rows of a block; of its attention only the part that does not depend on contexts."""
        rows = [_in_ticks(seconds) for seconds in self.costs.seconds(name, tokens)]
        if tokens.decode_tokens and self.costs.decode_attention is None:
            for index, op in enumerate(self.costs.ops(name)):
                if op.kind == "attention_decode":
                    rows[index] = self._launch(op, tokens.decode_tokens)
        return rows

    def _launch_of(self, op: Op, n: int) -> OpRow:
        """Launch part of a decode attention op for n tokens."""
        return OpRow(to_ticks(self.costs.attention(op, Batch(n, n)).launch), 0, 0, 0, 0)

    def attention(self, op: Op, batch: Batch) -> OpRow:
        """Compute the part of an attention op that depends on the contexts of a batch."""
        if op.kind != "attention_decode":
            n_tokens, pairs, context = batch.prefill_tokens, batch.prefill_pairs, batch.prefill_context
            return self._prefill_attention(op, n_tokens, pairs, context) if n_tokens else NO_WORK
        n_tokens = batch.decode_tokens
        return self._decode_attention(op, n_tokens, batch.decode_context) if n_tokens else NO_WORK

    def _prefill_attention_of(self, op: Op, n_tokens: int, pairs: int, context: int) -> OpRow:
        """Compute a prefill attention op from its tokens, query-key pairs and KV entries read."""
        return _in_ticks(self.costs.attention(op, Batch(0, 0, n_tokens, pairs, context)))

    def _decode_attention_of(self, op: Op, n: int, context: int) -> OpRow:
        """
        Compute a decode attention op for n tokens with this sum of contexts.

        Without interpolation, a batch whose contexts grew by one token each since its last step is expected to go on
        so: its next steps are computed together, which takes hardly longer than computing one.
        """
        if self.costs.decode_attention is None:
            chord = self._chord(op, n, _stretch(context // n))
            return OpRow(0, chord.compute.at(context), chord.fetch.at(context), 0, 0)
        rows = self._ahead.pop((op, n, context), None)
        if rows is None:
            rows = [_in_ticks(self.costs.attention(op, Batch(n, context)))]
        elif not rows:
            launch, compute, fetch, _, exchange = self.run(op, Batch(n, context), _STEPS_AHEAD)
            columns = np.stack([launch, compute, fetch, np.zeros_like(launch), exchange])
            rows = [OpRow(*row) for row in columns.T[::-1].tolist()]
        found = rows.pop()
        if len(self._ahead) == _MAX_BATCHES_AHEAD:
            del self._ahead[next(iter(self._ahead))]
        self._ahead[op, n, context + n] = rows
        return found

    def run(self, op: Op, batch: Batch, n_steps: int) -> OpRow:
        """Compute a decode attention op over successive decode steps of one batch; contexts grow by one a step."""
        n, context = batch.decode_tokens, batch.decode_context
        if self.costs.decode_attention is not None:
            contexts = context + n * np.arange(n_steps)
            launch, compute, fetch, exchange = array_to_ticks(self.costs.decode_attention(op, n, contexts))
            return OpRow(launch, compute, fetch, 0, exchange)
        stretch = _stretch(context // n)
        left = KNOTS[stretch + 1] - context // n
        if n_steps > left:
            rest = self.run(op, Batch(n, context + n * left), n_steps - left)
            return _joined(self.run(op, batch, left), left, rest, n_steps - left)
        return _along(self._chord(op, n, stretch), context, n, n_steps)

    def _chord_of(self, op: Op, n: int, stretch: int) -> Chord:
        """Interpolate a decode attention op for n tokens from knot number `stretch` to the next."""
        low, high = KNOTS[stretch] * n, KNOTS[stretch + 1] * n
        first, last = (self.costs.attention(op, Batch(n, context)) for context in (low, high))
        compute, fetch = (_line(low, high, first[part], last[part]) for part in (1, 2))
        more_s = [end.compute - end.fetch for end in (first, last)]
        longer = "compute" if min(more_s) > _CLEAR_S else "fetch" if max(more_s) < -_CLEAR_S else "either"
        return Chord(compute, fetch, longer)


def _stretch(mean_context: int) -> int:
    """Find the number of the knot at or before a mean context, clipped to the first and the last but one."""
    return bisect_right(KNOTS, mean_context, 1, len(KNOTS) - 1) - 1


def _along(chord: Chord, context: int, n: int, n_steps: int) -> OpRow:
    """Evaluate a chord at successive steps, n entries apart; a part that is always the shorter one is left 0."""
    compute = chord.compute.along(context, n, n_steps) if chord.longer != "fetch" else 0
    fetch = chord.fetch.along(context, n, n_steps) if chord.longer != "compute" else 0
    return OpRow(0, compute, fetch, 0, 0)


def _joined(before: OpRow, n_before: int, later: OpRow, n_later: int) -> OpRow:
    """Concatenate two runs."""
    parts = [
        np.concatenate([np.broadcast_to(a, n_before), np.broadcast_to(b, n_later)])
        for a, b in zip(before[1:3], later[1:3], strict=True)
    ]
    return OpRow(0, parts[0], parts[1], 0, 0)


def _in_ticks(seconds: OpSeconds) -> OpRow:
    """Round each duration of an op to ticks."""
    if seconds is IDLE:
        return NO_WORK
    launch, compute, fetch, exchange = seconds
    return OpRow(to_ticks(launch), to_ticks(compute), to_ticks(fetch), 0, to_ticks(exchange) if exchange else 0)


class BlockStage:
    """A stage as a sequence of blocks; an op that repeats in equal blocks is one kind."""

    def __init__(self, timed: TimedBlocks, blocks: Sequence[BlockName]) -> None:
        self._timed = timed
        self._names = tuple(Counter(blocks))
        ops = {name: timed.costs.ops(name) for name in self._names}
        kinds = [op for name in self._names for op in ops[name]]
        ends = list(accumulate(map(len, ops.values())))
        numbers = {name: range(end - len(ops[name]), end) for name, end in zip(self._names, ends, strict=True)}
        self.kind_of_op: tuple[int, ...] = tuple(chain.from_iterable(numbers[name] for name in blocks))
        """Kind of every op of the stage, in order."""
        self.fetch_components: tuple[int, ...] = tuple(COMPONENT[FETCH_COMPONENT[op.kind]] for op in kinds)
        """Component of a memory-bound op's fetch time, by kind."""
        self._decoding = [(kind, op) for kind, op in enumerate(kinds) if op.kind == "attention_decode"]
        self._prefilling = [(kind, op) for kind, op in enumerate(kinds) if op.kind == "attention_prefill"]
        self.all_ops: tuple[Op, ...] = tuple(chain.from_iterable(ops[name] for name in blocks))
        """Ops of all layers, in order."""

    def rows(self, tokens: Batch) -> list[OpRow]:
        """Durations of each kind of op by token counts; attention kinds only carry their launch."""
        decoding, _, prompts, *_, outputs, sequences = tokens
        vectors = Batch(decoding, 0, prompts)
        # Host and head depend on counts that repeat across many token counts: ask with these alone to hit the cache.
        apart: dict[str, Batch] = {
            "host": Batch(0, 0, 0, 0, 0, 0, sequences),
            "head": Batch(0, 0, 0, 0, 0, outputs),
        }
        return [row for name in self._names for row in self._timed.rows(name, apart.get(name, vectors))]

    def context_rows(self, batch: Batch) -> list[tuple[int, OpRow]]:
        """Context-dependent durations of the attention kinds for a batch; kinds without work are left out."""
        ops = self._decoding if batch.decode_tokens else []
        if batch.prefill_tokens:
            ops = ops + self._prefilling
        return [(kind, self._timed.attention(op, batch)) for kind, op in ops]

    def run_rows(self, batch: Batch, n_steps: int) -> list[tuple[int, OpRow]]:
        """Context-dependent durations over successive decode steps of one batch."""
        return [(kind, self._timed.run(op, batch, n_steps)) for kind, op in self._decoding]
