"""
Durations of the ops of one block (a layer, embedding, head, the host's part): what all devices have in common.

Two families of devices implement it: those that fetch from memory and compute (`costs.memory_device`), and wafers
(`costs.wafer_device`). Both give, for every op, launch, compute and fetch side by side, and exchange.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from simcluster.costs.batch import Batch
from simcluster.costs.ops import BlockName, Exchange, Floats, Op

ExchangeTime = Callable[[Exchange, Floats], Floats]
"""Seconds of an exchange among the ranks of a group, for sizes in bytes."""


class OpSeconds(NamedTuple):
    """Durations of a block's ops in order, seconds, shape (ops,) each."""

    launch: Floats
    compute: Floats
    fetch: Floats
    exchange: Floats


class BlockCosts(Protocol):
    """The ops of each block, and how long they take for a batch."""

    def ops(self, name: BlockName) -> list[Op]:
        """The ops of a block that this device plays, in order."""

    def seconds(self, name: BlockName, batch: Batch) -> OpSeconds:
        """Their durations, without noise."""


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

    def seconds(self, batch: Batch, stream: WeightStream | None) -> OpSeconds:
        """The host block: its time is launch; the first byte of streamed weights is awaited here too."""
        zero = np.zeros(1)
        launch = np.array([self.fixed_s + self.per_sequence_s * batch.sequences])
        return OpSeconds(launch, zero, zero, np.array([stream.latency_s if stream else 0.0]))
