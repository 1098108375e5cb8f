"""A replica: one copy of the model, its queue, its KV blocks and its pipeline."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import takewhile

import numpy as np
import simpy

from simcluster.kernel.clock import DECIDE, NORMAL, after, now
from simcluster.kernel.fabric import Fabric
from simcluster.kernel.pipeline import Chain, Pipeline, Tandem
from simcluster.kernel.request import Request
from simcluster.kernel.step import Prompts, Step
from simcluster.kernel.watched import Watch, WatchedChain
from simcluster.plans.replica_plan import ReplicaPlan
from simcluster.policies.schedulers import View, blocks_for
from simcluster.trace.columns import COMPONENT
from simcluster.trace.recorder import Recorder, Segment
from simcluster.work.batch import Batch


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
        fabric: Fabric | None,
        recorder: Recorder,
        finished: Callable[[Request], None],
        watch: Watch | None = None,
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
        self._ahead_has_prefill = False
        self._waited_as = COMPONENT["queue" if plan.n_stages == 1 else "pipeline_wait"]
        self._epoch = 0
        """How often it has lost everything."""
        self._pipeline = self._played(fidelity, fabric, watch)

    def _played(self, fidelity: str, fabric: Fabric | None, watch: Watch | None) -> Pipeline:
        """How the pipeline is played; all ways give the same times."""
        plan = self._plan
        if fidelity == "auto" and not plan.pipeline.rounds and not plan.may_change and watch is None:
            return Tandem(self._env, plan.pipeline, self._first_left, self._last_left)
        on = fabric if plan.pipeline.rounds else None
        how = self._env, plan.pipeline, fidelity != "auto", on, self._first_left, self._last_left
        return Chain(*how) if watch is None else WatchedChain(*how, self._number, watch)

    @property
    def in_system(self) -> int:
        """Requests waiting or running here."""
        return len(self._waiting) + len(self._running)

    @property
    def complete_until(self) -> int | None:
        """Before which tick all rows of this replica are recorded; None when that is now."""
        return None

    def can_hold(self, n_tokens: int) -> bool:
        """Whether its KV cache has room for a request of so many tokens when it is alone."""
        return self._plan.can_hold(n_tokens)

    def arrive(self, request: Request) -> None:
        """A request joins the queue."""
        self._enqueue(request, self._n_steps)
        self._decide_soon()

    def _enqueue(self, request: Request, n_steps: int) -> None:
        """A request comes when so many steps have begun; while others run it is seen some steps later."""
        request.replica = self._number
        request.seen_from = n_steps + self._plan.admission_lag
        self._waiting.append(request)

    def change(self, plan: ReplicaPlan) -> None:
        """Its devices or links are not what they were: what starts from now on is played by another plan."""
        self._plan = plan
        self._pipeline.change(plan.pipeline)

    def fail(self) -> list[Request]:
        """It stops and loses all steps and its KV cache; returns everybody who was here, to be computed again."""
        instant = now(self._env)
        self._epoch += 1
        self._pipeline.clear()
        self._ahead_has_prefill = False
        lost = list(self._running.values())
        for request in lost:
            request.lose(instant)
        requests = [*lost, *self._waiting]
        for request in requests:
            request.chunks_under_way = 0
            request.restarts += 1
        self._running.clear()
        self._waiting.clear()
        self._free_blocks = self._plan.n_blocks
        return requests

    def settle(self, horizon: int) -> None:
        """The simulation stops at the horizon: record what is over by then."""

    def _decide_soon(self) -> None:
        """Form a step at the end of this instant, if the first stage is free then."""
        if not self._deciding:
            self._deciding = True
            after(self._env, 0, DECIDE, self._decide)

    def _decide_now_or_soon(self) -> None:
        """Decide at once when nothing else happens at this instant, else after that."""
        if self._env.peek() > self._env.now and not self._deciding:
            self._decide()
        else:
            self._decide_soon()

    def _decide(self) -> None:
        self._deciding = False
        if not self._pipeline.busy and (self._waiting or self._running):
            granted = self._grants()
            if granted:
                step = self._form_step(granted)
                self._pipeline.enter(step)
                self._ahead_has_prefill = step.has_prefill

    def _grants(self) -> list[tuple[Request, int]]:
        """Ask the scheduler, take blocks from whom it preempts, admit whom it admits."""
        plan = self._plan
        running = [request.seen() for request in self._running.values() if self._can_take_part(request)]
        if not running and not self._waiting:
            return []  # everybody is under way
        n_active = min(plan.max_running, self.in_system)
        view = View(
            running=running,
            waiting=(request.seen() for request in takewhile(self._can_be_admitted, self._waiting)),
            n_running=len(self._running),
            free_blocks=self._free_blocks,
            block_size=plan.block_size,
            max_tokens=plan.max_tokens,
            max_running=plan.max_running,
            max_requests=-(-n_active // plan.n_stages),
        )
        decision = plan.scheduler(view)
        for number in decision.preempted:
            self._preempt(self._running.pop(number))
        return [(self._admitted(number), n_tokens) for number, n_tokens in decision.grants]

    def _can_take_part(self, request: Request) -> bool:
        """Its last token is known, and fewer chunks of its prompt are under way than there are stages."""
        return not request.in_flight and request.chunks_under_way < self._plan.n_stages

    def _can_be_admitted(self, request: Request) -> bool:
        """It can take part, and has been seen by now; where nobody runs, everybody is."""
        return self._can_take_part(request) and (request.seen_from <= self._n_steps or not self._running)

    def _preempt(self, request: Request) -> None:
        """Take its blocks away and put it at the head of the queue; all its tokens will be computed again."""
        self._free_blocks += request.blocks
        request.blocks = 0
        request.computed = 0
        request.preemptions += 1
        request.seen_from = 0
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
        decode_context = 0
        decoding: list[Request] = []
        prompts = Prompts()
        for request, n_tokens in granted:
            self._compute(request, n_tokens)
            is_decoding = n_tokens == 1 and request.generated > 0 and request.in_flight
            if is_decoding:
                decode_context += request.computed
                decoding.append(request)
            else:
                prompts.add(request, n_tokens)
            request.account_wait(instant, waited_as if is_decoding else self._waited_as)
        step = self._with_prompts(prompts, len(decoding), decode_context, decoding)
        self._n_steps += 1
        return step

    def _with_prompts(self, prompts: Prompts, n: int, decode_context: int, decoding: list[Request]) -> Step:
        """The step of so many decoding requests and these prompts, for which there must be blocks."""
        if self._free_blocks < 0:
            raise AssertionError(f"the scheduler gave out {-self._free_blocks} KV blocks more than there are")
        outputs = n + len(prompts.finishing)
        counted = prompts.tokens, prompts.pairs, prompts.context
        batch = Batch(n, decode_context, *counted, outputs, outputs + len(prompts.chunked))
        return Step(self._n_steps, now(self._env), batch, decoding, prompts.finishing, prompts.chunked)

    def _compute(self, request: Request, n_tokens: int) -> None:
        """So many tokens of a request are computed in the step that is being formed; their KV entries need blocks."""
        request.computed += n_tokens
        needed = blocks_for(request.computed, self._plan.block_size) - request.blocks
        request.blocks += needed
        self._free_blocks -= needed
        request.in_flight = request.computed == request.prompt_tokens + request.generated

    def _first_left(self, step: Step) -> None:
        """A step left the first stage, which can take the next one; for prompts that go on, this is what it took."""
        for request in step.chunked:
            request.gather(step.in_first_stage, now(self._env))
        # While everybody is under way there is nothing to decide; who returns will ask for it.
        if self._waiting or any(map(self._can_take_part, self._running.values())):
            self._decide_soon()

    def _last_left(self, step: Step) -> None:
        """A step left the last stage: everybody whose last known token was computed gets the next one."""
        instant = now(self._env)
        for request in step.chunked:
            request.chunks_under_way -= 1
        self._decide_soon()
        emitting = step.decoding + step.finishing
        for requests, components in ((step.decoding, step.for_decode), (step.finishing, step.for_prefill)):
            self._record(step.number, step.batch.sequences, requests, components)
        for request in emitting:
            request.emit(instant)
            if request.generated == request.output_tokens:
                self._release(request)
            else:
                request.returning = self._plan.return_ticks
        going_on = [request for request in emitting if request.generated < request.output_tokens]
        if self._plan.return_ticks:
            epoch = self._epoch
            after(self._env, self._plan.return_ticks, NORMAL, lambda: self._return(going_on, epoch))
        else:
            self._return(going_on, self._epoch)

    def _record(self, step: int, batch_size: int, requests: list[Request], components: list[int]) -> None:
        """Requests get a token now, from a step of which they saw these components."""
        if not requests:
            return
        self._recorder.add(
            Segment(
                self._number,
                step,
                batch_size,
                now(self._env),
                components,
                np.array([[r.number for r in requests], [r.generated - step for r in requests]], np.int64),
                [(place, r.head_start) for place, r in enumerate(requests) if r.head_start is not None],
            )
        )

    def _release(self, request: Request) -> None:
        """A request is done: its blocks are free."""
        del self._running[request.number]
        self._free_blocks += request.blocks
        request.blocks = 0
        self._finished(request)

    def _return(self, requests: list[Request], epoch: int) -> None:
        """The chosen tokens are back at the first stage: their requests can take part in a step again."""
        if epoch == self._epoch:
            for request in requests:
                request.in_flight = False
            self._decide_now_or_soon()
