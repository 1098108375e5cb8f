"""
Which requests a replica's next step serves, and with how many tokens each.

A scheduler sees lengths of prompts and of what was generated so far, never how many tokens a request will ask for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from simcluster.policies.admission import Admission, chunks, whole
from simcluster.policies.views import Decision, Room, SchedulerView, blocks_for

Scheduler = Callable[[SchedulerView], Decision]


class SteadyDecode(NamedTuple):
    """
    What a scheduler does while all running requests only decode, and tokens and blocks last.

    It grants each of them its next token and then admits waiting ones, by `admit`, in what these leave of the step;
    or, where prompts have steps of their own, in a whole step without them, with a KV block for each kept back.
    Decode steps of such a scheduler are simulated many at a time. So `admit` must depend on nothing but the requests
    and the room, and must admit nothing in less room if it admits nothing in more.
    """

    admit: Admission
    prompts_alone: bool = False


def steady_decode(admit: Admission, prompts_alone: bool = False) -> Callable[[Scheduler], Scheduler]:
    """Declare that a scheduler decides as `SteadyDecode` says, which lets its decode steps be simulated together."""

    def declare(scheduler: Scheduler) -> Scheduler:
        scheduler.steady_decode = SteadyDecode(admit, prompts_alone)  # type: ignore[attr-defined]
        return scheduler

    return declare


def steady_decode_of(scheduler: Scheduler) -> SteadyDecode | None:
    """What a scheduler declares of its decode steps; without a declaration it is asked before every step."""
    declared: SteadyDecode | None = getattr(scheduler, "steady_decode", None)
    return declared


@steady_decode(chunks)
def fcfs(view: SchedulerView) -> Decision:
    """
    Continuous batching with chunked prefill, first come first served, running requests first.

    Running requests get what they lack within the token budget; when blocks run out the last admitted one is
    preempted and will be computed again. While steps under way hold requests that cannot be preempted, a request that
    lacks blocks waits for these instead of giving its own up: so the first admitted one is never preempted, and ends.
    Then waiting requests are admitted while tokens, places and blocks last, but none in a step that preempted.

    Source: vLLM V1's scheduler, as its documentation describes it; no priorities, no prefix cache.
    """
    return _running_first(view, chunks)


@steady_decode(whole)
def whole_prompts(view: SchedulerView) -> Decision:
    """
    As `fcfs`, but a prompt is prefilled in one step or waits: it is admitted when all of it fits the token budget.

    A prompt longer than the budget is admitted alone and cut, since it could never be served otherwise.

    Source: TensorRT-LLM's in-flight batching with chunked context off, its default.
    """
    return _running_first(view, whole)


@steady_decode(chunks, prompts_alone=True)
def prefill_first(view: SchedulerView) -> Decision:
    """
    Prompts before everything else: while a request waits that fits, a step prefills, and none decodes in it.

    A prompt that the budget cut goes on first. KV blocks for one step of all running requests are kept back.

    Source: SGLang's scheduler without mixed chunks, its default; `max_tokens` is its chunked prefill size.
    """
    budget, free = view.max_tokens, view.free_blocks - len(view.running)
    grants: list[tuple[int, int]] = []
    for request in view.running:
        n_tokens = min(request.pending, budget)
        needed = blocks_for(request.computed + n_tokens, view.block_size) - request.blocks
        if request.pending > 1 and len(grants) < view.max_requests:
            if n_tokens <= 0 or needed > free:
                break
            grants.append((request.request, n_tokens))
            budget, free = budget - n_tokens, free - needed
    else:
        grants += chunks(view.waiting, _room(view, budget, free, len(grants)))
    return Decision(grants, []) if grants else _running_first(view._replace(waiting=()), chunks)


def _running_first(view: SchedulerView, admit: Admission) -> Decision:
    """Decode and unfinished prompts, then new prompts in what is left of the step."""
    budget, free = view.max_tokens, view.free_blocks
    grants: list[tuple[int, int]] = []
    preempted: list[int] = []
    candidates = list(view.running)
    index = 0
    while index < len(candidates) and budget > 0 and len(grants) < view.max_requests:
        request = candidates[index]
        n_tokens = min(request.pending, budget)
        needed = blocks_for(request.computed + n_tokens, view.block_size) - request.blocks
        while needed > free and candidates[-1] is not request:
            victim = candidates.pop()
            preempted.append(victim.request)
            free += victim.blocks
        if needed > free and view.n_running > len(view.running):
            return Decision(grants, preempted)
        if needed > free:
            candidates.pop()
            preempted.append(request.request)
            free += request.blocks
            break
        grants.append((request.request, n_tokens))
        budget -= n_tokens
        free -= needed
        index += 1
    if preempted:
        return Decision(grants, preempted)
    return Decision(grants + admit(view.waiting, _room(view, budget, free, len(grants))), preempted)


def _room(view: SchedulerView, budget: int, free: int, n_served: int) -> Room:
    """What is left for waiting requests in a step that serves `n_served` already."""
    places = min(view.max_running - view.n_running, view.max_requests - n_served)
    return Room(budget, view.max_tokens, free, view.block_size, places)


SCHEDULERS: dict[str, Scheduler] = {"fcfs": fcfs, "whole_prompts": whole_prompts, "prefill_first": prefill_first}
