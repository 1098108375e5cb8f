"""
Schedulers: which requests a replica's next step serves, and with how many tokens each.

A scheduler sees prompt lengths and tokens generated so far, never the final output length of a request.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from simcluster.policies.admission import Admission, chunks, whole
from simcluster.policies.views import Decision, Room, SchedulerView, blocks_for

Scheduler = Callable[[SchedulerView], Decision]


class SteadyDecode(NamedTuple):
    """
    The decision of a scheduler while all running requests only decode, and tokens and blocks suffice.

    Each running request is granted its next token; then `admit` admits waiting ones in the rest of the step. With
    `prompts_alone` the admitted prompts get a step of their own instead, and one KV block per running request is
    reserved. Decode steps of such a scheduler are fused. So `admit` must depend only on the requests and the room,
    and if it admits nothing in some room, it must admit nothing in less.
    """

    admit: Admission
    prompts_alone: bool = False


def steady_decode(admit: Admission, prompts_alone: bool = False) -> Callable[[Scheduler], Scheduler]:
    """Declare that a scheduler decides as `SteadyDecode` says, which allows its decode steps to be fused."""

    def declare(scheduler: Scheduler) -> Scheduler:
        scheduler.steady_decode = SteadyDecode(admit, prompts_alone)  # type: ignore[attr-defined]
        return scheduler

    return declare


def steady_decode_of(scheduler: Scheduler) -> SteadyDecode | None:
    """Return the declaration of a scheduler; None without one, so that it is called before every step."""
    declared: SteadyDecode | None = getattr(scheduler, "steady_decode", None)
    return declared


@steady_decode(chunks)
def fcfs(view: SchedulerView) -> Decision:
    """
    Continuous batching with chunked prefill, first come first served, running requests first.

    Running requests get their pending tokens within the token budget; when blocks run out, the last admitted one is
    preempted and will be recomputed. While requests in steps under way hold blocks (these cannot be preempted), a
    request that lacks blocks waits for them and keeps its own, so the first admitted request is never preempted and
    makes progress. Then waiting requests are admitted as far as tokens, places and blocks suffice, but not in a step
    that preempted.

    Source: vLLM V1's scheduler, as its documentation describes it; no priorities, no prefix cache.
    """
    return _running_first(view, chunks)


@steady_decode(whole)
def whole_prompts(view: SchedulerView) -> Decision:
    """
    As `fcfs`, but without chunked prefill: a prompt is admitted only if all of it fits the token budget.

    A prompt longer than the budget of a whole step is admitted alone and cut, since it would never fit.

    Source: TensorRT-LLM's in-flight batching with chunked context off, its default.
    """
    return _running_first(view, whole)


@steady_decode(chunks, prompts_alone=True)
def prefill_first(view: SchedulerView) -> Decision:
    """
    Prefill first: while a waiting request fits, steps carry prompts only, and running requests do not decode.

    A prompt that was cut by the budget continues first. One KV block per running request is reserved.

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
    """Grant decode tokens and unfinished prompts, then admit new prompts in the rest of the step."""
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
    """Room for waiting requests in a step that already serves `n_served`."""
    places = min(view.max_running - view.n_running, view.max_requests - n_served)
    return Room(budget, view.max_tokens, free, view.block_size, places)


SCHEDULERS: dict[str, Scheduler] = {"fcfs": fcfs, "whole_prompts": whole_prompts, "prefill_first": prefill_first}
