"""A pipeline whose stages are simulated one by one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import simpy

from simcluster.kernel.clock import now
from simcluster.kernel.crossing import Crossing, Transit
from simcluster.kernel.exchange import FlowExchange
from simcluster.kernel.fabric import Fabric
from simcluster.kernel.stage import Left, Stage, StepPlay
from simcluster.kernel.step import Step
from simcluster.kernel.watch import Watch, served
from simcluster.plans.replica_plan import PipelinePlan


class Position(NamedTuple):
    """Where a step is in a chain."""

    stage: int
    """The stage that it is in, or on its way to."""
    arrived: int
    """When it came there, or will; of a step that is served, when that began."""
    transit: Transit | None = None
    """Of a step on its way."""


class Chain:
    """
    A pipeline in which every stage is simulated by itself.

    Args:
        env: the clock.
        plan: stages and wires, and what they share with others.
        op_by_op: whether every op is an event, or a step of a stage.
        fabric: on which exchanges and sends are flows while others use their links; None where none ever does.
        freed: called with a step when the first stage can take the next one.
        left: called with a step when it leaves the last stage.
        replica: its number.
        watch: called with every stage's service of every step, when it is over.
    """

    def __init__(
        self, env: simpy.Environment, plan: PipelinePlan, op_by_op: bool, fabric: Fabric | None, freed: Left,
        left: Left, replica: int = 0, watch: Watch | None = None,
    ) -> None:  # fmt: skip
        self._env = env
        self._fabric = fabric
        self._freed = freed
        self._left = left
        self._replica = replica
        self._watch = watch
        self._stages = [self._stage(plan, index, op_by_op) for index in range(len(plan.stages))]
        self._crossings = [
            Crossing(env, wire, stage.arrive, fabric, op_by_op)
            for wire, stage in zip(plan.wires, self._stages[1:], strict=True)
        ]

    def _stage(self, plan: PipelinePlan, index: int, op_by_op: bool) -> Stage:
        is_last, fabric, watcher, is_alone = index == len(plan.stages) - 1, self._fabric, None, None
        if fabric is not None and not op_by_op:
            is_alone = lambda: fabric.idle(plan.links[index])  # noqa: E731
        if (watch := self._watch) is not None:
            watcher = lambda arrived: watch(served(self._replica, index, arrived, now(self._env)))  # noqa: E731
        return Stage(
            self._env,
            plan.stages[index],
            self._freed if index == 0 else lambda step: None,
            self._left if is_last else lambda step: self._crossings[index].cross(step),
            self._exchange(plan, index),
            op_by_op,
            is_alone,
            watcher,
        )

    def _exchange(self, plan: PipelinePlan, index: int) -> FlowExchange | None:
        rounds = plan.rounds[index] if plan.rounds else None
        return None if self._fabric is None or rounds is None else FlowExchange(self._env, self._fabric, rounds)

    @property
    def busy(self) -> bool:
        """Whether the first stage cannot take a step."""
        return self._stages[0].busy

    def enter(self, step: Step) -> None:
        """Let a step enter the first stage."""
        self._stages[0].arrive(step)

    def change(self, plan: PipelinePlan) -> None:
        """Let ops that start and steps that leave a stage from now on follow another plan."""
        for index, stage in enumerate(self._stages):
            stage.change(plan.stages[index], self._exchange(plan, index))
        for crossing, wire in zip(self._crossings, plan.wires, strict=False):
            crossing.change(wire)

    def clear(self) -> None:
        """Lose all steps."""
        for stage in self._stages:
            stage.clear()
        for crossing in self._crossings:
            crossing.clear()

    def put_in_stage(self, step: Step, stage: int, arrived: int, began: int | None = None) -> None:
        """Let a step wait for a stage; where `began` is given, it was accounted for until then and served since."""
        self._stages[stage].put(step, arrived, began)

    def put_on_wire(self, wire: int, transit: Transit) -> None:
        """Let a step be on its way over a wire."""
        self._crossings[wire].put(transit)

    def positions(self) -> Iterator[tuple[Step, Position]]:
        """Each step and where it is, the one that entered first first."""
        for stage in reversed(range(len(self._stages))):
            for step, tick in self._stages[stage].positions():
                yield step, Position(stage, tick)
            for transit in self._crossings[stage - 1].in_transit() if stage else ():
                yield transit.step, Position(stage, transit.arrives, transit)

    def is_undisturbed(self) -> bool:
        """Whether every step in service is one event, and none is a flow."""
        formulas = all(crossing.is_formula for crossing in self._crossings)
        return formulas and all(stage.is_undisturbed for stage in self._stages)

    @property
    def ahead_has_prefill(self) -> bool:
        """Whether the step that entered last carries prompts."""
        return self._stages[0].ahead_has_prefill

    def refine(self) -> None:
        """Put on the links what is under way on them: another flow is about to enter, or their capacity to change."""
        users: list[StepPlay | Crossing] = [play for stage in self._stages for play in stage.refinable()]
        for user in sorted([*users, *self._crossings], key=lambda user: user.flow_since()):
            user.refine()
