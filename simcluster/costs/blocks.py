"""
Durations of the ops of one block (a layer, embedding, head, the host's part): what all devices have in common.

Two families of devices implement it: those that fetch from memory and compute (`costs.memory_device`), and wafers
(`costs.wafer_device`). Both give, for every op, launch, compute and fetch side by side, and exchange.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from simcluster.numerics.arrays import Floats, Integers
from simcluster.work.batch import Batch
from simcluster.work.op import Collective, Op
from simcluster.work.programs import BlockName

ExchangeTime = Callable[[Collective, float], float]
"""Seconds of an exchange among the ranks of a group, for a size in bytes."""

DecodeAttention = Callable[[Op, int, Integers], Floats]
"""Launch, compute, fetch and exchange in seconds for so many tokens and each sum of contexts, shape (4, contexts)."""


class OpSeconds(NamedTuple):
    """Durations of one op, in seconds."""

    launch: float
    compute: float
    fetch: float
    exchange: float

    @property
    def total(self) -> float:
        """From start to end."""
        return self.launch + max(self.compute, self.fetch) + self.exchange


class BlockCosts(Protocol):
    """The ops of each block, and how long they take for a batch."""

    @property
    def names(self) -> Iterable[BlockName]:
        """The kinds of block there are."""

    def ops(self, name: BlockName) -> list[Op]:
        """The ops of a block that this device plays, in order."""

    def seconds(self, name: BlockName, batch: Batch, n_experts: float | None = None) -> list[OpSeconds]:
        """
        Their durations in the same order, without noise, attention left idle.

        They depend on the numbers of tokens, outputs and sequences only, and on how many distinct experts of a layer
        the tokens touch: as many as expected if it is not said.
        """

    def attention(self, op: Op, batch: Batch) -> OpSeconds:
        """Duration of an attention op, which depends on how long the contexts are."""

    @property
    def decode_attention(self) -> DecodeAttention | None:
        """
        Finds a decode attention op at many sums of contexts at once, the same numbers as `attention`.

        None from a device whose durations change so evenly with contexts that chords between a few of them will do.
        """


IDLE = OpSeconds(0.0, 0.0, 0.0, 0.0)
"""An op without work."""


@dataclass(frozen=True)
class WeightStream:
    """Weights come from a memory node in every step instead of staying in the device."""

    bytes_per_s: float
    latency_s: float


@dataclass(frozen=True)
class HostTime:
    """Time of the serving engine before every step: scheduling, preparing inputs, handling outputs."""

    fixed_s: float
    per_sequence_s: float

    def seconds(self, batch: Batch, stream: WeightStream | None) -> list[OpSeconds]:
        """The host block: its time is launch; the first byte of streamed weights is awaited here too."""
        launch = self.fixed_s + self.per_sequence_s * batch.sequences
        return [OpSeconds(launch, 0.0, 0.0, stream.latency_s if stream else 0.0)]
