"""
A pipeline in closed form while it is undisturbed, and stage by stage while it is not.

An event that concerns it, or a flow that is about to enter its links, takes the closed form apart: every step is put
where it is at that instant, into a stage or onto a wire. When a step enters later, and nothing else is on the links,
the ways of all steps are found in closed form again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import simpy

from simcluster.kernel.chain import Chain, Position
from simcluster.kernel.clock import NORMAL, after, now
from simcluster.kernel.crossing import Transit
from simcluster.kernel.stage import Left
from simcluster.kernel.step import Step
from simcluster.kernel.tandem import Passage, Tandem
from simcluster.plans.replica_plan import PipelinePlan
from simcluster.stages.timed import Service


@dataclass(eq=False, slots=True)
class _Way:
    """A step on its way in closed form, from where it was when that was found."""

    step: Step
    behind_prefill: bool
    accounted: tuple[list[int], list[int]] | None
    """Where its time went until then, as prompts and as decodes see it; None of a step that entered then."""
    position: Position
    """Where it was then."""
    starts: list[int]
    """At each server from there on, those before are 0."""
    ticks: list[int]
    """At each server."""


class AdaptivePipeline(Tandem):
    """
    A tandem that can be taken apart.

    Args:
        env: the clock.
        plan: stages and wires.
        chain: the same stage by stage, without steps; it calls `freed` and `left` too.
        freed: called with a step when the first stage can take the next one.
        left: called with a step when it leaves.
        is_alone: whether nothing else is on its links now.
    """

    def __init__(
        self, env: simpy.Environment, plan: PipelinePlan, chain: Chain, freed: Left, left: Left,
        is_alone: Callable[[], bool],
    ) -> None:  # fmt: skip
        super().__init__(env, plan, freed, left)
        self._chain = chain
        self._is_alone = is_alone
        self._is_apart = False
        self._epoch = 0
        self._on_way: deque[Passage | _Way] = deque()

    @property
    def busy(self) -> bool:
        """Whether the first stage cannot take a step."""
        return self._chain.busy if self._is_apart else self._busy

    def enter(self, step: Step) -> None:
        """Let a step enter the first stage, which must be free."""
        if self._is_apart and not self._put_together():
            self._chain.enter(step)
        else:
            super().enter(step)

    def change(self, plan: PipelinePlan) -> None:
        """Let ops that start and steps that leave a stage from now on follow another plan."""
        self._take_apart()
        self._chain.change(plan)
        self._set_plan(plan)

    def clear(self) -> None:
        """Lose all steps."""
        self._epoch += 1
        self._on_way.clear()
        self._chain.clear()
        self._is_apart = False
        self._empty()

    def refine(self) -> None:
        """Put on the links what is under way on them: another flow is about to enter, or their capacity to change."""
        self._take_apart()
        self._chain.refine()

    def _set_out(self, passage: Passage, occupied: int, ticks: int) -> None:
        self._on_way.append(passage)
        if self._overlaps:
            self._take_apart()
            return
        epoch = self._epoch

        def free() -> None:
            if epoch == self._epoch:
                self._free(passage.step)

        after(self._env, occupied, NORMAL, free)
        self._await(passage.step, ticks)

    def _await(self, step: Step, ticks: int) -> None:
        """Let a step leave after these ticks, unless the closed form is taken apart before."""
        epoch = self._epoch

        def leave() -> None:
            if epoch == self._epoch:
                self._on_way.popleft()
                self._left(step)

        after(self._env, ticks, NORMAL, leave)

    def _take_apart(self) -> None:
        """Put every step where it is now."""
        if self._is_apart:
            return
        self._epoch += 1
        for one in self._on_way:
            self._place(one if isinstance(one, _Way) else self._way_of(one))
        self._on_way.clear()
        self._is_apart = True

    def _way_of(self, passage: Passage) -> _Way:
        ticks, _, way = self._times(passage.services, passage.on_wires)
        starts = passage.entered + way if passage.starts is None else passage.starts
        position = Position(0, passage.entered)
        return _Way(passage.step, passage.behind_prefill, None, position, starts.tolist(), ticks.tolist())

    def _place(self, way: _Way) -> None:
        """Put a step where it is now, with its time accounted for until then."""
        instant, step, position, services = now(self._env), way.step, way.position, self._services(way.step)
        step.reset()
        if way.accounted is not None:
            step.for_prefill, step.for_decode = list(way.accounted[0]), list(way.accounted[1])
        stage, at = position.stage, position.arrived
        if position.transit is not None:
            if at > instant:  # still on the wire where it was
                self._chain.put_on_wire(stage - 1, position.transit)
                return
            step.travel(at - position.transit.left)
        while True:
            start, service = way.starts[2 * stage], services[self._kind.item(2 * stage)]
            if start > instant:
                self._chain.put_in_stage(step, stage, at)
                return
            step.wait(start - at, behind_prefill=way.behind_prefill)
            left = start + service.ticks
            if left > instant:
                self._chain.put_in_stage(step, stage, at, start)
                return
            step.serve(service)
            wire, latency = 2 * stage + 1, self._delays.item(2 * stage + 1)
            arrived = way.starts[wire] + way.ticks[wire] + latency
            if arrived > instant:
                transit = Transit(step, left, left + latency, arrived - way.ticks[wire], arrived)
                self._chain.put_on_wire(stage, transit)
                return
            step.travel(arrived - left)
            stage, at = stage + 1, arrived

    def _services(self, step: Step) -> list[Service]:
        return [model.service(step.number, step.batch, step.entered) for model in self._models]

    def _put_together(self) -> bool:
        """Find the ways of all steps in closed form, if nothing else is on the links; whether that could be done."""
        if self._overlaps or not self._chain.is_undisturbed() or not self._is_alone():
            return False
        instant, n_servers = now(self._env), len(self._kind)
        bounds, behind_prefill = [0] * n_servers, False
        self._empty_at = 0
        for step, position in self._chain.positions():
            accounted = step.for_prefill, step.for_decode
            step.for_prefill, step.for_decode = list(step.for_prefill), list(step.for_decode)
            services, on_wires = self._services(step), [w.busy_ticks(step.batch.tokens) for w in self._wires]
            ticks = [(*(s.ticks for s in services), *on_wires)[kind] for kind in self._kind.tolist()]
            starts = [0] * n_servers
            if position.transit is not None:
                step.travel(position.arrived - position.transit.left)
                bounds[2 * position.stage - 1] = position.arrived - self._delays.item(2 * position.stage - 1)
            at = position.arrived
            for server in range(2 * position.stage, n_servers):
                began = max(at, bounds[server])
                starts[server] = began
                if server % 2:
                    step.travel(began - at + ticks[server] + self._delays.item(server))
                else:
                    step.wait(began - at, behind_prefill=behind_prefill)
                    step.serve(services[self._kind.item(server)])
                bounds[server] = began + ticks[server]
                at = bounds[server] + self._delays.item(server)
            self._on_way.append(_Way(step, behind_prefill, accounted, position, starts, ticks))
            self._await(step, at - instant)
            self._empty_at, behind_prefill = at, step.has_prefill
        self._ahead_has_prefill = self._chain.ahead_has_prefill
        self._chain.clear()
        self._bounds = self._departures = np.array(bounds, np.int64)
        self._ahead = None
        self._busy = False
        self._is_apart = False
        return True
