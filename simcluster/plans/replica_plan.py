"""What a replica is simulated from: its stages, the wires between them, its KV blocks and its policies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from simcluster.numerics.maxmin import Uses
from simcluster.policies.schedulers import Scheduler, Steady, blocks_for
from simcluster.stages.timed import StageModel
from simcluster.work.batch import Batch


@dataclass(frozen=True)
class FlowLoad:
    """What a flow puts on links."""

    alone_s: float
    """How long it lasts alone on the idle graph as it was built."""
    uses: Uses
    """Links and weights; at its rate r, link l carries weight · r. Scaled so that plain messages have weight 1."""


class FlowRound(NamedTuple):
    """A latency, and then flows at once; it is over when the last of them is."""

    latency_ticks: int
    flows: tuple[FlowLoad, ...]


Rounds = Callable[[int, Batch], Sequence[FlowRound]]
"""What the exchange after an op of a stage, by its place, is for a batch."""


@dataclass(frozen=True)
class Wire:
    """The way from one stage to the next: one step at a time is put on it, and arrives a latency later."""

    busy_ticks: Callable[[int], int]
    """How long a step of so many tokens takes to be put on it."""
    latency_ticks: int
    load: Callable[[int], FlowLoad] | None = None
    """The same as a flow, for a replica on a fabric."""


@dataclass(frozen=True)
class PipelinePlan:
    """What a pipeline is played from."""

    stages: tuple[StageModel, ...]
    wires: tuple[Wire, ...]
    """Between the stages; one fewer than these."""
    rounds: tuple[Rounds | None, ...] = ()
    """Of each stage, how its exchanges are played on a fabric; nothing for a replica that has its links to itself."""


@dataclass(frozen=True)
class ReplicaPlan:
    """What a replica is built from."""

    pipeline: PipelinePlan
    return_ticks: int
    """Time of a chosen token from the last stage back to the first; 0 with one stage."""
    n_blocks: int
    block_size: int
    max_running: int
    max_tokens: int
    scheduler: Scheduler
    steady: Steady | None = None
    """What the scheduler does while everybody decodes, see `schedulers.STEADY`; None if that is not known."""
    admission_lag: int = 0
    """Steps that begin between the arrival of a request and the first that can serve it, while others run."""
    may_change: bool = False
    """Whether something may happen to its devices and links."""

    @property
    def n_stages(self) -> int:
        """Stages in a row."""
        return len(self.pipeline.stages)

    def can_hold(self, n_tokens: int) -> bool:
        """Whether the KV cache has room for a request of so many tokens when it is alone."""
        return blocks_for(n_tokens, self.block_size) <= self.n_blocks
