"""A pipeline stage's durations: its blocks in a row, in ticks, without noise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from simcluster.costs.batch import Batch
from simcluster.costs.blocks import BlockCosts
from simcluster.costs.ops import BlockName, Op
from simcluster.costs.service import Charge, OpTicks
from simcluster.placement import StageLayers
from simcluster.ticks import array_to_ticks
from simcluster.trace import COMPONENTS


class TimedBlock(NamedTuple):
    """A block's durations for a batch: op by op, and summed by component."""

    ops: OpTicks
    components: list[int]


TimedBlocks = Callable[[BlockName, Batch], TimedBlock]

FETCH_COMPONENT = {
    "gemm": "weight_fetch", "moe": "weight_fetch", "embedding": "weight_fetch", "attention_prefill": "kv_fetch",
    "attention_decode": "kv_fetch", "elementwise": "compute", "host": "compute",
}  # fmt: skip
"""What a fetch that takes longer than the arithmetic is, by class of op; activations count as compute."""


def charge(ops: Iterable[Op]) -> Charge:
    """Sums the durations of these ops by component."""
    return Charge([FETCH_COMPONENT[op.kind] for op in ops])


def timed_blocks(costs: BlockCosts) -> TimedBlocks:
    """
    Durations of a block's ops in ticks, each rounded once.

    The last batches are kept, because all stages of a pipeline ask for the same blocks of a batch.
    """
    charges: dict[BlockName, Charge] = {}

    @lru_cache(maxsize=256)
    def timed(name: BlockName, batch: Batch) -> TimedBlock:
        if name not in charges:
            charges[name] = charge(costs.ops(name))
        launch, compute, fetch, exchange = (array_to_ticks(part) for part in costs.seconds(name, batch))
        ops = OpTicks(launch, compute, fetch, np.zeros_like(launch), exchange)
        return TimedBlock(ops, charges[name](ops))

    return timed


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
        parts = [self._timed(name, batch).ops for name in self._counts]
        return OpTicks(*(np.concatenate(column)[self._rows] for column in zip(*parts, strict=True)))

    def components(self, batch: Batch) -> list[int]:
        """Nominal durations summed by component: exact, since layers of a kind are alike to the tick."""
        sums = [0] * len(COMPONENTS)
        for name, count in self._counts.items():
            for index, ticks in enumerate(self._timed(name, batch).components):
                sums[index] += count * ticks
        return sums
