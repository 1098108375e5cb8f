"""
A pipeline stage: a FIFO server of steps.

A step is one event, or one event per op. It is simulated op by op if the fidelity demands that, or if something else
uses the links of the stage; and it switches to op by op, from the op under way, when another flow is about to enter
them. The next step is one event again once the stage is alone on its links. Both ways give the same ticks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from typing import Any, NamedTuple

import simpy

from simcluster.kernel.clock import NORMAL, after, now
from simcluster.kernel.exchange import FlowExchange
from simcluster.kernel.step import Step
from simcluster.stages.timed import Service, StageModel, spliced

Events = Generator[simpy.Event, Any, None]
Left = Callable[[Step], None]


class StepPlay:
    """
    A step in service at a stage since tick `began`; its end may still change.

    Args:
        env: the clock.
        model: service times of the stage.
        step: the step.
        over: called at its end.
        exchange: its exchanges as flows while it is simulated op by op; None if they never are flows.
        op_by_op: whether it starts op by op.
        began: tick at which it began, if before now.
    """

    def __init__(
        self, env: simpy.Environment, model: StageModel, step: Step, over: Callable[[StepPlay], None],
        exchange: FlowExchange | None = None, op_by_op: bool = False, began: int | None = None,
    ) -> None:  # fmt: skip
        self._env = env
        self._over = over
        self._exchange = exchange
        self._model: StageModel | None = model
        """Of all of its ops; None once they are of several."""
        self.step = step
        self.began = now(env) if began is None else began
        self.service = model.service(step.number, step.batch, step.entered)
        self._changed: StageModel | None = None
        self._n_awaited = 0
        self._process: simpy.Process | None = None
        self.ended = -1
        """Tick at which it ended; -1 before that."""
        if op_by_op:
            self._process = env.process(self._serve(0, None))
        else:
            self._await()

    def flow_since(self) -> int:
        """Tick at which the transfer that is to become a flow entered the links; -1 without one."""
        if self._process is not None or self._exchange is None:
            return -1
        op, exchange_at = self._op_under_way()
        return self._exchange.flow_since(op, self.step.batch, exchange_at)

    def is_whole_of(self, model: StageModel) -> bool:
        """Whether it is one event, and all of it as this model has it."""
        return self._process is None and self._model is model

    def change(self, model: StageModel, exchange: FlowExchange | None) -> None:
        """Replace model and exchanges for ops that start after this tick."""
        if self._exchange is not None:
            self.refine()  # op by op, so that an exchange of the op under way that has not begun is the new one
        self._exchange = exchange
        if self._process is not None:
            self._changed = model
            return
        starts = self.began + self.service.detail().starts()
        first = int(starts.searchsorted(now(self._env), side="right"))
        if first < len(starts):
            self._go_over_to(model, first)
            self._await()

    def refine(self) -> None:
        """Continue op by op from here, since another flow is about to enter the links of the stage."""
        if self._process is not None:
            return
        self._n_awaited += 1
        op, exchange_at = self._op_under_way()
        if self._exchange is not None and exchange_at <= now(self._env):
            self._process = self._env.process(
                self._serve(op + 1, self._exchange.resume(op, self.step.batch, exchange_at))
            )
        else:
            self._process = self._env.process(self._serve(op, None, exchange_at - now(self._env)))

    def cancel(self) -> None:
        """Drop the step; `over` is not called."""
        self._n_awaited += 1
        if self._process is not None and self._process.is_alive:
            self._process.interrupt()

    def _op_under_way(self) -> tuple[int, int]:
        """Find the latest op that has started, and the tick at which its exchange begins."""
        detail = self.service.detail()
        starts = self.began + detail.starts()
        op = int(starts.searchsorted(now(self._env), side="right")) - 1
        return op, int(starts[op]) + _ticks_before_exchange(_rows(self.service)[op])

    def _go_over_to(self, model: StageModel, first_op: int) -> None:
        """Let ops from this one on last as a model says."""
        self._model = None
        step = self.step
        self.service = spliced(self.service, model.service(step.number, step.batch, step.entered), first_op)

    def _await(self) -> None:
        """Schedule the end; an earlier schedule is cancelled."""
        self._n_awaited += 1
        awaited = self._n_awaited

        def over() -> None:
            if awaited == self._n_awaited:
                self._end()

        after(self._env, self.began + self.service.ticks - now(self._env), NORMAL, over)

    def _end(self) -> None:
        self.ended = now(self._env)
        self._over(self)

    def _serve(self, first_op: int, resumed: Events | None, left_of_first: int | None = None) -> Events:
        """
        SimPy process: for every op launch, overlapping compute and fetch, wait for the last rank, then exchange.

        Compute and fetch are two events; the op continues at the later one.
        """
        try:
            if resumed is not None:
                yield from resumed
            rows, op = _rows(self.service), first_op
            while op < len(rows):
                if self._changed is not None and left_of_first is None:
                    self._go_over_to(self._changed, op)
                    self._changed, rows = None, _rows(self.service)
                yield from self._before_exchange(rows[op], left_of_first)
                left_of_first = None
                if exchange := rows[op][-1]:
                    if self._exchange is None:
                        yield self._env.timeout(exchange)
                    else:
                        yield from self._exchange.simulate(op, self.step.batch)
                op += 1
        except simpy.Interrupt:
            return
        self._end()

    def _before_exchange(self, row: tuple[int, ...], left: int | None) -> Events:
        """SimPy process: an op until its exchange, or the ticks left of that."""
        if left is not None:
            yield self._env.timeout(left)
            return
        launch, compute, fetch, wait, _ = row
        if launch:
            yield self._env.timeout(launch)
        if compute or fetch:
            computed, fetched = self._env.timeout(compute), self._env.timeout(fetch)
            yield computed if compute >= fetch else fetched
        if wait:
            yield self._env.timeout(wait)


def _rows(service: Service) -> list[tuple[int, ...]]:
    """Launch, compute, fetch, wait and exchange of each op."""
    return list(zip(*(column.tolist() for column in service.ops()), strict=True))


def _ticks_before_exchange(row: tuple[int, ...]) -> int:
    launch, compute, fetch, wait, _ = row
    return launch + max(compute, fetch) + wait


class Arrived(NamedTuple):
    """A step that has arrived at a stage."""

    step: Step
    tick: int
    before: list[int]
    """Ticks by component so far, as a request with a prompt in it sees them."""


class _Served(NamedTuple):
    play: StepPlay
    arrived: Arrived
    behind_prefill: bool
    """Whether the step before it carried prompts."""


Watcher = Callable[[Arrived], None]
"""Called when a stage has served a step, with the state of the step at its arrival."""


class Stage:
    """
    One stage of a pipeline with its queue.

    A stage may start the next step before the current one leaves (`Service.occupied_ticks`); steps leave in the order
    of their arrival.

    Args:
        env: the clock.
        model: service times.
        freed: called with a step when the stage can take the next one.
        left: called with a step when it leaves.
        exchange: its exchanges as flows; None if they never are flows.
        op_by_op: whether every op of every step is an event.
        is_alone: whether nothing else is on its links now; None if it shares no links.
        watcher: called with every step served.
    """

    def __init__(
        self, env: simpy.Environment, model: StageModel, freed: Left, left: Left, exchange: FlowExchange | None,
        op_by_op: bool, is_alone: Callable[[], bool] | None = None, watcher: Watcher | None = None,
    ) -> None:  # fmt: skip
        self._env = env
        self._model = model
        self._freed = freed
        self._left = left
        self._exchange = exchange
        self._op_by_op = op_by_op
        self._is_alone = is_alone
        self._watcher = watcher
        self._forget()

    def _forget(self) -> None:
        self._queue: deque[Arrived] = deque()
        self._serving: deque[_Served] = deque()
        """Steps that have begun and not left, in order."""
        self._occupant: StepPlay | None = None
        """The step that keeps the stage from taking the next one."""
        self.ahead_has_prefill = False
        """The step that began last carries prompts."""

    @property
    def busy(self) -> bool:
        """Whether a step would have to wait."""
        return self._occupant is not None or bool(self._queue)

    def arrive(self, step: Step) -> None:
        """Enqueue a step; it starts at once if the stage is free."""
        self._queue.append(Arrived(step, now(self._env), list(step.for_prefill) if self._watcher else []))
        if self._occupant is None:
            self._start()

    def put(self, step: Step, arrived: int, began: int | None) -> None:
        """Put in a step that came before now; where `began` is given, it has been served since then."""
        self._queue.append(Arrived(step, arrived, []))
        if began is not None:
            self._start(began)

    def positions(self) -> Iterator[tuple[Step, int]]:
        """Each step here with when it came or, of one that is served, when that began."""
        for served in self._serving:
            yield served.play.step, served.play.began
        for arrived in self._queue:
            yield arrived.step, arrived.tick

    @property
    def is_undisturbed(self) -> bool:
        """Whether the step in service is one event and as the model of now has it."""
        return all(served.play.is_whole_of(self._model) for served in self._serving)

    def change(self, model: StageModel, exchange: FlowExchange | None) -> None:
        """Replace model and exchanges for ops that start from now on."""
        self._model, self._exchange = model, exchange
        for play in self._under_way():
            play.change(model, exchange)

    def refinable(self) -> list[StepPlay]:
        """List the steps whose exchanges become flows when another flow enters the links."""
        return [] if self._exchange is None else self._under_way()

    def clear(self) -> None:
        """Drop all steps in the stage."""
        for play in self._under_way():
            play.cancel()
        self._forget()

    def _under_way(self) -> list[StepPlay]:
        return [served.play for served in self._serving if served.play.ended < 0]

    def _start(self, began: int | None = None) -> None:
        """Serve the next step, from now on or, if it was accounted for until it began, since then."""
        arrived, behind_prefill = self._queue.popleft(), self.ahead_has_prefill
        step = arrived.step
        if began is None:
            step.wait(now(self._env) - arrived.tick, behind_prefill=behind_prefill)
        self.ahead_has_prefill = step.has_prefill
        op_by_op = began is None and (self._op_by_op or not (self._is_alone is None or self._is_alone()))
        play = StepPlay(self._env, self._model, step, self._over, self._exchange, op_by_op, began)
        self._occupant = play
        self._serving.append(_Served(play, arrived, behind_prefill))
        occupied = play.service.occupied_ticks
        if occupied is not None and occupied < play.service.ticks:
            after(self._env, occupied, NORMAL, lambda: self._free(play))

    def _free(self, play: StepPlay) -> None:
        """Free the stage for the next step, if this step still blocks it; this step has not left yet."""
        if self._occupant is play:
            step, service = play.step, play.service
            passed = occupied_components(service.components, now(self._env) - play.began)
            step.in_first_stage = [a + b for a, b in zip(step.for_prefill, passed, strict=True)]
            self._occupant = None
            self._freed(step)
            self._start_next()

    def _start_next(self) -> None:
        if self._queue and self._occupant is None:
            self._start()

    def _over(self, play: StepPlay) -> None:
        """Release the steps that have ended, in order."""
        while self._serving and self._serving[0].play.ended >= 0:
            self._leave(self._serving.popleft())
        self._free(play)  # a step that has ended but waits for one ahead of it does not block the stage

    def _leave(self, served: _Served) -> None:
        play, arrived, behind_prefill = served
        step, instant = play.step, now(self._env)
        step.serve(play.service)
        step.add_exchange_delay(play.ended - play.began - play.service.ticks)
        step.wait(instant - play.ended, behind_prefill=behind_prefill)
        if self._watcher is not None:
            self._watcher(arrived)
        if self._occupant is play:
            step.in_first_stage = list(step.for_prefill)
            self._occupant = None
            self._freed(step)
        self._left(step)
        self._start_next()


def occupied_components(components: list[int], ticks: int) -> list[int]:
    """Scale components down to a total of `ticks`, in proportion, rounded so that they sum to it."""
    total, passed, given = sum(components), 0, []
    for component in components:
        before = passed * ticks // total
        passed += component
        given.append(passed * ticks // total - before)
    return given
