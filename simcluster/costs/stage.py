"""A pipeline stage's durations: its blocks in a row, in ticks, without noise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np

from simcluster.costs.batch import Batch
from simcluster.costs.blocks import BlockCosts, OpSeconds
from simcluster.costs.ops import BlockName, Op
from simcluster.costs.service import Charge, OpTicks
from simcluster.placement import StageLayers
from simcluster.ticks import Ticks, array_to_ticks, to_ticks
from simcluster.trace import COMPONENT, COMPONENTS

FETCH_COMPONENT = {
    "gemm": "weight_fetch", "moe": "weight_fetch", "embedding": "weight_fetch", "attention_prefill": "kv_fetch",
    "attention_decode": "kv_fetch", "elementwise": "compute", "host": "compute",
}  # fmt: skip
"""What a fetch that takes longer than the arithmetic is, by class of op; activations count as compute."""

OpRow = tuple[int, int, int, int]
"""Launch, compute, fetch and exchange of one op in ticks."""


_COMPUTE, _KV_FETCH = COMPONENT["compute"], COMPONENT["kv_fetch"]
_LAUNCH, _EXCHANGE = COMPONENT["launch_host"], COMPONENT["interconnect"]


class TimedBlocks:
    """
    Durations of the blocks of a device in ticks, each op's rounded once.

    What depends on the numbers of tokens only is kept, since decode repeats it; and attention of the last batches is
    kept, since all stages of a pipeline ask for the same.
    """

    def __init__(self, costs: BlockCosts) -> None:
        self.costs = costs
        self.attention = {
            name: [(index, op) for index, op in enumerate(costs.ops(name)) if op.is_attention] for name in costs.names
        }
        """The attention ops of each block with their places."""
        self.without_attention = lru_cache(maxsize=8192)(self._without_attention)
        self.attention_rows = lru_cache(maxsize=256)(self._attention_rows)

    def _without_attention(self, name: BlockName, tokens: Batch) -> list[OpRow]:
        """A block for so many tokens, its attention idle."""
        return [_in_ticks(seconds) for seconds in self.costs.seconds(name, tokens)]

    def _attention_rows(self, name: BlockName, batch: Batch) -> list[tuple[int, OpRow]]:
        """The attention ops of a block for a batch, with their places."""
        return [(index, _in_ticks(self.costs.attention(op, batch))) for index, op in self.attention[name]]

    def rows(self, name: BlockName, batch: Batch) -> list[OpRow]:
        """All ops of a block for a batch."""
        rows = list(self.without_attention(name, batch.without_contexts()))
        for index, row in self.attention_rows(name, batch):
            rows[index] = row
        return rows

    def run_attention(self, name: BlockName, batch: Batch, n_steps: int) -> list[tuple[int, Ticks]]:
        """
        The decode attention of a block in successive steps of one batch, whose contexts grow by a token each.

        Returns:
            For each decode attention op its place in the block, and launch, compute, fetch and exchange in ticks,
            shape (4, n_steps).
        """
        contexts = batch.decode_context + batch.decode_tokens * np.arange(n_steps)
        return [
            (index, array_to_ticks(self.costs.decode_attention(op, batch.decode_tokens, contexts)))
            for index, op in self.attention[name]
            if op.kind == "attention_decode"
        ]


def _in_ticks(seconds: OpSeconds) -> OpRow:
    """One op's durations, each rounded once."""
    launch, compute, fetch, exchange = seconds
    return to_ticks(launch), to_ticks(compute), to_ticks(fetch), to_ticks(exchange)


def charge(ops: Iterable[Op]) -> Charge:
    """Sums the durations of these ops by component."""
    return Charge([FETCH_COMPONENT[op.kind] for op in ops])


def blocks_of(layers: StageLayers) -> tuple[BlockName, ...]:
    """The blocks of a stage in order: host and embedding first, where they are, and the head last."""
    first: tuple[BlockName, ...] = ("host", "embedding") if layers.has_embedding else ()
    last: tuple[BlockName, ...] = ("head",) if layers.has_head else ()
    return (*first, *layers.kinds, *last)


class BlockStage:
    """A stage as a row of blocks; layers of a kind are all alike."""

    def __init__(self, timed: TimedBlocks, blocks: Sequence[BlockName]) -> None:
        self._timed = timed
        self._counts = Counter(blocks)
        n_ops = {name: len(timed.costs.ops(name)) for name in self._counts}
        starts = dict(zip(n_ops, np.cumsum([0, *n_ops.values()]).tolist(), strict=False))
        rows = [starts[name] + index for name in blocks for index in range(n_ops[name])]
        self._rows = np.array(rows, np.intp)
        """For every op of the stage its row among those of the distinct blocks."""
        self._places = {
            (name, index): np.flatnonzero(self._rows == starts[name] + index)
            for name in self._counts
            for index, _ in timed.attention[name]
        }
        self._with_attention = {name: count for name, count in self._counts.items() if timed.attention[name]}
        self._without_attention = lru_cache(maxsize=8192)(self._sum_without_attention)
        self.all_ops: tuple[Op, ...] = tuple(op for name in blocks for op in timed.costs.ops(name))
        """The ops in order, all layers."""

    def ops(self, batch: Batch) -> OpTicks:
        """Nominal durations in ticks, shape (ops,) each."""
        rows = [row for name in self._counts for row in self._timed.rows(name, batch)]
        launch, compute, fetch, exchange = np.array(rows, np.int64)[self._rows].T
        return OpTicks(launch, compute, fetch, np.zeros_like(launch), exchange)

    def components(self, batch: Batch) -> list[int]:
        """Nominal durations summed by component: exact, since layers of a kind are alike to the tick."""
        sums = list(self._without_attention(batch.without_contexts()))
        for name, count in self._with_attention.items():
            for _, row in self._timed.attention_rows(name, batch):
                _add(sums, row, _KV_FETCH, count)
        return sums

    def _sum_without_attention(self, tokens: Batch) -> list[int]:
        """Components of all ops but attention, which depend on the numbers of tokens only."""
        sums = [0] * len(COMPONENTS)
        for name, count in self._counts.items():
            rows = self._timed.without_attention(name, tokens)
            for op, row in zip(self._timed.costs.ops(name), rows, strict=True):
                _add(sums, row, COMPONENT[FETCH_COMPONENT[op.kind]], count)
        return sums

    def run_ops(self, batch: Batch, n_steps: int) -> OpTicks:
        """Nominal durations in successive decode steps of one batch, shape (n_steps, ops) each."""
        launch, compute, fetch, wait, exchange = (np.tile(part, (n_steps, 1)) for part in self.ops(batch))
        for name in self._with_attention:
            for index, ticks in self._timed.run_attention(name, batch, n_steps):
                places = self._places[name, index]
                for part, values in zip((launch, compute, fetch, exchange), ticks, strict=True):
                    part[:, places] = values[:, None]
        return OpTicks(launch, compute, fetch, wait, exchange)

    def run_components(self, batch: Batch, n_steps: int) -> Ticks:
        """The same, summed by component, shape (n_steps, components)."""
        fixed = self._without_attention(batch.without_contexts())
        components = np.tile(np.array(fixed, np.int64), (n_steps, 1))
        for name, count in self._with_attention.items():
            for _, (launch, compute, fetch, exchange) in self._timed.run_attention(name, batch, n_steps):
                fetch_bound = fetch > compute
                components[:, _LAUNCH] += count * launch
                components[:, _EXCHANGE] += count * exchange
                components[:, _KV_FETCH] += count * np.where(fetch_bound, fetch, 0)
                components[:, _COMPUTE] += count * np.where(fetch_bound, 0, compute)
        return components


def _add(components: list[int], row: OpRow, fetch_component: int, count: int) -> None:
    """Add the durations of so many equal ops; of compute and fetch the longer one counts."""
    launch, compute, fetch, exchange = row
    components[_LAUNCH] += count * launch
    components[fetch_component if fetch > compute else _COMPUTE] += count * max(compute, fetch)
    components[_EXCHANGE] += count * exchange
