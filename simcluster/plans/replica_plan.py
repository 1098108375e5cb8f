"""What a replica is simulated from: its stages, the wires between them, its KV blocks and its policies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from simcluster.numerics.maxmin import Uses
from simcluster.numerics.ticks import to_ticks
from simcluster.policies.schedulers import Scheduler
from simcluster.stages.timed import StageModel
from simcluster.work.batch import Batch


@dataclass(frozen=True)
class FlowLoad:
    """What a flow puts on links."""

    alone_s: float
    """How long it lasts alone on the idle graph as it was built."""
    uses: Uses
    """Links and weights; at its rate r, link l carries weight · r. Scaled so that plain messages have weight 1."""

    def alone_ticks(self, speed: float) -> int:
        """How long it lasts at a speed, against that on links as they were built."""
        return to_ticks(self.alone_s / speed)


class FlowRound(NamedTuple):
    """A latency, and then flows at once; it is over when the last of them is."""

    latency_ticks: int
    flows: tuple[FlowLoad, ...]


Rounds = Callable[[int, Batch], Sequence[FlowRound]]
"""The exchange after an op of a stage, given by its index, for a batch."""

Sharing = Literal["none", "sometimes", "always"]
"""
Whether others use links of a replica: never; at times, as transfers do; or in every step, as another replica does.

Exchanges and sends are formulas while a replica is alone on its links, and flows on the fabric while it is not.
"""


@dataclass(frozen=True)
class Wire:
    """The way from one stage to the next: one step at a time is put on it, a latency after it left the stage."""

    busy_ticks: Callable[[int], int]
    """How long `n` tokens take to be put on it; where links are shared, as long as their flow takes alone."""
    latency_ticks: int
    load: Callable[[int], FlowLoad]
    """The same as a flow, for a replica that shares links."""

    @property
    def links(self) -> tuple[int, ...]:
        """Links of the fabric that a send uses."""
        return tuple(link for link, _ in self.load(0).uses)


@dataclass(frozen=True)
class PipelinePlan:
    """The stages of a replica, and how they are joined."""

    stages: tuple[StageModel, ...]
    wires: tuple[Wire, ...]
    """Between the stages; one fewer than these."""
    rounds: tuple[Rounds | None, ...] = ()
    """Exchanges of each stage as flows; nothing for a replica that shares no links."""
    sharing: Sharing = "none"
    links: tuple[frozenset[int], ...] = ()
    """Links of the fabric that the exchanges of each stage use; nothing for a replica that shares none."""


@dataclass(frozen=True)
class ReplicaPlan:
    """What a replica is simulated from."""

    pipeline: PipelinePlan
    return_ticks: int
    """Time of a chosen token from the last stage back to the first; 0 with one stage."""
    n_blocks: int
    block_size: int
    max_running: int
    max_tokens: int
    scheduler: Scheduler
    admission_lag: int = 0
    """Steps that begin between the arrival of a request and the first that can serve it, while others run."""
    may_change: bool = False
    """Whether an event may concern its devices or links."""
    pool: str = ""
    max_model_len: int | None = None
    """Prompt and output tokens that a request may have together; None for any number."""

    @property
    def n_stages(self) -> int:
        """Stages in a row."""
        return len(self.pipeline.stages)
