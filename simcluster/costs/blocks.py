"""
Durations of the ops of one block (a layer, embedding, head, the host's part): the interface of all devices.

Two families of devices implement it: those that fetch from memory and compute (`costs.memory_device`), and wafers
(`costs.wafer_device`). Both give for every op its launch, its compute and its fetch, which overlap, and its exchange.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from simcluster.numerics.arrays import Floats, Integers
from simcluster.work.batch import Batch
from simcluster.work.op import Collective, Op
from simcluster.work.programs import BlockName

ExchangeTime = Callable[[Collective, float], float]
"""Seconds of an exchange among the ranks of a group, for a size in bytes."""

DecodeAttention = Callable[[Op, int, Integers], Floats]
"""Launch, compute, fetch and exchange in seconds by op, tokens and sums of contexts, shape (4, contexts)."""


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
    """The ops of each block, and their durations for a batch."""

    def ops(self, name: BlockName) -> list[Op]:
        """List the ops of a block that take time on this device, in order."""

    def seconds(self, name: BlockName, batch: Batch, n_experts: float | None = None) -> list[OpSeconds]:
        """
        Find their durations in the same order, without noise, attention left idle.

        They depend only on the numbers of tokens, outputs and sequences, and on `n_experts`, the number of distinct
        experts of a layer that the tokens touch: the expected number if it is None.
        """

    def attention(self, op: Op, batch: Batch) -> OpSeconds:
        """Find the duration of an attention op, which depends on the lengths of contexts."""

    @property
    def decode_attention(self) -> DecodeAttention | None:
        """
        The durations of a decode attention op for many sums of contexts at once, the same numbers as `attention`.

        None on a device whose durations are smooth in the contexts, so that chords between a few of them are exact
        enough.
        """


IDLE = OpSeconds(0.0, 0.0, 0.0, 0.0)
"""An op without work."""


@dataclass(frozen=True)
class WeightStream:
    """Weights that come from a memory node in every step instead of staying in the device."""

    bytes_per_s: float
    latency_s: float


@dataclass(frozen=True)
class HostTime:
    """Time of the serving engine before every step: scheduling, preparing inputs, handling outputs."""

    fixed_s: float
    per_sequence_s: float

    def seconds(self, batch: Batch, stream: WeightStream | None) -> list[OpSeconds]:
        """Time the host block: the engine's time counts as launch, the latency of streamed weights as exchange."""
        launch = self.fixed_s + self.per_sequence_s * batch.sequences
        return [OpSeconds(launch, 0.0, 0.0, stream.latency_s if stream else 0.0)]
