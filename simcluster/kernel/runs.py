"""
Fused runs of decode steps, for a replica of one stage whose scheduler declares `SteadyDecode`.

While no request joins or leaves, the scheduler repeats its decision and every context grows by one token a step. So
all steps until the first request is done, or KV blocks run out, are computed at once. An arrival cuts the run at the
end of the step under way; completed steps remain valid. A step with prompts that joins a run is one event, too.
Everything else (prompts in steps of their own, preemption, more requests than a step may serve) is left to the
replica, which simulates step by step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import add
from typing import NamedTuple

import simpy

from simcluster.kernel.clock import NORMAL, after, now
from simcluster.kernel.cohort import Cohort
from simcluster.kernel.exchange import FlowExchange
from simcluster.kernel.lane import Lane
from simcluster.kernel.stage import StepPlay
from simcluster.kernel.step import Prompts, Step
from simcluster.numerics.ticks import Ticks
from simcluster.policies.checks import require_admissions, require_steady
from simcluster.policies.schedulers import SteadyDecode
from simcluster.policies.views import Room
from simcluster.stages.timed import Run, RunModel
from simcluster.trace.recorder import Recorder, Segment
from simcluster.work.batch import Batch

MAX_STEPS = 512
"""Steps of one run, which bounds its memory."""


class DecodeRun(NamedTuple):
    """Successive steps of the cohort, of which the first `n_steps` are to be simulated."""

    first_step: int
    started: int
    ends: Ticks
    """Tick at which each step ends, shape (steps,)."""
    found: Run
    """Their durations and components."""
    n_steps: int


@dataclass(frozen=True)
class Links:
    """The shared links of a stage, and its exchanges as flows on them."""

    is_alone: Callable[[], bool]
    exchange: FlowExchange | None


class DecodeRuns:
    """
    Serves the requests of a lane in fused runs: a few events per request, same ticks as step by step.

    Args:
        env: the clock.
        lane: queue and running requests.
        model: service times of the stage.
        rule: the scheduler's decision while all running requests decode.
        recorder: takes the token rows.
        decide: called when a step may be formed; with True if other events of this tick must come first.
        links: shared links of the stage; None if nothing else uses them.
    """

    def __init__(
        self, env: simpy.Environment, lane: Lane, model: RunModel, rule: SteadyDecode, recorder: Recorder,
        decide: Callable[[bool], None], links: Links | None = None,
    ) -> None:  # fmt: skip
        self._env = env
        self._lane = lane
        self._model = model
        self._rule = rule
        self._recorder = recorder
        self._decide = decide
        self._links = links
        self._cohort = Cohort(lane.kv.block_size)
        self._run: DecodeRun | None = None
        self._n_planned = 0
        self._play: StepPlay | None = None
        self._last_end = 0
        """Tick at which the latest step ended."""
        self._likely_steps = MAX_STEPS
        """Estimated length of a run, from the latest runs, so that few steps are computed in vain."""

    @property
    def complete_until(self) -> int | None:
        """Tick before which all rows are recorded; None for the current tick."""
        return None if self._run is None else self._run.started

    def cut_for_arrival(self) -> tuple[int, bool]:
        """
        End the current run before the first step that a request which arrives now can join.

        Returns:
            Number of steps begun, and whether a run is under way, so that nothing needs to be decided now.
        """
        run, lane = self._run, self._lane
        if run is None:
            return lane.n_steps, False
        n_begun = int(run.ends.searchsorted(now(self._env))) + 1
        if len(lane.running) < lane.max_running:
            n_steps = n_begun + lane.admission_lag
            if n_steps < run.n_steps:
                self._await(run._replace(n_steps=n_steps))
        return run.first_step + n_begun, True

    def settle(self, horizon: int) -> None:
        """Record the steps of the current run that end before the horizon, at which the simulation stops."""
        if self._run is not None:
            n_steps = min(int(self._run.ends.searchsorted(horizon)), self._run.n_steps)
            if n_steps:
                self._end_run(self._run._replace(n_steps=n_steps))
        self._dissolve()

    def change(self, model: RunModel, links: Links | None) -> None:
        """Replace model and links for ops that start from now on."""
        self._single_out()
        self._model, self._links = model, links
        if self._play is not None:
            self._play.change(model, None if links is None else links.exchange)

    def refine(self) -> None:
        """Turn exchanges under way into flows: another flow is about to enter the links, or capacities to change."""
        self._single_out()
        if self._play is not None:
            self._play.refine()

    def fail(self) -> None:
        """Stop after a failure; tokens of completed steps remain valid."""
        if self._run is not None and self._stop_run() is not None:
            self._lane.n_steps += 1  # the step that is lost has a number too
            self._dissolve(1)
        else:
            self._dissolve()
        if self._play is not None:
            self._play.cancel()
            self._play = None

    def _single_out(self) -> None:
        """End the run after its completed steps; the step under way is then simulated on its own."""
        if self._run is None or (began := self._stop_run()) is None:
            return
        self._lane.kv.take(self._cohort.growth.blocks(self._lane.n_steps, 1))
        self._serve(Step(self._lane.n_steps, began, self._batch(), [], [], []), began)

    def _batch(self) -> Batch:
        """The batch of the next step of the cohort alone."""
        n = len(self._cohort)
        return Batch(n, self._cohort.context(self._lane.n_steps), 0, 0, 0, n, n)

    def _stop_run(self) -> int | None:
        """End the run after its completed steps; returns when the step under way began, None without one."""
        instant, run = now(self._env), self._run
        assert run is not None
        n_steps = int(run.ends.searchsorted(instant, side="right"))
        self._n_planned += 1
        if n_steps:
            self._end_run(run._replace(n_steps=n_steps))
        self._run = None
        began = int(run.ends[n_steps - 1]) if n_steps else run.started
        if n_steps and began == instant:  # the next step is formed after what happens now
            self._decide(True)
            return None
        return began

    def _dissolve(self, n_lost: int = 0) -> None:
        """Dissolve the cohort: write the state after the latest completed step into its requests."""
        n_lost += self._play is not None
        self._cohort.dissolve(self._lane.n_steps - n_lost, self._last_end)

    def decide(self, is_busy: bool) -> bool:
        """
        Form the next step or a run of steps, if they can be fused.

        Args:
            is_busy: whether the stage serves a step that was formed by the replica.

        Returns:
            Whether the decision is made; if not, the replica decides step by step.
        """
        if self._run is not None or self._play is not None:
            return True
        cohort, lane = self._cohort, self._lane
        n = len(cohort)
        if not n and lane.running and not is_busy:
            n = self._gather()
        if n == len(lane.running) and n <= lane.max_tokens:
            needed = cohort.growth.blocks(lane.n_steps, 1)
            if needed <= lane.kv.available:
                grants = self._admissions(n, needed) if lane.waiting and n < lane.max_running else []
                if lane.is_checked and not (grants and self._rule.prompts_alone):
                    self._require_declared(grants)
                if not grants:
                    if n:
                        self._start_run(needed)
                    return True
                if not (n and self._rule.prompts_alone):
                    lane.kv.take(needed)
                    self._start_step(grants)
                    return True
        self._dissolve()
        return False

    def _require_declared(self, grants: list[tuple[int, int]]) -> None:
        """
        Check that a scheduler of a caller decides as it declares.

        Raises:
            PolicyError: it does not.
        """
        lane = self._lane
        view = lane.view(self._cohort.views(lane.n_steps), now(self._env))
        expected = [(request.request, 1) for request in view.running] + grants
        require_steady(lane.scheduler, view, expected, lane.scheduler(view))

    def _gather(self) -> int:
        """Form a cohort if all running requests only decode and got their latest token now; returns its size."""
        instant, lane = now(self._env), self._lane
        running = lane.running.values()
        if not all(r.last_token == instant and r.only_decodes for r in running):
            return 0
        self._last_end = instant
        for request in running:
            self._cohort.join(request, lane.n_steps)
        return len(self._cohort)

    def _admissions(self, n: int, needed: int) -> list[tuple[int, int]]:
        """Choose waiting requests that join the cohort's next step, with the tokens that each computes."""
        lane, rule = self._lane, self._rule
        places = min(lane.max_running, lane.in_system) - n
        tokens, blocks = lane.max_tokens - n, lane.kv.available - needed
        if rule.prompts_alone:
            tokens, blocks = lane.max_tokens, lane.kv.available - n
        room = Room(tokens, lane.max_tokens, blocks, lane.kv.block_size, places)
        if not lane.is_checked:
            return rule.admit(lane.admissible(), room)
        waiting = list(lane.admissible())
        grants = rule.admit(waiting, room)
        require_admissions(lane.scheduler, waiting, room, grants)
        return grants

    def _start_step(self, grants: list[tuple[int, int]]) -> None:
        """Serve one step of the cohort together with prompts."""
        instant, lane, prompts = now(self._env), self._lane, Prompts()
        for number, n_tokens in grants:
            request = lane.admit(number)
            lane.compute(request, n_tokens)
            prompts.add(request, n_tokens)
            request.account_wait(instant, lane.waited_as)
        cohort = self._cohort
        self._serve(lane.step_of(prompts, len(cohort), cohort.context(lane.n_steps), [], instant))

    def _serve(self, step: Step, began: int | None = None) -> None:
        """Serve one step, which began now or at tick `began`."""
        self._lane.n_steps += 1
        exchange = None if self._links is None else self._links.exchange
        op_by_op = began is None and self._links is not None and not self._links.is_alone()
        self._play = StepPlay(self._env, self._model, step, self._end_step, exchange, op_by_op, began)

    def _end_step(self, play: StepPlay) -> None:
        """Emit a token for the cohort and for finished prompts; the latter join the cohort."""
        step, service = play.step, play.service
        delay = play.ended - play.began - service.ticks
        if delay:
            step.serve(service)
            step.add_exchange_delay(delay)
        else:  # no need to add to nothing
            step.for_prefill, step.for_decode = service.components, service.decode_components
        self._play, self._lane.ahead_has_prefill = None, step.has_prefill
        instant, number, cohort = now(self._env), step.number, self._cohort
        own = [c - d for c, d in zip(step.for_prefill, step.for_decode, strict=True)]
        more: list[tuple[int, list[int]]] = []  # components of prompts beyond those of decoding requests
        for place, request in enumerate(step.finishing, len(cohort)):
            gathered = request.time_before_step
            more.append((place, own if gathered is None else list(map(add, own, gathered))))
            request.emit(instant)
            request.in_flight = False
            cohort.join(request, number + 1)
        if cohort:
            members = cohort.members()
            segment = Segment(
                self._lane.number, number, step.batch.sequences, instant, step.for_decode, members, more
            )
            self._recorder.add(segment)
        for request in step.chunked:
            request.chunks_under_way -= 1
            request.gather(step.for_prefill, instant)
        self._let_go(number + 1, instant)
        self._decide(False)

    def _start_run(self, needed: int) -> None:
        """Decode the cohort until its first request is done or KV blocks run out."""
        cohort, lane = self._cohort, self._lane
        step, n = lane.n_steps, len(cohort)
        if self._links is not None and not self._links.is_alone():
            lane.kv.take(needed)
            self._serve(Step(step, now(self._env), self._batch(), [], [], []))
            return
        lane.ahead_has_prefill = False
        started = now(self._env)
        max_steps = min(cohort.last_step() - step, MAX_STEPS, 2 * self._likely_steps + 8)
        if lane.waiting and n < lane.max_running and lane.waiting[0].seen_from > step:
            max_steps = min(max_steps, lane.waiting[0].seen_from - step)
        n_steps = cohort.growth.steps_within(step, max_steps, lane.kv.available)
        found = self._model.run(step, self._batch(), n_steps, started)
        ends = found.ticks.cumsum()
        ends += started
        if ends[-1] < 0:  # past an int64
            raise OverflowError("simulated time passes 106 days, the most that a trace can hold")
        self._await(DecodeRun(step, started, ends, found, len(ends)))

    def _await(self, run: DecodeRun) -> None:
        """Schedule the end of the run; it is cancelled if the run is cut before."""
        self._run = run
        self._n_planned += 1
        planned = self._n_planned

        def over() -> None:
            if planned == self._n_planned:
                self._end_run(run)
                self._decide(False)

        after(self._env, int(run.ends[run.n_steps - 1]) - now(self._env), NORMAL, over)

    def _end_run(self, run: DecodeRun) -> None:
        """Emit one token per step of the run for each request of the cohort."""
        n_steps, step = run.n_steps, run.first_step
        self._likely_steps = 2 * n_steps if n_steps == len(run.ends) else (3 * self._likely_steps + n_steps) // 4
        # Until `_run` is None, the recorder holds back later rows of other replicas, which keeps rows in order.
        ends, (_, components, growing) = run.ends[:n_steps], run.found
        if growing is not None:
            growing = growing[0], growing[1][:n_steps]
        elif not isinstance(components, list):
            components = components[:n_steps]
        cohort, lane = self._cohort, self._lane
        segment = Segment(lane.number, step, len(cohort), ends, components, cohort.members(), (), growing)
        self._recorder.add(segment)
        self._run = None
        lane.kv.take(cohort.growth.blocks(step, n_steps))
        lane.n_steps = step + n_steps
        self._let_go(lane.n_steps, int(ends[-1]))

    def _let_go(self, step: int, instant: int) -> None:
        """Release the requests that have their last token after `step` steps."""
        self._last_end = instant
        for request in self._cohort.pop_finished(step, instant):
            self._lane.release(request)
