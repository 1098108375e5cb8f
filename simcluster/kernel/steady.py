"""
A replica of one stage under a steady scheduler, played many decode steps at a time.

While nobody joins and nobody leaves, the scheduler decides the same again and the contexts grow by a token a step:
the steps until the first request is done, or a KV block is missing, are found at once. What arrives meanwhile cuts
such a run at the end of the step that is being made then; steps that are over stand. A step with prompts is found in
one go.
What goes beyond that (chunks of prompts, prompts in steps of their own, preemption, more requests than a step may
serve) is left to `Replica`.
"""

from __future__ import annotations

from itertools import takewhile
from operator import add
from typing import Any, NamedTuple

from simcluster.kernel.clock import NORMAL, after, now
from simcluster.kernel.cohort import Cohort
from simcluster.kernel.replica import Replica
from simcluster.kernel.request import Request
from simcluster.kernel.stage import Playing
from simcluster.kernel.step import Prompts, Step
from simcluster.numerics.ticks import Ticks
from simcluster.plans.replica_plan import ReplicaPlan
from simcluster.policies.schedulers import Room
from simcluster.stages.timed import Run, RunModel, Service
from simcluster.trace.recorder import Segment
from simcluster.work.batch import Batch

MOST_STEPS = 512
"""Of one run, which bounds its memory."""


class DecodeRun(NamedTuple):
    """Steps of the cohort in a row; the first `n_steps` are meant to be made."""

    first_step: int
    started: int
    ends: Ticks
    """When each step ends, shape (steps,)."""
    played: Run
    """By the stage: their durations and components."""
    n_steps: int


class SteadyReplica(Replica):
    """Serves as `Replica` does, to the tick, with a few events for each request instead of some for each step."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._stage: RunModel = self._plan.pipeline.stages[0]  # type: ignore[assignment]  # what `steady` promises
        self._cohort = Cohort(self._plan.block_size)
        self._run: DecodeRun | None = None
        self._n_planned = 0
        self._playing: Playing | None = None
        self._last_end = 0
        """When the last step ended."""
        self._likely_steps = MOST_STEPS
        """Of a run until something cuts it, going by the last ones: to plan many more is in vain."""

    @property
    def complete_until(self) -> int | None:
        """Before which tick all rows of this replica are recorded; None when that is now."""
        return None if self._run is None else self._run.started

    def arrive(self, request: Request) -> None:
        """A request joins the queue; a run of decode steps ends before the first that it can join."""
        run = self._run
        if run is None:
            super().arrive(request)
            return
        n_begun = int(run.ends.searchsorted(now(self._env))) + 1
        self._enqueue(request, run.first_step + n_begun)
        if len(self._running) < self._plan.max_running:
            n_steps = n_begun + self._plan.admission_lag
            if n_steps < run.n_steps:
                self._await(run._replace(n_steps=n_steps))

    def settle(self, horizon: int) -> None:
        """The simulation stops: the steps of a run that were over before the horizon have been made."""
        if self._run is not None:
            n_steps = min(int(self._run.ends.searchsorted(horizon)), self._run.n_steps)
            if n_steps:
                self._end_run(self._run._replace(n_steps=n_steps))
        self._dissolve()

    def change(self, plan: ReplicaPlan) -> None:
        """Its device or its links are not what they were: ops that start from now on are played by another plan."""
        before, self._stage = self._stage, plan.pipeline.stages[0]  # type: ignore[assignment]
        self._plan = plan
        self._pipeline.change(plan.pipeline)
        if self._run is not None and (began := self._stop_run()) is not None:
            step, n = self._n_steps, len(self._cohort)
            self._free_blocks -= self._cohort.new_blocks(step, 1)
            batch = Batch(n, self._cohort.context(step), 0, 0, 0, n, n)
            self._play(Step(step, began, batch, [], [], []), before, began)
        if self._playing is not None:
            self._playing.change(self._stage)

    def fail(self) -> list[Request]:
        """It stops; tokens of steps that are over stand."""
        if self._run is not None and self._stop_run() is not None:
            self._n_steps += 1  # the number of the step that is lost
            self._dissolve(1)
        else:
            self._dissolve()
        if self._playing is not None:
            self._playing.cancel()
            self._playing = None
        return super().fail()

    def _stop_run(self) -> int | None:
        """End the run after the steps that are over now; when the step under way began, if there is one."""
        instant, run = now(self._env), self._run
        assert run is not None
        n_steps = int(run.ends.searchsorted(instant, side="right"))
        self._n_planned += 1
        if n_steps:
            self._end_run(run._replace(n_steps=n_steps))
        self._run = None
        began = int(run.ends[n_steps - 1]) if n_steps else run.started
        if n_steps and began == instant:  # the next step is formed after what happens now
            self._decide_soon()
            return None
        return began

    def _dissolve(self, n_lost: int = 0) -> None:
        """Everybody in the cohort is as after the last step that is over."""
        n_lost += self._playing is not None
        self._cohort.dissolve(self._n_steps - n_lost, self._last_end)

    def _decide(self) -> None:
        self._deciding = False
        if self._run is not None or self._playing is not None:
            return
        cohort, plan = self._cohort, self._plan
        assert plan.steady is not None
        n = len(cohort)
        if not n and self._running:
            n = self._gather()
        if n == len(self._running) and n <= plan.max_tokens:
            needed = cohort.new_blocks(self._n_steps, 1)
            if needed <= self._free_blocks:
                grants = self._admissions(n, needed) if self._waiting and n < plan.max_running else []
                if not grants:
                    if n:
                        self._start_run()
                    return
                if not (n and plan.steady.prompts_alone):
                    self._free_blocks -= needed
                    self._start_step(grants)
                    return
        self._dissolve()
        super()._decide()

    def _gather(self) -> int:
        """The running requests become a cohort if all only decode and got their last token now; how many do."""
        instant = now(self._env)
        running = self._running.values()
        if self._pipeline.busy or not all(r.last_token == instant and r.only_decodes for r in running):
            return 0
        self._last_end = instant
        for request in running:
            self._cohort.join(request, self._n_steps)
        return len(self._cohort)

    def _admissions(self, n: int, needed: int) -> list[tuple[int, int]]:
        """Waiting requests that join the cohort's next step, with the tokens each computes."""
        plan = self._plan
        assert plan.steady is not None
        seen = (request.seen() for request in takewhile(self._can_be_admitted, self._waiting))
        places = min(plan.max_running, self.in_system) - n
        tokens, blocks = plan.max_tokens - n, self._free_blocks - needed
        if plan.steady.prompts_alone:
            tokens, blocks = plan.max_tokens, self._free_blocks - n
        return plan.steady.admit(seen, Room(tokens, plan.max_tokens, blocks, plan.block_size, places))

    def _start_step(self, grants: list[tuple[int, int]]) -> None:
        """One step of the cohort together with prompts."""
        instant, prompts = now(self._env), Prompts()
        for number, n_tokens in grants:
            request = self._admitted(number)
            self._compute(request, n_tokens)
            prompts.add(request, n_tokens)
            request.account_wait(instant, self._waited_as)
        cohort = self._cohort
        self._play(self._with_prompts(prompts, len(cohort), cohort.context(self._n_steps), []), self._stage)

    def _play(self, step: Step, stage: RunModel, began: int | None = None) -> None:
        """Serve a step, which began now or before."""
        self._n_steps += 1
        self._playing = Playing(self._env, stage, step, self._end_step, began)

    def _end_step(self, step: Step, service: Service) -> None:
        """The cohort and the prompts that were finished get a token; the latter join the cohort."""
        self._playing, self._ahead_has_prefill = None, step.has_prefill
        instant, number, cohort = now(self._env), step.number, self._cohort
        own = [c - d for c, d in zip(service.components, service.decode_components, strict=True)]
        head_starts: list[tuple[int, list[int]]] = []  # what prompts see otherwise than who decodes
        for place, request in enumerate(step.finishing, len(cohort)):
            gathered = request.head_start
            head_starts.append((place, own if gathered is None else list(map(add, own, gathered))))
            request.emit(instant)
            request.in_flight = False
            cohort.join(request, number + 1)
        if cohort:
            components, members = service.decode_components, cohort.members()
            segment = Segment(self._number, number, step.batch.sequences, instant, components, members, head_starts)
            self._recorder.add(segment)
        for request in step.chunked:
            request.chunks_under_way -= 1
            request.gather(service.components, instant)
        self._let_go(number + 1, instant)
        self._decide_now_or_soon()

    def _start_run(self) -> None:
        """Decode the cohort until its first request is done or a KV block is missing."""
        cohort, step, n = self._cohort, self._n_steps, len(self._cohort)
        self._ahead_has_prefill = False
        started = now(self._env)
        most = min(cohort.last_step() - step, MOST_STEPS, 2 * self._likely_steps + 8)
        if self._waiting and n < self._plan.max_running and self._waiting[0].seen_from > step:
            most = min(most, self._waiting[0].seen_from - step)
        n_steps = cohort.steps_within(step, most, self._free_blocks)
        played = self._stage.run(step, Batch(n, cohort.context(step), 0, 0, 0, n, n), n_steps, started)
        ends = played.ticks.cumsum()
        ends += started
        if ends[-1] < 0:  # past an int64
            raise OverflowError("simulated time passes 106 days, the most that a trace can hold")
        self._await(DecodeRun(step, started, ends, played, len(ends)))

    def _await(self, run: DecodeRun) -> None:
        """Come back at the end of the run, unless it is cut before."""
        self._run = run
        self._n_planned += 1
        planned = self._n_planned

        def over() -> None:
            if planned == self._n_planned:
                self._end_run(run)
                self._decide_now_or_soon()

        after(self._env, int(run.ends[run.n_steps - 1]) - now(self._env), NORMAL, over)

    def _end_run(self, run: DecodeRun) -> None:
        """The run is over: everybody in it got as many tokens as it had steps."""
        n_steps, step = run.n_steps, run.first_step
        self._likely_steps = 2 * n_steps if n_steps == len(run.ends) else (3 * self._likely_steps + n_steps) // 4
        # While the run is there, rows of other replicas that come after its own are held back.
        ends, (_, components, growing) = run.ends[:n_steps], run.played
        if growing is not None:
            growing = growing[0], growing[1][:n_steps]
        elif not isinstance(components, list):
            components = components[:n_steps]
        cohort = self._cohort
        segment = Segment(self._number, step, len(cohort), ends, components, cohort.members(), (), growing)
        self._recorder.add(segment)
        self._run = None
        self._free_blocks -= self._cohort.new_blocks(step, n_steps)
        self._n_steps = step + n_steps
        self._let_go(self._n_steps, int(ends[-1]))

    def _let_go(self, step: int, instant: int) -> None:
        """Who got the last token leaves, when so many steps have been made."""
        self._last_end = instant
        for request in self._cohort.pop_finished(step, instant):
            self._release(request)
