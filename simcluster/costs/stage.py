"""A pipeline stage's durations: its blocks in a row, in ticks, without noise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

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


class TimedBlock(NamedTuple):
    """A block's durations for a batch: op by op, and summed by component."""

    rows: list[OpRow]
    components: list[int]


_COMPUTE, _LAUNCH, _EXCHANGE = COMPONENT["compute"], COMPONENT["launch_host"], COMPONENT["interconnect"]


class TimedBlocks:
    """
    Durations of the blocks of a device in ticks, each op's rounded once.

    What depends on the numbers of tokens only is kept, since decode repeats it; and the last batches are kept whole,
    since all stages of a pipeline ask for the same blocks of a batch.
    """

    def __init__(self, costs: BlockCosts) -> None:
        self.costs = costs
        self._fetch_component = {
            op: COMPONENT[FETCH_COMPONENT[op.kind]] for name in costs.names for op in costs.ops(name)
        }
        self.attention = {
            name: [(index, op) for index, op in enumerate(costs.ops(name)) if op.is_attention] for name in costs.names
        }
        """The attention ops of each block with their places."""
        self.without_attention = lru_cache(maxsize=8192)(self._without_attention)
        self.of = lru_cache(maxsize=256)(self._of)

    def _without_attention(self, name: BlockName, tokens: Batch) -> TimedBlock:
        """A block for so many tokens, its attention idle."""
        rows = [_in_ticks(seconds) for seconds in self.costs.seconds(name, tokens)]
        components = [0] * len(COMPONENTS)
        for op, row in zip(self.costs.ops(name), rows, strict=True):
            self._add(components, op, row)
        return TimedBlock(rows, components)

    def _of(self, name: BlockName, batch: Batch) -> TimedBlock:
        """A block for a batch."""
        kept = self.without_attention(name, batch.without_contexts())
        if not self.attention[name]:
            return kept
        rows, components = kept.rows.copy(), kept.components.copy()
        for index, op in self.attention[name]:
            rows[index] = _in_ticks(self.costs.attention(op, batch))
            self._add(components, op, rows[index])
        return TimedBlock(rows, components)

    def _add(self, components: list[int], op: Op, row: OpRow) -> None:
        """Add an op's durations to the components."""
        launch, compute, fetch, exchange = row
        components[_LAUNCH] += launch
        components[self._fetch_component[op] if fetch > compute else _COMPUTE] += max(compute, fetch)
        components[_EXCHANGE] += exchange

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
        self.all_ops: tuple[Op, ...] = tuple(op for name in blocks for op in timed.costs.ops(name))
        """The ops in order, all layers."""

    def ops(self, batch: Batch) -> OpTicks:
        """Nominal durations in ticks, shape (ops,) each."""
        rows = [row for name in self._counts for row in self._timed.of(name, batch).rows]
        launch, compute, fetch, exchange = np.array(rows, np.int64)[self._rows].T
        return OpTicks(launch, compute, fetch, np.zeros_like(launch), exchange)

    def components(self, batch: Batch) -> list[int]:
        """Nominal durations summed by component: exact, since layers of a kind are alike to the tick."""
        return self._summed([self._timed.of(name, batch).components for name in self._counts])

    def run_ops(self, batch: Batch, n_steps: int) -> OpTicks:
        """Nominal durations in successive decode steps of one batch, shape (n_steps, ops) each."""
        launch, compute, fetch, wait, exchange = (np.tile(part, (n_steps, 1)) for part in self.ops(batch))
        for name in self._counts:
            for index, ticks in self._timed.run_attention(name, batch, n_steps):
                places = self._places[name, index]
                for part, values in zip((launch, compute, fetch, exchange), ticks, strict=True):
                    part[:, places] = values[:, None]
        return OpTicks(launch, compute, fetch, wait, exchange)

    def run_components(self, batch: Batch, n_steps: int) -> Ticks:
        """The same, summed by component, shape (n_steps, components)."""
        tokens = batch.without_contexts()
        fixed = self._summed([self._timed.without_attention(name, tokens).components for name in self._counts])
        components = np.tile(np.array(fixed, np.int64), (n_steps, 1))
        for name, count in self._counts.items():
            for _, (launch, compute, fetch, exchange) in self._timed.run_attention(name, batch, n_steps):
                fetch_bound = fetch > compute
                components[:, _LAUNCH] += count * launch
                components[:, _EXCHANGE] += count * exchange
                components[:, COMPONENT["kv_fetch"]] += count * np.where(fetch_bound, fetch, 0)
                components[:, _COMPUTE] += count * np.where(fetch_bound, 0, compute)
        return components

    def _summed(self, of_blocks: Iterable[list[int]]) -> list[int]:
        """Components of the stage from those of its distinct blocks."""
        sums = [0] * len(COMPONENTS)
        for components, count in zip(of_blocks, self._counts.values(), strict=True):
            for index, ticks in enumerate(components):
                if ticks:
                    sums[index] += count * ticks
        return sums
