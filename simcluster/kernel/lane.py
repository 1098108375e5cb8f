"""One scheduler with its queue, running requests and KV cache; it forms the steps of a replica."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from itertools import takewhile

from simcluster.kernel.kv_cache import KvCache
from simcluster.kernel.request import Request
from simcluster.kernel.step import Prompts, Step
from simcluster.numerics.ticks import TICKS_PER_S
from simcluster.plans.replica_plan import ReplicaPlan
from simcluster.policies.checks import require_decision
from simcluster.policies.schedulers import SCHEDULERS
from simcluster.policies.views import RequestView, SchedulerView
from simcluster.trace.columns import COMPONENT
from simcluster.work.batch import Batch

_SHIPPED = frozenset(SCHEDULERS.values())
"""Schedulers of simcluster; their decisions are not checked at run time, since tests check them."""


class Lane:
    """
    The requests of a replica under one scheduler.

    Args:
        number: number of the replica.
        plan: plan of the replica; its limits and scheduler are permanent, whatever happens to its devices.
        finished: called with every request that got its last token.
    """

    def __init__(self, number: int, plan: ReplicaPlan, finished: Callable[[Request], None]) -> None:
        self.number = number
        self.scheduler = plan.scheduler
        self.is_checked = plan.scheduler not in _SHIPPED
        """Whether decisions are checked: the scheduler was passed by a caller."""
        self.max_running = plan.max_running
        self.max_tokens = plan.max_tokens
        self.admission_lag = plan.admission_lag
        self.kv = KvCache(plan.n_blocks, plan.block_size)
        self.waiting: deque[Request] = deque()
        self.running: dict[int, Request] = {}
        self.n_steps = 0
        """Number of steps begun."""
        self.ahead_has_prefill = False
        """Whether the latest step carries prompts."""
        self._n_stages = plan.n_stages
        self.waited_as = COMPONENT["queue" if plan.n_stages == 1 else "pipeline_wait"]
        self._finished = finished

    @property
    def in_system(self) -> int:
        """Requests waiting or running here."""
        return len(self.waiting) + len(self.running)

    def enqueue(self, request: Request, n_steps: int) -> None:
        """Enqueue a request after `n_steps` steps; while others run, admission is `admission_lag` steps later."""
        request.replica = self.number
        request.seen_from = n_steps + self.admission_lag
        self.waiting.append(request)

    def can_take_part(self, request: Request) -> bool:
        """Whether the request's latest token is known and fewer of its chunks are under way than there are stages."""
        return not request.in_flight and request.chunks_under_way < self._n_stages

    def has_candidates(self) -> bool:
        """Whether a request is waiting or could be served by a step now."""
        return bool(self.waiting) or any(map(self.can_take_part, self.running.values()))

    def admissible(self) -> Iterator[RequestView]:
        """Waiting requests that are past the admission lag; all of them if no request is running."""
        return (request.view() for request in takewhile(self._can_be_admitted, self.waiting))

    def _can_be_admitted(self, request: Request) -> bool:
        return self.can_take_part(request) and (request.seen_from <= self.n_steps or not self.running)

    def next_step(self, instant: int) -> Step | None:
        """Call the scheduler and form a step of what it grants; None if it grants nothing."""
        running = [request.view() for request in self.running.values() if self.can_take_part(request)]
        if not running and not self.waiting:
            return None  # all requests are in steps under way
        view = self.view(running, instant)
        decision = self.scheduler(view)
        if self.is_checked:
            require_decision(self.scheduler, view, decision)
        for number in decision.preempted:
            self._preempt(self.running.pop(number))
        if not decision.grants:
            return None
        return self._form([(self.admit(number), n_tokens) for number, n_tokens in decision.grants], instant)

    def view(self, running: list[RequestView], instant: int) -> SchedulerView:
        """Make the view of the scheduler when these requests can take part in a step."""
        n_active = min(self.max_running, self.in_system)
        return SchedulerView(
            running=running,
            waiting=list(self.admissible()) if self.is_checked else self.admissible(),
            n_running=len(self.running),
            free_blocks=self.kv.available,
            block_size=self.kv.block_size,
            max_tokens=self.max_tokens,
            max_running=self.max_running,
            max_requests=-(-n_active // self._n_stages),
            now_s=instant / TICKS_PER_S,
        )

    def _preempt(self, request: Request) -> None:
        """Free the blocks of a request and put it first in the queue; all its tokens will be recomputed."""
        self.kv.release(request)
        request.computed = 0
        request.preemptions += 1
        request.seen_from = 0
        request.queued = True
        self.waiting.appendleft(request)

    def admit(self, number: int) -> Request:
        """Return the request of this number, after moving it from the queue to running if it was waiting."""
        if number not in self.running:
            if self.waiting[0].number == number:
                self.running[number] = self.waiting.popleft()
            else:
                request = next(request for request in self.waiting if request.number == number)
                self.waiting.remove(request)
                self.running[number] = request
        return self.running[number]

    def _form(self, granted: list[tuple[Request, int]], instant: int) -> Step:
        """Allocate KV blocks, sum up the batch, and account for the time of its requests until now."""
        waited_as = COMPONENT["prefill_interference"] if self.ahead_has_prefill else self.waited_as
        decode_context = 0
        decoding: list[Request] = []
        prompts = Prompts()
        for request, n_tokens in granted:
            self.compute(request, n_tokens)
            is_decoding = n_tokens == 1 and request.generated > 0 and request.in_flight
            if is_decoding:
                decode_context += request.computed
                decoding.append(request)
            else:
                prompts.add(request, n_tokens)
            request.account_wait(instant, waited_as if is_decoding else self.waited_as)
        step = self.step_of(prompts, len(decoding), decode_context, decoding, instant)
        self.n_steps += 1
        self.ahead_has_prefill = step.has_prefill
        return step

    def compute(self, request: Request, n_tokens: int) -> None:
        """Compute `n_tokens` of a request in the step that is being formed."""
        self.kv.grow(request, n_tokens)
        request.in_flight = request.computed == request.prompt_tokens + request.generated

    def step_of(self, prompts: Prompts, n: int, decode_context: int, decoding: list[Request], instant: int) -> Step:
        """
        Form the step of `n` decoding requests and these prompts.

        Raises:
            AssertionError: the scheduler granted more KV blocks than are free.
        """
        if self.kv.available < 0:
            raise AssertionError(f"the scheduler gave out {-self.kv.available} KV blocks more than there are")
        outputs = n + len(prompts.finishing)
        counted = prompts.tokens, prompts.pairs, prompts.context
        batch = Batch(n, decode_context, *counted, outputs, outputs + len(prompts.chunked))
        return Step(self.n_steps, instant, batch, decoding, prompts.finishing, prompts.chunked)

    def release(self, request: Request) -> None:
        """Remove a request that is done."""
        del self.running[request.number]
        self.kv.release(request)
        self._finished(request)

    def fail(self, instant: int) -> list[Request]:
        """Drop all steps and the KV cache; returns all requests, to be recomputed elsewhere."""
        self.ahead_has_prefill = False
        lost = list(self.running.values())
        for request in lost:
            request.lose(instant)
        requests = [*lost, *self.waiting]
        for request in requests:
            request.chunks_under_way = 0
            request.restarts += 1
        self.running.clear()
        self.waiting.clear()
        self.kv.clear()
        return requests
