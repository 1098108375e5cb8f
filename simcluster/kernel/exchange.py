"""Collectives and sends of a replica as flows on the fabric, for links that somebody else uses too."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from typing import Any

import simpy

from simcluster.kernel.clock import NORMAL, after, now
from simcluster.kernel.fabric import Fabric, Flow
from simcluster.kernel.step import Step
from simcluster.plans.replica_plan import FlowLoad, Rounds
from simcluster.work.batch import Batch


class FlowExchange:
    """The exchanges of one stage on the fabric."""

    def __init__(self, env: simpy.Environment, fabric: Fabric, rounds: Rounds) -> None:
        self._env = env
        self._fabric = fabric
        self._rounds = rounds

    def play(self, op: int, batch: Batch) -> Generator[simpy.Event, Any, None]:
        """Process: the rounds of an exchange one after the other; interrupted, it takes its flows off the links."""
        for latency_ticks, loads in self._rounds(op, batch):
            if latency_ticks:
                yield self._env.timeout(latency_ticks)
            if not loads:
                continue
            over = self._env.event()
            left = [len(loads)]

            def done(over: simpy.Event = over, left: list[int] = left) -> None:
                left[0] -= 1
                if not left[0]:
                    over.succeed()

            flows = self._fabric.start_together(loads, done)
            try:
                yield over
            except simpy.Interrupt:
                for flow in flows:
                    self._fabric.cancel(flow)
                raise


class Crossing:
    """
    The way from one stage to the next over shared links: steps one after the other, each after a latency.

    A step is put on the links when its latency has passed and the one before it is over.
    """

    def __init__(
        self, env: simpy.Environment, fabric: Fabric, load: Callable[[int], FlowLoad], latency_ticks: int,
        arrive: Callable[[Step], None],
    ) -> None:  # fmt: skip
        self._env = env
        self._fabric = fabric
        self._load = load
        self._latency_ticks = latency_ticks
        self._arrive = arrive
        self._ready: deque[tuple[Step, int]] = deque()
        self._flow: Flow | None = None
        self._ready_at = 0
        self._epoch = 0

    def cross(self, step: Step) -> None:
        """A step leaves for the next stage."""
        left, epoch = now(self._env), self._epoch
        self._ready_at = max(self._ready_at, left + self._latency_ticks)  # no step overtakes another

        def ready() -> None:
            if epoch == self._epoch:
                self._ready.append((step, left))
                self._next()

        after(self._env, self._ready_at - left, NORMAL, ready)

    def change(self, load: Callable[[int], FlowLoad], latency_ticks: int) -> None:
        """Steps that leave from now on travel so."""
        self._load, self._latency_ticks = load, latency_ticks

    def clear(self) -> None:
        """All steps on the way are lost."""
        self._epoch += 1
        self._ready_at = 0
        self._ready.clear()
        if self._flow is not None:
            self._fabric.cancel(self._flow)
            self._flow = None

    def _next(self) -> None:
        if self._flow is None and self._ready:
            step, left = self._ready.popleft()

            def done() -> None:
                self._flow = None
                step.travel(now(self._env) - left)
                self._arrive(step)
                self._next()

            self._flow = self._fabric.start(self._load(step.batch.tokens), done)
