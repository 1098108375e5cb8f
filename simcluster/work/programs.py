"""
Programs of units of work: the blocks of a pipeline stage in order, and the ops of each block.

`PROGRAMS` has one program for each unit of work that can be served. Today it is `token`, a token of a decoder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from simcluster.catalog.shapes import LayerKind, ModelShape
from simcluster.work.attention import attention_ops
from simcluster.work.dense import embedding_ops, ffn_ops, head_ops
from simcluster.work.experts import expert_ops
from simcluster.work.op import Op, Precision

BlockName = Literal["host", "embedding", "dense", "moe", "head"]
"""The parts a stage is made of: `dense` and `moe` are layers; `host` is the serving engine's part of a step."""

BlockOps = Callable[[ModelShape, Precision, int], list[Op]]
"""Lists the ops of a block in order, on one of a number of tensor-parallel ranks."""


class Layers(Protocol):
    """The layers of one stage, and whether it is the first and the last of its pipeline."""

    @property
    def kinds(self) -> tuple[LayerKind, ...]:
        """The kind of each layer in order."""

    @property
    def has_embedding(self) -> bool:
        """Whether the stage has the blocks before the layers."""

    @property
    def has_head(self) -> bool:
        """Whether the stage has the blocks after the layers."""


@dataclass(frozen=True)
class Program:
    """The blocks that make one unit of work."""

    ops: Mapping[BlockName, BlockOps]
    before_layers: tuple[BlockName, ...]
    """Blocks of the first stage that come before its layers, in order."""
    after_layers: tuple[BlockName, ...]
    """Blocks of the last stage that come after its layers, in order."""

    def names(self, shape: ModelShape) -> tuple[BlockName, ...]:
        """List the blocks that a model has, each once."""
        moe: tuple[BlockName, ...] = ("moe",) if shape.moe else ()
        return (*self.before_layers, "dense", *moe, *self.after_layers)

    def blocks_of(self, layers: Layers) -> tuple[BlockName, ...]:
        """List the blocks of a stage in the order in which a step passes them."""
        before = self.before_layers if layers.has_embedding else ()
        after = self.after_layers if layers.has_head else ()
        return (*before, *layers.kinds, *after)


def _host_ops(shape: ModelShape, precision: Precision, n_ranks: int) -> list[Op]:
    return [Op("host", "host")]


def _dense_layer_ops(shape: ModelShape, precision: Precision, n_ranks: int) -> list[Op]:
    dense = precision.dense()
    return [*attention_ops(shape, dense, n_ranks), *ffn_ops(shape, dense, n_ranks)]


def _moe_layer_ops(shape: ModelShape, precision: Precision, n_ranks: int) -> list[Op]:
    return [*attention_ops(shape, precision.dense(), n_ranks), *expert_ops(shape, precision, n_ranks)]


PROGRAMS: Mapping[str, Program] = {
    "token": Program(
        ops={
            "host": _host_ops,
            "embedding": lambda shape, precision, n_ranks: embedding_ops(shape, precision.dense(), n_ranks),
            "dense": _dense_layer_ops,
            "moe": _moe_layer_ops,
            "head": lambda shape, precision, n_ranks: head_ops(shape, precision.dense(), n_ranks),
        },
        before_layers=("host", "embedding"),
        after_layers=("head",),
    )
}
"""Programs by unit of work."""


@dataclass(frozen=True)
class RankWork:
    """The work of one rank: a program on a model whose matrices are cut among `n_ranks`."""

    shape: ModelShape
    precision: Precision
    n_ranks: int = 1
    program: Program = PROGRAMS["token"]

    def blocks(self) -> dict[BlockName, list[Op]]:
        """Make the ops of each block that the model has, in order."""
        return {
            name: self.program.ops[name](self.shape, self.precision, self.n_ranks)
            for name in self.program.names(self.shape)
        }
