"""A pipeline stage's durations: its blocks in a row, in ticks, without noise."""

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
"""What a fetch that takes longer than the arithmetic is, by class of op; activations count as compute."""

KNOTS = tuple(accumulate(range(150), lambda knot, _: knot + max(1, knot // 8), initial=1))
"""
Mean contexts between which attention is a chord, an eighth apart: as long as the costs say at both ends, and straight
in between. On the root of its size that it is fitted with, that is less than a thousandth off.
"""

_CLEAR_S = 4 / TICKS_PER_S
"""A difference between durations that no rounding turns around."""


_FINEST_BITS = 20
"""Parts of a tick are 2^-20 of it."""
_STEPS_AHEAD = 64
_BATCHES_AHEAD = 256
"""Of which the next steps are kept; so many can be under way in a pipeline."""


_RAMP = np.arange(512)


class Line(NamedTuple):
    """Ticks over the sum of contexts, in whole parts of a tick, so that steps one by one are those of a run."""

    parts: int
    """At no context, with half a tick for rounding."""
    per_context: int
    shift: int
    """By so many bits parts are finer than ticks."""

    def at(self, context: int) -> int:
        """Rounded."""
        return self.parts + self.per_context * context >> self.shift

    def along(self, context: int, n: int, n_steps: int) -> Ticks:
        """Of successive steps, n entries further each, shape (n_steps,)."""
        first, growth = self.parts + self.per_context * context, self.per_context * n
        if first > MAX_TICK or first + growth * n_steps > MAX_TICK:
            raise OverflowError("a duration of more than ticks can hold")
        ramp = _RAMP[:n_steps] if n_steps <= len(_RAMP) else np.arange(n_steps)
        ticks: Ticks = ramp * growth
        ticks += first
        ticks >>= self.shift
        return ticks


def _line(low: int, high: int, low_s: float, high_s: float) -> Line:
    """Through two points; parts leave 128 times the greater duration in 64 bits."""
    greater = max(abs(low_s), abs(high_s)) * TICKS_PER_S
    shift = max(0, min(_FINEST_BITS, 56 - int(greater).bit_length()))
    slope = (high_s - low_s) / (high - low)
    scale = TICKS_PER_S * 2**shift
    return Line(round((low_s - slope * low) * scale) + (1 << shift >> 1), round(slope * scale), shift)


class Chord(NamedTuple):
    """A decode attention op for so many tokens over the sum of their contexts, from one knot to the next."""

    compute: Line
    fetch: Line
    longer: str
    """Which of the two is the longer all along, or `either`."""


class TimedBlocks:
    """
    Durations of the blocks of a device in ticks, each op's rounded once.

    What depends on the numbers of tokens only is kept, since decode repeats it; and attention of the last batches is
    kept, since all stages of a pipeline ask for the same.
    """

    def __init__(self, costs: BlockCosts) -> None:
        self.costs = costs
        self.rows = lru_cache(maxsize=8192)(self._rows)
        self._launch = lru_cache(maxsize=8192)(self._launch_of)
        self._prefill_attention = lru_cache(maxsize=256)(self._prefill_attention_of)
        self._decode_attention = lru_cache(maxsize=64)(self._decode_attention_of)
        self._chord = lru_cache(maxsize=8192)(self._chord_of)
        self._ahead: dict[tuple[Op, int, int], list[OpRow]] = {}
        """By op, tokens and contexts of the step that is expected next: its row and later ones, the next one last."""

    def _rows(self, name: BlockName, tokens: Batch) -> list[OpRow]:
        """A block for so many tokens; of its attention only what does not depend on contexts: a chord's launch."""
        rows = [_in_ticks(seconds) for seconds in self.costs.seconds(name, tokens)]
        if tokens.decode_tokens and self.costs.decode_attention is None:
            for index, op in enumerate(self.costs.ops(name)):
                if op.kind == "attention_decode":
                    rows[index] = self._launch(op, tokens.decode_tokens)
        return rows

    def _launch_of(self, op: Op, n: int) -> OpRow:
        """Launching a decode attention op for so many tokens."""
        return OpRow(to_ticks(self.costs.attention(op, Batch(n, n)).launch), 0, 0, 0, 0)

    def attention(self, op: Op, batch: Batch) -> OpRow:
        """What of an attention op depends on the contexts of a batch."""
        if op.kind != "attention_decode":
            n_tokens, pairs, context = batch.prefill_tokens, batch.prefill_pairs, batch.prefill_context
            return self._prefill_attention(op, n_tokens, pairs, context) if n_tokens else NO_WORK
        n_tokens = batch.decode_tokens
        return self._decode_attention(op, n_tokens, batch.decode_context) if n_tokens else NO_WORK

    def _prefill_attention_of(self, op: Op, n_tokens: int, pairs: int, context: int) -> OpRow:
        """A prefill attention op for so many tokens, query-key pairs and entries read."""
        return _in_ticks(self.costs.attention(op, Batch(0, 0, n_tokens, pairs, context)))

    def _decode_attention_of(self, op: Op, n: int, context: int) -> OpRow:
        """
        A decode attention op for so many tokens and this sum of contexts.

        One that is no chord and whose contexts have grown by a token each since it was asked for last is expected to
        go on so: the next steps are found together, which takes hardly longer than one.
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
        if len(self._ahead) == _BATCHES_AHEAD:
            del self._ahead[next(iter(self._ahead))]
        self._ahead[op, n, context + n] = rows
        return found

    def run(self, op: Op, batch: Batch, n_steps: int) -> OpRow:
        """A decode attention op in successive decode steps of one batch, whose contexts grow by a token each."""
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
        """The chord of a decode attention op for so many tokens from a knot on."""
        low, high = KNOTS[stretch] * n, KNOTS[stretch + 1] * n
        first, last = (self.costs.attention(op, Batch(n, context)) for context in (low, high))
        compute, fetch = (_line(low, high, first[part], last[part]) for part in (1, 2))
        more_s = [end.compute - end.fetch for end in (first, last)]
        longer = "compute" if min(more_s) > _CLEAR_S else "fetch" if max(more_s) < -_CLEAR_S else "either"
        return Chord(compute, fetch, longer)


def _stretch(mean_context: int) -> int:
    """The number of the knot at or before a mean context, the first or the last but one beyond them."""
    return bisect_right(KNOTS, mean_context, 1, len(KNOTS) - 1) - 1


def _along(chord: Chord, context: int, n: int, n_steps: int) -> OpRow:
    """Compute and fetch along a chord, n entries further each step; the one shorter all along is left 0."""
    compute = chord.compute.along(context, n, n_steps) if chord.longer != "fetch" else 0
    fetch = chord.fetch.along(context, n, n_steps) if chord.longer != "compute" else 0
    return OpRow(0, compute, fetch, 0, 0)


def _joined(before: OpRow, n_before: int, later: OpRow, n_later: int) -> OpRow:
    """Two runs in a row."""
    parts = [
        np.concatenate([np.broadcast_to(a, n_before), np.broadcast_to(b, n_later)])
        for a, b in zip(before[1:3], later[1:3], strict=True)
    ]
    return OpRow(0, parts[0], parts[1], 0, 0)


def _in_ticks(seconds: OpSeconds) -> OpRow:
    """One op's durations, each rounded once."""
    if seconds is IDLE:
        return NO_WORK
    launch, compute, fetch, exchange = seconds
    return OpRow(to_ticks(launch), to_ticks(compute), to_ticks(fetch), 0, to_ticks(exchange) if exchange else 0)


class BlockStage:
    """A stage as a row of blocks; the ops of equal blocks are of one kind each."""

    def __init__(self, timed: TimedBlocks, blocks: Sequence[BlockName]) -> None:
        self._timed = timed
        self._names = tuple(Counter(blocks))
        ops = {name: timed.costs.ops(name) for name in self._names}
        kinds = [op for name in self._names for op in ops[name]]
        ends = list(accumulate(map(len, ops.values())))
        numbers = {name: range(end - len(ops[name]), end) for name, end in zip(self._names, ends, strict=True)}
        self.kind_of_op: tuple[int, ...] = tuple(chain.from_iterable(numbers[name] for name in blocks))
        """For every op of the stage in order its kind."""
        self.fetch_components: tuple[int, ...] = tuple(COMPONENT[FETCH_COMPONENT[op.kind]] for op in kinds)
        """By kind."""
        self._decoding = [(kind, op) for kind, op in enumerate(kinds) if op.kind == "attention_decode"]
        self._prefilling = [(kind, op) for kind, op in enumerate(kinds) if op.kind == "attention_prefill"]
        self.all_ops: tuple[Op, ...] = tuple(chain.from_iterable(ops[name] for name in blocks))
        """The ops in order, all layers."""

    def rows(self, tokens: Batch) -> list[OpRow]:
        """Durations of each kind of op for so many tokens, attention left idle."""
        decoding, _, prompts, *_, outputs, sequences = tokens
        vectors = Batch(decoding, 0, prompts)
        # What the other two depend on comes again with many numbers of tokens.
        apart: dict[str, Batch] = {
            "host": Batch(0, 0, 0, 0, 0, 0, sequences),
            "head": Batch(0, 0, 0, 0, 0, outputs),
        }
        return [row for name in self._names for row in self._timed.rows(name, apart.get(name, vectors))]

    def context_rows(self, batch: Batch) -> list[tuple[int, OpRow]]:
        """Durations of the kinds of attention op for a batch, those without work left out."""
        ops = self._decoding if batch.decode_tokens else []
        if batch.prefill_tokens:
            ops = ops + self._prefilling
        return [(kind, self._timed.attention(op, batch)) for kind, op in ops]

    def run_rows(self, batch: Batch, n_steps: int) -> list[tuple[int, OpRow]]:
        """The same in successive decode steps of one batch."""
        return [(kind, self._timed.run(op, batch, n_steps)) for kind, op in self._decoding]
