"""A pipeline stage: a first-in first-out server that plays steps op by op."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from typing import Any

import simpy

from simcluster.costs.service import Service, StageModel
from simcluster.kernel.clock import now
from simcluster.kernel.step import Step

Events = Generator[simpy.Event, Any, None]


def play_ops(env: simpy.Environment, service: Service) -> Events:
    """
    Process: every op's launch, compute and memory fetch side by side, the wait for the last rank, the exchange.

    The op goes on when the later of compute and fetch is over; the earlier one's event passes meanwhile.
    """
    for launch, compute, fetch, wait, exchange in zip(*(column.tolist() for column in service.ops()), strict=True):
        if launch:
            yield env.timeout(launch)
        if compute or fetch:
            computed, fetched = env.timeout(compute), env.timeout(fetch)
            yield computed if compute >= fetch else fetched
        if wait:
            yield env.timeout(wait)
        if exchange:
            yield env.timeout(exchange)


class Stage:
    """One stage of a replica's pipeline; `deliver` is called with every step that leaves it."""

    def __init__(self, env: simpy.Environment, model: StageModel, deliver: Callable[[Step], None]) -> None:
        self._env = env
        self._model = model
        self._deliver = deliver
        self._queue: deque[tuple[Step, int]] = deque()
        self._ahead_has_prefill = False
        self.busy = False

    def arrive(self, step: Step) -> None:
        """A step joins the queue; it starts at once when the stage is free."""
        self._queue.append((step, now(self._env)))
        if not self.busy:
            self.busy = True
            self._env.process(self._serve())

    def _serve(self) -> Events:
        """Process: serve the queue until it is empty."""
        while self._queue:
            step, arrived = self._queue.popleft()
            step.wait(now(self._env) - arrived, behind_prefill=self._ahead_has_prefill)
            service = self._model.service(step.number, step.batch)
            yield from play_ops(self._env, service)
            step.serve(service)
            self._ahead_has_prefill = step.has_prefill
            self.busy = bool(self._queue)
            self._deliver(step)
