"""A pipeline stage's durations: its blocks in a row, in ticks, without noise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from simcluster.costs.batch import Batch
from simcluster.costs.blocks import BlockCosts, OpSeconds
from simcluster.costs.ops import BlockName, Op
from simcluster.costs.service import Charge, OpTicks
from simcluster.placement import StageLayers
from simcluster.ticks import to_ticks
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


TimedBlocks = Callable[[BlockName, Batch], TimedBlock]

_COMPUTE, _LAUNCH, _EXCHANGE = COMPONENT["compute"], COMPONENT["launch_host"], COMPONENT["interconnect"]


def timed_blocks(costs: BlockCosts) -> TimedBlocks:
    """
    Durations of a block's ops in ticks, each rounded once.

    What depends on the numbers of tokens only is kept, since decode repeats it; and the last batches are kept whole,
    since all stages of a pipeline ask for the same blocks of a batch.
    """
    fetch_component = {op: COMPONENT[FETCH_COMPONENT[op.kind]] for name in costs.names for op in costs.ops(name)}
    attentions = {
        name: [(index, op) for index, op in enumerate(costs.ops(name)) if op.is_attention] for name in costs.names
    }

    def add(components: list[int], op: Op, row: OpRow) -> None:
        launch, compute, fetch, exchange = row
        components[_LAUNCH] += launch
        components[fetch_component[op] if fetch > compute else _COMPUTE] += max(compute, fetch)
        components[_EXCHANGE] += exchange

    @lru_cache(maxsize=8192)
    def without_attention(name: BlockName, tokens: Batch) -> TimedBlock:
        rows = [_in_ticks(seconds) for seconds in costs.seconds(name, tokens)]
        components = [0] * len(COMPONENTS)
        for op, row in zip(costs.ops(name), rows, strict=True):
            add(components, op, row)
        return TimedBlock(rows, components)

    @lru_cache(maxsize=256)
    def timed(name: BlockName, batch: Batch) -> TimedBlock:
        kept = without_attention(name, batch.without_contexts())
        if not attentions[name]:
            return kept
        rows, components = kept.rows.copy(), kept.components.copy()
        for index, op in attentions[name]:
            rows[index] = _in_ticks(costs.attention(op, batch))
            add(components, op, rows[index])
        return TimedBlock(rows, components)

    return timed


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

    def __init__(self, costs: BlockCosts, timed: TimedBlocks, blocks: Sequence[BlockName]) -> None:
        self._timed = timed
        self._counts = Counter(blocks)
        starts: dict[BlockName, int] = {}
        n_rows = 0
        for name in self._counts:
            starts[name] = n_rows
            n_rows += len(costs.ops(name))
        spans = [range(starts[name], starts[name] + len(costs.ops(name))) for name in blocks]
        self._rows = np.array([row for span in spans for row in span], np.intp)
        self.all_ops: tuple[Op, ...] = tuple(op for name in blocks for op in costs.ops(name))
        """The ops in order, all layers."""

    def ops(self, batch: Batch) -> OpTicks:
        """Nominal durations in ticks, shape (ops,) each."""
        rows = [row for name in self._counts for row in self._timed(name, batch).rows]
        launch, compute, fetch, exchange = np.array(rows, np.int64)[self._rows].T
        return OpTicks(launch, compute, fetch, np.zeros_like(launch), exchange)

    def components(self, batch: Batch) -> list[int]:
        """Nominal durations summed by component: exact, since layers of a kind are alike to the tick."""
        sums = [0] * len(COMPONENTS)
        for name, count in self._counts.items():
            for index, ticks in enumerate(self._timed(name, batch).components):
                if ticks:
                    sums[index] += count * ticks
        return sums
