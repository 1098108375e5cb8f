"""A replica: one copy of the model, its queue, its KV blocks and its pipeline."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import takewhile

import simpy

from simcluster.costs.batch import Batch
from simcluster.costs.service import RunModel, StageModel
from simcluster.kernel.clock import DECIDE, NORMAL, after, now
from simcluster.kernel.decode_run import MOST_STEPS, DecodeRun, n_steps
from simcluster.kernel.pipeline import Chain, Pipeline, Tandem, Wire
from simcluster.kernel.request import Request
from simcluster.kernel.step import Step
from simcluster.policies.schedulers import Scheduler, View, blocks_for
from simcluster.trace import COMPONENT, N_KEYS, Recorder

PIPELINES: dict[str, Callable[..., Pipeline]] = {"auto": Tandem, "op": Chain}
"""How the pipeline of a replica is played, by fidelity; all give the same times."""


@dataclass(frozen=True)
class ReplicaPlan:
    """What a replica is built from."""

    stages: tuple[StageModel, ...]
    wires: tuple[Wire, ...]
    """Between the stages; one fewer than these."""
    return_ticks: int
    """Time of a chosen token from the last stage back to the first; 0 with one stage."""
    n_blocks: int
    block_size: int
    max_running: int
    max_tokens: int
    scheduler: Scheduler
    steady: bool = False
    """Whether the scheduler decides the same again while nobody joins or leaves and blocks last, so that decode steps
    in a row can be found at once. Only a first stage that is the only one can do so."""

    def can_hold(self, n_tokens: int) -> bool:
        """Whether the KV cache has room for a request of so many tokens when it is alone."""
        return blocks_for(n_tokens, self.block_size) <= self.n_blocks


class Replica:
    """
    Serves requests step by step; `finished` is called with every request that got its last token.

    A step is formed when the first stage is free and somebody can take part, after everything else that happens at
    that instant. Several steps are under way when there are several stages, but a request is in one of them only,
    except for successive chunks of its prompt.
    """

    def __init__(
        self,
        env: simpy.Environment,
        number: int,
        plan: ReplicaPlan,
        fidelity: str,
        recorder: Recorder,
        finished: Callable[[Request], None],
    ) -> None:
        self._env = env
        self._number = number
        self._plan = plan
        self._recorder = recorder
        self._finished = finished
        self._waiting: deque[Request] = deque()
        self._running: dict[int, Request] = {}
        self._free_blocks = plan.n_blocks
        self._n_steps = 0
        self._deciding = False
        self._run: DecodeRun | None = None
        self._n_runs_planned = 0
        self._makes_runs = plan.steady and fidelity == "auto" and len(plan.stages) == 1
        self._ahead_has_prefill = False
        self._waited_as = COMPONENT["queue" if len(plan.stages) == 1 else "pipeline_wait"]
        self._pipeline = PIPELINES[fidelity](env, plan.stages, plan.wires, self._first_left, self._last_left)

    @property
    def in_system(self) -> int:
        """Requests waiting or running here."""
        return len(self._waiting) + len(self._running)

    @property
    def complete_until(self) -> int | None:
        """Before which tick all rows of this replica are recorded; None when that is now."""
        return None if self._run is None else self._run.started

    def arrive(self, request: Request) -> None:
        """A request joins the queue; a run of decode steps ends with the step that is being made, for it to join."""
        request.replica = self._number
        self._waiting.append(request)
        if self._run is None:
            self._decide_soon()
        elif len(self._running) < self._plan.max_running and self._run.cut(now(self._env)):
            self._await_run(self._run)

    def _decide_soon(self) -> None:
        """Form a step at the end of this instant, if the first stage is free then."""
        if not self._deciding:
            self._deciding = True
            after(self._env, 0, DECIDE, self._decide)

    def _decide(self) -> None:
        self._deciding = False
        if self._run is not None or self._pipeline.busy:
            return
        if self._waiting or self._running:
            if self._makes_runs and self._can_only_decode():
                self._start_run(list(self._running.values()), MOST_STEPS)
                return
            n_waiting = len(self._waiting)
            granted = self._grants()
            if self._makes_runs and self._all_decode(granted):
                has_preempted = len(self._waiting) > n_waiting
                self._start_run([request for request, _ in granted], 1 if has_preempted else MOST_STEPS)
            elif granted:
                step = self._form_step(granted)
                self._pipeline.enter(step)
                self._ahead_has_prefill = step.has_prefill

    def _can_only_decode(self) -> bool:
        """Whether a steady scheduler need not be asked: nobody can join, and everybody can make one more token."""
        plan, running = self._plan, self._running
        if (self._waiting and len(running) < plan.max_running) or not 0 < len(running) <= plan.max_tokens:
            return False
        return len(running) <= self._free_blocks and all(
            r.generated and r.computed + 1 == r.prompt_tokens + r.generated for r in running.values()
        )

    def _all_decode(self, granted: list[tuple[Request, int]]) -> bool:
        """Whether everybody who runs here makes one more token, and nobody does anything else."""
        return len(granted) == len(self._running) > 0 and all(
            n_tokens == 1 and request.generated and request.computed + 1 == request.prompt_tokens + request.generated
            for request, n_tokens in granted
        )

    def _start_run(self, requests: list[Request], most_steps: int) -> None:
        """
        Decode the batch until the first request is done, a KV block is missing, or somebody arrives.

        Whoever was preempted a moment ago may be admitted again at the next step, so that one is all there is then.
        """
        instant, block_size = now(self._env), self._plan.block_size
        waited_as = COMPONENT["prefill_interference"] if self._ahead_has_prefill else self._waited_as
        self._ahead_has_prefill = False
        for request in requests:
            request.account_wait(instant, waited_as)
        model: RunModel = self._plan.stages[0]  # type: ignore[assignment]  # what `steady` promises
        steps = n_steps(requests, most_steps, self._free_blocks, block_size)
        self._run = DecodeRun(model, self._n_steps, instant, requests, steps)
        self._await_run(self._run)

    def _await_run(self, run: DecodeRun) -> None:
        """Come back at the end of the run, unless it is cut before."""
        self._n_runs_planned += 1
        planned = self._n_runs_planned

        def over() -> None:
            if planned == self._n_runs_planned:
                self._end_run(run, run.n_steps)
                self._decide_soon()

        after(self._env, run.ends_at - now(self._env), NORMAL, over)

    def settle(self, horizon: int) -> None:
        """The simulation stops: the steps of a run that were over before the horizon have been made."""
        if self._run is not None and (steps := self._run.over_before(horizon)):
            self._end_run(self._run, steps)

    def _end_run(self, run: DecodeRun, steps: int) -> None:
        """So many steps of the run are over: everybody in it got as many tokens."""
        # While the run is there, rows of other replicas that come after its own are held back.
        run.fill(self._recorder.reserve(steps * len(run.requests)), steps, self._number)
        self._run = None
        self._n_steps += steps
        ended = int(run.ends[steps - 1])
        for request in run.requests:
            request.computed += steps
            n_blocks = blocks_for(request.computed, self._plan.block_size)
            self._free_blocks -= n_blocks - request.blocks
            request.blocks = n_blocks
            request.emit(ended, steps)
            if request.generated == request.output_tokens:
                self._release(request)

    def _grants(self) -> list[tuple[Request, int]]:
        """Ask the scheduler, take blocks from whom it preempts, admit whom it admits."""
        plan = self._plan
        n_active = min(plan.max_running, self.in_system)
        view = View(
            running=[request.seen() for request in self._running.values() if self._can_take_part(request)],
            waiting=(request.seen() for request in takewhile(self._can_take_part, self._waiting)),
            n_running=len(self._running),
            free_blocks=self._free_blocks,
            block_size=plan.block_size,
            max_tokens=plan.max_tokens,
            max_running=plan.max_running,
            max_requests=-(-n_active // len(plan.stages)),
        )
        decision = plan.scheduler(view)
        for number in decision.preempted:
            self._preempt(self._running.pop(number))
        return [(self._admitted(number), n_tokens) for number, n_tokens in decision.grants]

    def _can_take_part(self, request: Request) -> bool:
        """Its last token is known, and fewer chunks of its prompt are under way than there are stages."""
        return not request.in_flight and request.chunks_under_way < len(self._plan.stages)

    def _preempt(self, request: Request) -> None:
        """Take its blocks away and put it at the head of the queue; all its tokens will be computed again."""
        self._free_blocks += request.blocks
        request.blocks = 0
        request.computed = 0
        request.preemptions += 1
        request.queued = True
        self._waiting.appendleft(request)

    def _admitted(self, number: int) -> Request:
        """The running request of this number, admitted from the head of the queue if it was waiting."""
        if number not in self._running:
            if not self._waiting or self._waiting[0].number != number:
                raise AssertionError(f"the scheduler granted tokens to {number}, who is not at the head of the queue")
            self._running[number] = self._waiting.popleft()
        return self._running[number]

    def _form_step(self, granted: list[tuple[Request, int]]) -> Step:
        """Give out KV blocks, sum up the batch, and account for everybody's time until now."""
        instant = now(self._env)
        waited_as = COMPONENT["prefill_interference"] if self._ahead_has_prefill else self._waited_as
        decode_context = prefill_tokens = pairs = context = 0
        decoding: list[Request] = []
        finishing: list[Request] = []
        chunked: list[Request] = []
        for request, n_tokens in granted:
            before = request.computed
            request.computed = before + n_tokens
            needed = blocks_for(request.computed, self._plan.block_size) - request.blocks
            request.blocks += needed
            self._free_blocks -= needed
            known = request.prompt_tokens + request.generated
            request.in_flight = request.computed == known
            is_decoding = n_tokens == 1 and request.generated > 0 and request.in_flight
            if is_decoding:
                decode_context += known
                decoding.append(request)
            else:
                prefill_tokens += n_tokens
                pairs += n_tokens * before + n_tokens * (n_tokens + 1) // 2
                context += request.computed
                (finishing if request.in_flight else chunked).append(request)
                request.chunks_under_way += not request.in_flight
            if request.scheduled < 0:
                request.scheduled = instant
            request.account_wait(instant, waited_as if is_decoding else self._waited_as)
        if self._free_blocks < 0:
            raise AssertionError(f"the scheduler gave out {-self._free_blocks} KV blocks more than there are")
        n_decoding = len(decoding)
        outputs = n_decoding + len(finishing)
        batch = Batch(n_decoding, decode_context, prefill_tokens, pairs, context, outputs, len(granted))
        step = Step(self._n_steps, batch, decoding, finishing, chunked)
        self._n_steps += 1
        return step

    def _first_left(self, step: Step) -> None:
        """A step left the first stage, which can take the next one; for prompts that go on, this is what it took."""
        for request in step.chunked:
            for component, ticks in enumerate(step.in_first_stage):
                request.add_head_start(component, ticks)
            request.accounted = now(self._env)
        self._decide_soon()

    def _last_left(self, step: Step) -> None:
        """A step left the last stage: everybody whose last known token was computed gets the next one."""
        instant = now(self._env)
        for request in step.chunked:
            request.chunks_under_way -= 1
        self._decide_soon()
        emitting = step.decoding + step.finishing
        n_decoding = len(step.decoding)
        rows = self._recorder.reserve(len(emitting))
        rows[:, 2:N_KEYS] = (self._number, step.number, step.batch.sequences, instant)
        rows[:n_decoding, N_KEYS:] = step.for_decode
        rows[n_decoding:, N_KEYS:] = step.for_prefill
        for row, request in zip(rows, emitting, strict=True):
            row[:2] = request.number, request.generated
            if request.head_start is not None:
                row[N_KEYS:] += request.head_start
            request.emit(instant)
            if request.generated == request.output_tokens:
                self._release(request)
            else:
                request.returning = self._plan.return_ticks
        going_on = [request for request in emitting if request.generated < request.output_tokens]
        if self._plan.return_ticks:
            after(self._env, self._plan.return_ticks, NORMAL, lambda: self._return(going_on))
        else:
            self._return(going_on)

    def _release(self, request: Request) -> None:
        """A request is done: its blocks are free."""
        del self._running[request.number]
        self._free_blocks += request.blocks
        request.blocks = 0
        self._finished(request)

    def _return(self, requests: list[Request]) -> None:
        """The chosen tokens are back at the first stage: their requests can take part in a step again."""
        for request in requests:
            request.in_flight = False
        self._decide_soon()
