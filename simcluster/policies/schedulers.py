"""
Which requests a replica's next step serves, and with how many tokens each.

A scheduler sees lengths of prompts and of what was generated so far, never how many tokens a request will ask for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple


class Seen(NamedTuple):
    """A request as a scheduler sees it."""

    request: int
    pending: int
    """Tokens known but not yet in the KV cache: the prompt at first, one per step in decode."""
    computed: int
    """Tokens in the KV cache, those of steps under way included."""
    blocks: int
    """KV blocks it holds."""


class View(NamedTuple):
    """The state of a replica at the moment a step may start."""

    running: Sequence[Seen]
    """Admitted requests that can take part now (their last token is known), in the order of admission."""
    waiting: Iterable[Seen]
    """Requests not admitted or preempted, in the order in which they should be; long, so read only what is needed."""
    n_running: int
    """All admitted requests, those in steps under way included."""
    free_blocks: int
    block_size: int
    max_tokens: int
    """Tokens the step may process."""
    max_running: int
    """Requests that may be admitted at once."""
    max_requests: int
    """Requests this step may serve: with several pipeline stages an even share, so that all stages have work."""


class Decision(NamedTuple):
    """Tokens granted per request, and requests that lose their KV blocks and go back to the head of the queue."""

    grants: list[tuple[int, int]]
    preempted: list[int]


Scheduler = Callable[[View], Decision]


def blocks_for(n_tokens: int, block_size: int) -> int:
    """KV blocks that hold `n_tokens`."""
    return -(-n_tokens // block_size)


class Room(NamedTuple):
    """What the requests that run leave of a step for those that wait."""

    tokens: int
    max_tokens: int
    """Of a whole step."""
    blocks: int
    block_size: int
    places: int


Admission = Callable[[Iterable[Seen], Room], list[tuple[int, int]]]
"""Tokens for waiting requests in their order, while tokens, KV blocks and places last."""


def chunks(waiting: Iterable[Seen], room: Room) -> list[tuple[int, int]]:
    """Admission that cuts a prompt where the tokens of a step end."""
    return _admitted(waiting, room, cuts_prompts=True)


def whole(waiting: Iterable[Seen], room: Room) -> list[tuple[int, int]]:
    """Admission that cuts no prompt, but one that is longer than a whole step."""
    return _admitted(waiting, room, cuts_prompts=False)


def _admitted(waiting: Iterable[Seen], room: Room, cuts_prompts: bool) -> list[tuple[int, int]]:
    budget, free = room.tokens, room.blocks
    grants: list[tuple[int, int]] = []
    for seen in waiting:
        n_tokens = min(seen.pending, budget)
        needed = blocks_for(n_tokens, room.block_size)
        is_cut = n_tokens < seen.pending and not cuts_prompts and budget < room.max_tokens
        if len(grants) >= room.places or n_tokens <= 0 or needed > free or is_cut:
            break
        grants.append((seen.request, n_tokens))
        budget -= n_tokens
        free -= needed
    return grants


def fcfs(view: View) -> Decision:
    """
    Continuous batching with chunked prefill, first come first served, running requests first.

    Running requests get what they lack within the token budget; when blocks run out the last admitted one is
    preempted and will be computed again. While steps under way hold requests that cannot be preempted, whoever lacks
    blocks waits for these instead of giving its own up: so the first admitted one is never preempted, and ends.
    Then waiting requests are admitted while tokens, places and blocks last, but none in a step that preempted.

    Source: vLLM V1's scheduler, as its documentation describes it; no priorities, no prefix cache.
    """
    return _running_first(view, chunks)


def whole_prompts(view: View) -> Decision:
    """
    As `fcfs`, but a prompt is prefilled in one step or waits: it is admitted when all of it fits the token budget.

    A prompt longer than the budget is admitted alone and cut, since it could never be served otherwise.

    Source: TensorRT-LLM's in-flight batching with chunked context off, its default.
    """
    return _running_first(view, whole)


def prefill_first(view: View) -> Decision:
    """
    Prompts before everything else: while somebody waits who fits, a step prefills, and nobody decodes in it.

    A prompt that the budget cut goes on first. KV blocks for one step of everybody who runs are kept back.

    Source: SGLang's scheduler without mixed chunks, its default; `max_tokens` is its chunked prefill size.
    """
    budget, free = view.max_tokens, view.free_blocks - len(view.running)
    grants: list[tuple[int, int]] = []
    for seen in view.running:
        n_tokens = min(seen.pending, budget)
        needed = blocks_for(seen.computed + n_tokens, view.block_size) - seen.blocks
        if seen.pending > 1 and len(grants) < view.max_requests:
            if n_tokens <= 0 or needed > free:
                break
            grants.append((seen.request, n_tokens))
            budget, free = budget - n_tokens, free - needed
    else:
        grants += chunks(view.waiting, _room(view, budget, free, len(grants)))
    return Decision(grants, []) if grants else _running_first(view._replace(waiting=()), chunks)


def _running_first(view: View, admit: Admission) -> Decision:
    """Decode and unfinished prompts, then new prompts in what is left of the step."""
    budget, free = view.max_tokens, view.free_blocks
    grants: list[tuple[int, int]] = []
    preempted: list[int] = []
    candidates = list(view.running)
    index = 0
    while index < len(candidates) and budget > 0 and len(grants) < view.max_requests:
        seen = candidates[index]
        n_tokens = min(seen.pending, budget)
        needed = blocks_for(seen.computed + n_tokens, view.block_size) - seen.blocks
        while needed > free and candidates[-1] is not seen:
            victim = candidates.pop()
            preempted.append(victim.request)
            free += victim.blocks
        if needed > free and view.n_running > len(view.running):
            return Decision(grants, preempted)
        if needed > free:
            candidates.pop()
            preempted.append(seen.request)
            free += seen.blocks
            break
        grants.append((seen.request, n_tokens))
        budget -= n_tokens
        free -= needed
        index += 1
    if preempted:
        return Decision(grants, preempted)
    return Decision(grants + admit(view.waiting, _room(view, budget, free, len(grants))), preempted)


def _room(view: View, budget: int, free: int, n_served: int) -> Room:
    """What is left for those that wait in a step that serves so many already."""
    places = min(view.max_running - view.n_running, view.max_requests - n_served)
    return Room(budget, view.max_tokens, free, view.block_size, places)


SCHEDULERS: dict[str, Scheduler] = {"fcfs": fcfs, "whole_prompts": whole_prompts, "prefill_first": prefill_first}


class Steady(NamedTuple):
    """
    What a scheduler does while all running requests only decode, and tokens and blocks last.

    It grants each of them its next token and then admits waiting ones, by this function, in what these leave of the
    step; or, where prompts have steps of their own, in a whole step without them, and a KV block for each kept back.
    The decode steps of such a scheduler may be played many at a time.
    """

    admit: Admission
    prompts_alone: bool = False


STEADY: dict[str, Steady] = {
    "fcfs": Steady(chunks), "whole_prompts": Steady(whole), "prefill_first": Steady(chunks, prompts_alone=True),
}  # fmt: skip
"""The schedulers of which this holds."""
