"""A pipeline stage's durations: its blocks in a row, in ticks, without noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

from simcluster.costs.batch import Batch
from simcluster.costs.blocks import BlockCosts
from simcluster.costs.ops import BlockName, Op
from simcluster.costs.service import OpTicks
from simcluster.placement import StageLayers
from simcluster.ticks import array_to_ticks

BlockTicks = Callable[[BlockName, Batch], OpTicks]


def block_ticks(costs: BlockCosts) -> BlockTicks:
    """
    Durations of a block's ops in ticks, each rounded once.

    The last batches are kept, because all stages of a pipeline ask for the same blocks of a batch.
    """

    @lru_cache(maxsize=64)
    def ticks(name: BlockName, batch: Batch) -> OpTicks:
        launch, compute, fetch, exchange = (array_to_ticks(part) for part in costs.seconds(name, batch))
        return OpTicks(launch, compute, fetch, np.zeros_like(launch), exchange)

    return ticks


def blocks_of(layers: StageLayers) -> tuple[BlockName, ...]:
    """The blocks of a stage in order: host and embedding first, where they are, and the head last."""
    first: tuple[BlockName, ...] = ("host", "embedding") if layers.has_embedding else ()
    last: tuple[BlockName, ...] = ("head",) if layers.has_head else ()
    return (*first, *layers.kinds, *last)


class NominalStage:
    """Durations of all ops of a stage for a batch."""

    def __init__(self, costs: BlockCosts, ticks: BlockTicks, blocks: Sequence[BlockName]) -> None:
        self._ticks = ticks
        self._distinct = tuple(dict.fromkeys(blocks))
        starts: dict[BlockName, int] = {}
        n_rows = 0
        for name in self._distinct:
            starts[name] = n_rows
            n_rows += len(costs.ops(name))
        spans = [range(starts[name], starts[name] + len(costs.ops(name))) for name in blocks]
        self._rows = np.array([row for span in spans for row in span], np.intp)
        self.ops: tuple[Op, ...] = tuple(op for name in blocks for op in costs.ops(name))
        """The ops in order, all layers."""

    def __call__(self, batch: Batch) -> OpTicks:
        """Nominal durations in ticks, shape (ops,) each."""
        parts = [self._ticks(name, batch) for name in self._distinct]
        return OpTicks(*(np.concatenate(column)[self._rows] for column in zip(*parts, strict=True)))
