"""A pipeline stage: a first-in first-out server that plays steps, op by op or each in one go."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from typing import Any

import simpy

from simcluster.kernel.clock import NORMAL, after, now
from simcluster.kernel.exchange import FlowExchange
from simcluster.kernel.step import Step
from simcluster.stages.timed import Service, StageModel, spliced

Events = Generator[simpy.Event, Any, None]


class OpStage:
    """
    One stage of a replica's pipeline, played op by op; `deliver` is called with every step that leaves it.

    An op lasts as the model says that is there when it starts. Where an exchange is given, collectives are flows on a
    fabric and last as long as these do.
    """

    def __init__(
        self,
        env: simpy.Environment,
        model: StageModel,
        deliver: Callable[[Step], None],
        exchange: FlowExchange | None,
    ) -> None:
        self._env = env
        self._model = model
        self._deliver = deliver
        self._exchange = exchange
        self._queue: deque[tuple[Step, int]] = deque()
        self._ahead_has_prefill = False
        self._process: simpy.Process | None = None
        self.busy = False

    def arrive(self, step: Step) -> None:
        """A step joins the queue; it starts at once when the stage is free."""
        self._queue.append((step, now(self._env)))
        if not self.busy:
            self.busy = True
            self._process = self._env.process(self._serve())

    def change(self, model: StageModel, exchange: FlowExchange | None) -> None:
        """Ops that start from now on are played by another model, exchanges by another plan."""
        self._model, self._exchange = model, exchange

    def clear(self) -> None:
        """All steps in the stage are lost."""
        self._queue.clear()
        if self.busy and self._process is not None:
            self._process.interrupt()
        self.busy = self._ahead_has_prefill = False

    def _serve(self) -> Events:
        """Process: serve the queue until it is empty, or until the steps are lost."""
        try:
            while self._queue:
                step, arrived = self._queue.popleft()
                step.wait(now(self._env) - arrived, behind_prefill=self._ahead_has_prefill)
                began = now(self._env)
                service = yield from self._play(step)
                step.serve(service)
                step.exchange_longer(now(self._env) - began - service.ticks)
                self._ahead_has_prefill = step.has_prefill
                self.busy = bool(self._queue)
                self._deliver(step)
        except simpy.Interrupt:
            return

    def _play(self, step: Step) -> Generator[simpy.Event, Any, Service]:
        """
        Process: every op's launch, compute and memory fetch side by side, the wait for the last rank, the exchange.

        The op goes on when the later of compute and fetch is over; the earlier one's event passes meanwhile.
        """
        env, model = self._env, self._model
        service = model.service(step.number, step.batch, step.entered)
        rows = _rows(service)
        for op in range(len(rows)):
            if self._model is not model:
                model = self._model
                service = spliced(service, model.service(step.number, step.batch, step.entered), op)
                rows = _rows(service)
            launch, compute, fetch, wait, exchange = rows[op]
            if launch:
                yield env.timeout(launch)
            if compute or fetch:
                computed, fetched = env.timeout(compute), env.timeout(fetch)
                yield computed if compute >= fetch else fetched
            if wait:
                yield env.timeout(wait)
            if exchange:
                if self._exchange is None:
                    yield env.timeout(exchange)
                else:
                    yield from self._exchange.play(op, step.batch)
        return service


def _rows(service: Service) -> list[tuple[int, ...]]:
    """Launch, compute, fetch, wait and exchange of each op."""
    return list(zip(*(column.tolist() for column in service.ops()), strict=True))


class FusedStage:
    """
    The same stage with one event a step, for links that nobody else uses.

    When its model changes, the ops of the step under way that have not started are played by the new one.
    """

    def __init__(self, env: simpy.Environment, model: StageModel, deliver: Callable[[Step], None]) -> None:
        self._env = env
        self._model = model
        self._deliver = deliver
        self._queue: deque[tuple[Step, int]] = deque()
        self._ahead_has_prefill = False
        self._playing: Playing | None = None

    @property
    def busy(self) -> bool:
        """Whether it serves a step."""
        return self._playing is not None or bool(self._queue)

    def arrive(self, step: Step) -> None:
        """A step joins the queue; it starts at once when the stage is free."""
        self._queue.append((step, now(self._env)))
        if self._playing is None:
            self._start()

    def change(self, model: StageModel, exchange: FlowExchange | None) -> None:
        """Ops that start from now on are played by another model."""
        self._model = model
        if self._playing is not None:
            self._playing.change(model)

    def clear(self) -> None:
        """All steps in the stage are lost."""
        self._queue.clear()
        if self._playing is not None:
            self._playing.cancel()
        self._playing, self._ahead_has_prefill = None, False

    def _start(self) -> None:
        step, arrived = self._queue.popleft()
        step.wait(now(self._env) - arrived, behind_prefill=self._ahead_has_prefill)
        self._playing = Playing(self._env, self._model, step, self._over)

    def _over(self, step: Step, service: Service) -> None:
        step.serve(service)
        self._ahead_has_prefill = step.has_prefill
        self._playing = None
        self._deliver(step)
        if self._queue and self._playing is None:
            self._start()


class Playing:
    """A step that a stage has been serving since `began`; `over` is called at its end, which may still change."""

    def __init__(
        self,
        env: simpy.Environment,
        model: StageModel,
        step: Step,
        over: Callable[[Step, Service], None],
        began: int | None = None,
    ) -> None:
        self._env = env
        self._step = step
        self._over = over
        self._began = now(env) if began is None else began
        self._service = model.service(step.number, step.batch, step.entered)
        self._n_awaited = 0
        self._await()

    def change(self, model: StageModel) -> None:
        """Ops that start after this instant are played by another model."""
        starts = self._began + self._service.detail().starts()
        first = int(starts.searchsorted(now(self._env), side="right"))
        if first < len(starts):
            after_it = model.service(self._step.number, self._step.batch, self._step.entered)
            self._service = spliced(self._service, after_it, first)
            self._await()

    def cancel(self) -> None:
        """It will never be over."""
        self._n_awaited += 1

    def _await(self) -> None:
        self._n_awaited += 1
        awaited = self._n_awaited

        def over() -> None:
            if awaited == self._n_awaited:
                self._over(self._step, self._service)

        after(self._env, self._began + self._service.ticks - now(self._env), NORMAL, over)
