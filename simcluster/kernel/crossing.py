"""
The transfer of activations between pipeline stages: steps are sent one after the other, each after a latency.

A step enters the links when its latency has passed and the step before it has been sent. While nothing else uses the
links, a formula gives its arrival. On shared links steps are flows on the fabric; a step in transit becomes a flow
when another flow enters its links.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

import simpy

from simcluster.kernel.clock import NORMAL, after, now
from simcluster.kernel.fabric import Fabric, Flow
from simcluster.kernel.step import Step
from simcluster.plans.replica_plan import Wire


class Transit(NamedTuple):
    """A step on its way by the formula."""

    step: Step
    left: int
    """When it left the stage."""
    ready: int
    """When its latency has passed."""
    started: int
    """When it is put on the links."""
    arrives: int


class Crossing:
    """
    Sends steps over one wire.

    Args:
        env: the clock.
        wire: latency and transfer time of a step.
        arrive: called with every step that has been sent.
        fabric: where steps may become flows; None if nothing else uses the links.
        always_flows: whether steps are flows even while nothing else is on the links.
    """

    def __init__(
        self, env: simpy.Environment, wire: Wire, arrive: Callable[[Step], None], fabric: Fabric | None,
        always_flows: bool,
    ) -> None:  # fmt: skip
        self._env = env
        self._wire = wire
        self._arrive = arrive
        self._fabric = fabric
        self._always_flows = always_flows
        self._epoch = 0
        self._forget()

    def _forget(self) -> None:
        self._ready_at = 0
        self._free_at = 0
        self._in_transit: deque[Transit] = deque()
        self._n_as_flows = 0
        """Steps in transit that are flows or will be."""
        self._ready: deque[tuple[Step, int]] = deque()
        self._flow: Flow | None = None

    def change(self, wire: Wire) -> None:
        """Replace the wire for steps that enter the links from now on."""
        if self._fabric is not None:
            self.refine()
        self._wire = wire

    def clear(self) -> None:
        """Drop all steps in transit."""
        self._epoch += 1
        if self._flow is not None and self._fabric is not None:
            self._fabric.cancel(self._flow)
        self._forget()

    def cross(self, step: Step) -> None:
        """Send a step to the next stage."""
        left = now(self._env)
        self._ready_at = max(self._ready_at, left + self._wire.latency_ticks)  # no step overtakes another
        if self._must_flow():
            self._await_ready(step, left, self._ready_at)
            return
        started = max(self._ready_at, self._free_at)
        self._free_at = started + self._wire.busy_ticks(step.batch.tokens)
        self.put(Transit(step, left, self._ready_at, started, self._free_at))

    def put(self, transit: Transit) -> None:
        """Let a step arrive by the formula."""
        self._ready_at, self._free_at = transit.ready, transit.arrives
        self._in_transit.append(transit)
        epoch = self._epoch

        def arrived() -> None:
            if epoch == self._epoch:
                self._in_transit.popleft()
                transit.step.travel(now(self._env) - transit.left)
                self._arrive(transit.step)

        after(self._env, transit.arrives - now(self._env), NORMAL, arrived)

    @property
    def is_formula(self) -> bool:
        """Whether no step on its way is a flow."""
        return self._n_as_flows == 0

    def in_transit(self) -> Iterator[Transit]:
        """Steps on their way by the formula, the first one first."""
        return iter(self._in_transit)

    def _must_flow(self) -> bool:
        if self._fabric is None:
            return False
        return self._always_flows or self._n_as_flows > 0 or not self._fabric.idle(self._wire.links)

    def flow_since(self) -> int:
        """Tick at which the step that is to become a flow entered the links; -1 without one."""
        first = next(iter(self._in_transit), None)
        return -1 if first is None or first.started > now(self._env) else first.started

    def refine(self) -> None:
        """Turn the steps in transit into flows, since another flow is about to enter the links."""
        instant, transits = now(self._env), self._in_transit
        if not transits:
            return
        self._epoch += 1  # cancels the arrivals that the formula scheduled
        self._in_transit = deque()
        for transit in transits:
            if transit.started <= instant:
                self._n_as_flows += 1
                self._start(transit.step, transit.left, transit.started)
            elif transit.ready <= instant:
                self._n_as_flows += 1
                self._ready.append((transit.step, transit.left))
            else:
                self._await_ready(transit.step, transit.left, transit.ready)

    def _await_ready(self, step: Step, left: int, ready_at: int) -> None:
        """Start a step as a flow once its latency has passed and the steps before it have been sent."""
        epoch = self._epoch
        self._n_as_flows += 1

        def ready() -> None:
            if epoch == self._epoch:
                self._ready.append((step, left))
                self._next()

        after(self._env, ready_at - now(self._env), NORMAL, ready)

    def _next(self) -> None:
        if self._flow is None and self._ready:
            self._start(*self._ready.popleft(), None)

    def _start(self, step: Step, left: int, began: int | None) -> None:
        """Start a step as a flow; with `began`, it has been alone on the links since that tick."""
        assert self._fabric is not None

        def done() -> None:
            self._flow = None
            self._n_as_flows -= 1
            self._free_at = now(self._env)
            step.travel(now(self._env) - left)
            self._arrive(step)
            self._next()

        self._flow = self._fabric.start(self._wire.load(step.batch.tokens), done, began)
