"""
A pipeline that tells of every step when and how long each stage served it.

Nothing is played otherwise for being watched: a stage is told from when a step comes to it, when it leaves, and what
was added meanwhile to the components that the step keeps anyway.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import simpy

from simcluster.kernel.clock import now
from simcluster.kernel.exchange import FlowExchange
from simcluster.kernel.fabric import Fabric
from simcluster.kernel.pipeline import Chain, Left, StagePlayer
from simcluster.kernel.step import Step
from simcluster.plans.replica_plan import PipelinePlan
from simcluster.stages.timed import StageModel
from simcluster.trace.columns import COMPONENT
from simcluster.work.batch import Batch

_WAIT = COMPONENT["pipeline_wait"]


class Served(NamedTuple):
    """A stage has served a step."""

    replica: int
    stage: int
    step: int
    arrived: int
    """Tick at which the step came to the stage."""
    began: int
    """Tick at which the stage began to serve it."""
    ended: int
    parts: tuple[int, ...]
    """Ticks by component, as a request with a prompt in it sees them; they sum to the time served."""
    batch: Batch
    decoding: tuple[int, ...]
    """Numbers of the requests that only decode."""
    finishing: tuple[int, ...]
    """Whose prompt ends in this step."""
    chunked: tuple[int, ...]
    """Whose prompt goes on in a later one."""


Watch = Callable[[Served], None]


class WatchedChain(Chain):
    """
    A chain as `Chain` plays it.

    Args:
        env: the clock.
        plan: stages and wires.
        op_by_op: whether to play every op.
        fabric: on which exchanges and sends are flows, or None.
        first_left: called when a step leaves the first stage.
        last_left: called when it leaves the last.
        replica: its number.
        watch: called with every stage's service of every step, when it is over.
    """

    def __init__(
        self, env: simpy.Environment, plan: PipelinePlan, op_by_op: bool, fabric: Fabric | None, first_left: Left,
        last_left: Left, replica: int, watch: Watch,
    ) -> None:  # fmt: skip
        self._replica = replica
        self._watch = watch
        self._arrivals: dict[tuple[int, int], tuple[int, list[int]]] = {}
        super().__init__(env, plan, op_by_op, fabric, first_left, last_left)

    def clear(self) -> None:
        """All steps are lost; nothing is told of them."""
        super().clear()
        self._arrivals.clear()

    def _stage(self, plan: PipelinePlan, index: int, op_by_op: bool) -> StagePlayer:
        return _Announced(super()._stage(plan, index, op_by_op), lambda step: self._came(index, step))

    def _came(self, index: int, step: Step) -> None:
        self._arrivals[index, step.number] = now(self._env), list(step.for_prefill)

    def _leaver(self, index: int, n_stages: int) -> Left:
        leave = super()._leaver(index, n_stages)

        def tell_and_leave(step: Step) -> None:
            arrived, before = self._arrivals.pop((index, step.number))
            parts = [after - start for after, start in zip(step.for_prefill, before, strict=True)]
            began = arrived + parts[_WAIT]
            parts[_WAIT] = 0
            decoding, finishing, chunked = (
                tuple(request.number for request in requests)
                for requests in (step.decoding, step.finishing, step.chunked)
            )
            told = Served(
                self._replica, index, step.number, arrived, began, now(self._env), tuple(parts), step.batch, decoding,
                finishing, chunked,
            )  # fmt: skip
            self._watch(told)
            leave(step)

        return tell_and_leave


class _Announced:
    """A stage of which it is told when a step comes."""

    def __init__(self, player: StagePlayer, came: Left) -> None:
        self._player = player
        self._came = came

    @property
    def busy(self) -> bool:
        return self._player.busy

    def arrive(self, step: Step) -> None:
        self._came(step)
        self._player.arrive(step)

    def change(self, model: StageModel, exchange: FlowExchange | None) -> None:
        self._player.change(model, exchange)

    def clear(self) -> None:
        self._player.clear()
