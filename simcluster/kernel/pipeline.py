"""
The pipeline of a replica: stages and the wires between them, played event by event or by their closed form.

Stages and wires are first-in first-out servers in a row; behind each wire comes its latency, the same for every step.
With services S and delays L behind them, the nth step leaves server i at
D[n, i] = max(D[n, i-1] + L[i-1], D[n-1, i]) + S[n, i]. Later steps cannot touch earlier ones, so the whole way is
known when a step enters. Measured from X[i] = sum of S[j] + L[j] over the servers before i, the start at server i is
the running maximum of the time of entry and of the previous departures less X: one `np.maximum.accumulate` for all
servers (Baccelli et al., Synchronization and Linearity, 1992).
"""

from __future__ import annotations

from collections.abc import Callable
from operator import mul
from typing import Protocol

import numpy as np
import simpy

from simcluster.kernel.clock import NORMAL, after, now
from simcluster.kernel.exchange import Crossing, FlowExchange
from simcluster.kernel.fabric import Fabric
from simcluster.kernel.stage import FusedStage, OpStage
from simcluster.kernel.step import Step
from simcluster.numerics.ticks import MAX_TICK, Ticks
from simcluster.plans.replica_plan import PipelinePlan
from simcluster.stages.timed import StageModel

Left = Callable[[Step], None]


class Pipeline(Protocol):
    """Stages in a row; calls back when a step leaves the first stage, and when it leaves the last."""

    @property
    def busy(self) -> bool:
        """Whether the first stage serves a step."""

    def enter(self, step: Step) -> None:
        """A step enters the first stage, which must be free."""

    def change(self, plan: PipelinePlan) -> None:
        """Ops that start and steps that leave a stage from now on are played so."""

    def clear(self) -> None:
        """All steps are lost."""


class Tandem:
    """
    A pipeline by its closed form: two events a step, one when there is a single stage.

    A step that enters when all others are through waits nowhere: its way is a sum over the kinds of servers. When it
    leaves each of them is found only if another one enters before it is through.
    """

    def __init__(self, env: simpy.Environment, plan: PipelinePlan, first_left: Left, last_left: Left) -> None:
        models, wires = plan.stages, plan.wires
        self._env = env
        self._first_left = first_left
        self._last_left = last_left
        self._busy = False
        self._ahead_has_prefill = False
        self._models = tuple(dict.fromkeys(models))
        self._wires = tuple(dict.fromkeys(wires))
        self._kind = np.empty(2 * len(models) - 1, np.intp)
        """Of each server in order: the number of its model, or behind the models' that of its wire."""
        self._kind[0::2] = [self._models.index(model) for model in models]
        self._kind[1::2] = [len(self._models) + self._wires.index(wire) for wire in wires]
        counts = np.bincount(self._kind, minlength=len(self._models) + len(self._wires)).tolist()
        self._n_stages, self._n_wires = counts[: len(self._models)], counts[len(self._models) :]
        """Of each model, of each wire."""
        self._delays = np.zeros(len(self._kind), np.int64)
        self._delays[1::2] = [wire.latency_ticks for wire in wires]
        self._latency = sum(wire.latency_ticks for wire in wires)
        self._departures = np.zeros(len(self._kind), np.int64)
        self._ahead: tuple[int, list[int]] | None = None
        """Entry and services of the last step if it waits nowhere; its departures are not known yet."""
        self._empty_at = 0
        """When the last step is through."""

    @property
    def busy(self) -> bool:
        """Whether the first stage serves a step."""
        return self._busy

    def enter(self, step: Step) -> None:
        """Find the step's whole way, and come back when it leaves."""
        self._busy = True
        self._ahead_has_prefill, behind_prefill = step.has_prefill, self._ahead_has_prefill
        services = [model.service(step.number, step.batch, step.entered) for model in self._models]
        for service, count in zip(services, self._n_stages, strict=True):
            step.serve(service, count)
        first = services[self._kind.item(0)]
        step.in_first_stage = first.components
        if not self._wires:
            after(self._env, first.ticks, NORMAL, lambda: self._leave_both(step))
            return
        entered = now(self._env)
        on_stages = [service.ticks for service in services]
        on_wires = [wire.busy_ticks(step.batch.tokens) for wire in self._wires]
        travelled = sum(map(mul, self._n_wires, on_wires)) + self._latency
        ticks = sum(map(mul, self._n_stages, on_stages)) + travelled
        if entered >= self._empty_at:
            self._ahead = entered, on_stages + on_wires
        elif ticks <= MAX_TICK:  # else the clock refuses it below
            waited, waited_for_wires = self._follow(entered, on_stages + on_wires)
            step.wait(waited - waited_for_wires, behind_prefill=behind_prefill)
            travelled += waited_for_wires
            ticks += waited
        step.travel(travelled)
        self._empty_at = entered + ticks
        after(self._env, first.ticks, NORMAL, lambda: self._leave_first(step))
        after(self._env, ticks, NORMAL, lambda: self._last_left(step))

    def _follow(self, entered: int, of_kind: list[int]) -> tuple[int, int]:
        """A step enters behind others: how long it waits on its way, and how long of that for wires."""
        if self._ahead is not None:
            earlier, of_ahead = self._ahead
            ticks, way = self._times(of_ahead)
            self._departures = earlier + way + ticks
            self._ahead = None
        ticks, way = self._times(of_kind)
        starts = np.maximum(self._departures - way, entered)  # less X of the text above
        np.maximum.accumulate(starts, out=starts)
        self._departures = starts + way + ticks
        return starts.item(-1) - entered, int((starts[1::2] - starts[:-1:2]).sum())

    def _times(self, of_kind: list[int]) -> tuple[Ticks, Ticks]:
        """S and X of the text above, from the services of each kind of server, shape (servers,)."""
        ticks = np.array(of_kind, np.int64)[self._kind]
        way = np.zeros_like(ticks)
        np.cumsum((ticks + self._delays)[:-1], out=way[1:])
        return ticks, way

    def change(self, plan: PipelinePlan) -> None:
        """Not this one, whose steps are known to their ends: it is for replicas that nothing happens to."""
        raise AssertionError("a pipeline in closed form cannot change")

    def clear(self) -> None:
        """Likewise."""
        raise AssertionError("a pipeline in closed form cannot lose its steps")

    def _leave_first(self, step: Step) -> None:
        self._busy = False
        self._first_left(step)

    def _leave_both(self, step: Step) -> None:
        self._leave_first(step)
        self._last_left(step)


class StagePlayer(Protocol):
    """One stage of a chain."""

    @property
    def busy(self) -> bool:
        """Whether it serves a step."""

    def arrive(self, step: Step) -> None:
        """A step joins its queue."""

    def change(self, model: StageModel, exchange: FlowExchange | None) -> None:
        """Ops that start from now on are played so."""

    def clear(self) -> None:
        """All its steps are lost."""


class Chain:
    """
    A pipeline in which every stage is played by itself.

    Args:
        env: the clock.
        plan: stages and wires, and what they share with others.
        op_by_op: whether to play every op, or a step of a stage in one go.
        fabric: on which exchanges and sends are flows, or None.
        first_left: called when a step leaves the first stage.
        last_left: called when it leaves the last.
    """

    def __init__(
        self, env: simpy.Environment, plan: PipelinePlan, op_by_op: bool, fabric: Fabric | None, first_left: Left,
        last_left: Left,
    ) -> None:  # fmt: skip
        self._env = env
        self._wires = plan.wires
        self._fabric = fabric
        self._first_left = first_left
        self._last_left = last_left
        self._epoch = 0
        self._stages = [self._stage(plan, index, op_by_op) for index in range(len(plan.stages))]
        self._clear_wires()

    def _stage(self, plan: PipelinePlan, index: int, op_by_op: bool) -> StagePlayer:
        model, deliver = plan.stages[index], self._leaver(index, len(plan.stages))
        if not op_by_op and self._fabric is None:
            return FusedStage(self._env, model, deliver)
        return OpStage(self._env, model, deliver, self._exchange(plan, index))

    def _exchange(self, plan: PipelinePlan, index: int) -> FlowExchange | None:
        rounds = plan.rounds[index] if plan.rounds else None
        return None if self._fabric is None or rounds is None else FlowExchange(self._env, self._fabric, rounds)

    @property
    def busy(self) -> bool:
        """Whether the first stage serves a step."""
        return self._stages[0].busy

    def enter(self, step: Step) -> None:
        """A step enters the first stage."""
        self._stages[0].arrive(step)

    def change(self, plan: PipelinePlan) -> None:
        """Ops that start and steps that leave a stage from now on are played so."""
        for index, stage in enumerate(self._stages):
            stage.change(plan.stages[index], self._exchange(plan, index))
        self._wires = plan.wires
        for crossing, wire in zip(self._crossings, plan.wires, strict=False):
            assert wire.load is not None
            crossing.change(wire.load, wire.latency_ticks)

    def clear(self) -> None:
        """All steps are lost."""
        self._epoch += 1
        for stage in self._stages:
            stage.clear()
        for crossing in self._crossings:
            crossing.clear()
        self._clear_wires()

    def _clear_wires(self) -> None:
        self._free_at = [0] * len(self._wires)
        self._last_at = [0] * len(self._wires)
        self._crossings: list[Crossing] = []
        if self._fabric is not None:
            for wire, stage in zip(self._wires, self._stages[1:], strict=True):
                assert wire.load is not None
                self._crossings.append(Crossing(self._env, self._fabric, wire.load, wire.latency_ticks, stage.arrive))

    def _leaver(self, index: int, n_stages: int) -> Left:
        """What happens when a step leaves stage `index`."""

        def leave(step: Step) -> None:
            if index == 0:
                step.in_first_stage = list(step.for_prefill)
                self._first_left(step)
            if index == n_stages - 1:
                self._last_left(step)
            elif self._fabric is None:
                self._cross(step, index)
            else:
                self._crossings[index].cross(step)

        return leave

    def _cross(self, step: Step, index: int) -> None:
        """The step goes over a wire, after those that are on it."""
        left, epoch = now(self._env), self._epoch
        wire = self._wires[index]
        self._free_at[index] = max(left, self._free_at[index]) + wire.busy_ticks(step.batch.tokens)
        # No step overtakes another, even when the latency has fallen in between.
        self._last_at[index] = max(self._free_at[index] + wire.latency_ticks, self._last_at[index])
        ticks = self._last_at[index] - left
        step.travel(ticks)

        def arrived() -> None:
            if epoch == self._epoch:
                self._stages[index + 1].arrive(step)

        after(self._env, ticks, NORMAL, arrived)
