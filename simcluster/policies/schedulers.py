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


def fcfs(view: View) -> Decision:
    """
    Continuous batching with chunked prefill, first come first served, running requests first.

    Running requests get what they lack within the token budget; when blocks run out the last admitted one is
    preempted and will be computed again. While steps under way hold requests that cannot be preempted, whoever lacks
    blocks waits for these instead of giving its own up: so the first admitted one is never preempted, and ends.
    Then waiting requests are admitted while tokens, places and blocks last, but none in a step that preempted.

    Source: vLLM V1's scheduler, as its documentation describes it; no priorities, no prefix cache.
    """
    return _running_first(view, cuts_prompts=True)


def whole_prompts(view: View) -> Decision:
    """
    As `fcfs`, but a prompt is prefilled in one step or waits: it is admitted when all of it fits the token budget.

    A prompt longer than the budget is admitted alone and cut, since it could never be served otherwise.

    Source: TensorRT-LLM's in-flight batching with chunked context off, its default.
    """
    return _running_first(view, cuts_prompts=False)


def prefill_first(view: View) -> Decision:
    """
    Prompts before everything else: while somebody waits who fits, a step prefills, and nobody decodes in it.

    A prompt that the budget cut goes on first. KV blocks for one step of everybody who runs are kept back.

    Source: SGLang's scheduler without mixed chunks, its default; `max_tokens` is its chunked prefill size.
    """
    unfinished = [seen for seen in view.running if seen.pending > 1]
    free = view.free_blocks - len(view.running)
    grants = _admitted(view, unfinished, view.max_tokens, free, view.max_requests, cuts_prompts=True)
    return Decision(grants, []) if grants else _running_first(view, cuts_prompts=True)


def _running_first(view: View, cuts_prompts: bool) -> Decision:
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
    places = view.max_requests - len(grants)
    return Decision(grants + _admitted(view, (), budget, free, places, cuts_prompts), preempted)


def _admitted(
    view: View, unfinished: Iterable[Seen], budget: int, free: int, places: int, cuts_prompts: bool
) -> list[tuple[int, int]]:
    """Prompts that go on or begin, in order, while tokens, places and blocks last."""
    grants: list[tuple[int, int]] = []
    for seen in unfinished:
        n_tokens = min(seen.pending, budget)
        needed = blocks_for(seen.computed + n_tokens, view.block_size) - seen.blocks
        if places <= 0 or n_tokens <= 0 or needed > free:
            return grants
        grants.append((seen.request, n_tokens))
        budget, free, places = budget - n_tokens, free - needed, places - 1
    places = min(places, view.max_running - view.n_running)
    for seen in view.waiting:
        n_tokens = min(seen.pending, budget)
        needed = blocks_for(n_tokens, view.block_size)
        is_cut = n_tokens < seen.pending and not cuts_prompts and budget < view.max_tokens
        if places <= 0 or n_tokens <= 0 or needed > free or is_cut:
            break
        grants.append((seen.request, n_tokens))
        budget, free, places = budget - n_tokens, free - needed, places - 1
    return grants


class Late:
    """
    A scheduler to which a new request is shown late: `lag` decisions after it came, unless nobody runs.

    For one replica; it remembers who has waited for how long. Engines that decide the next step while one is under
    way (vLLM's async scheduling, the overlap of TensorRT-LLM and SGLang) see a request one step late.
    """

    def __init__(self, scheduler: Scheduler, lag: int) -> None:
        self._scheduler = scheduler
        self._lag = lag
        self._seen: dict[int, int] = {}
        """Decisions at which a request has been waiting, by number."""

    def __call__(self, view: View) -> Decision:
        """Decide without those who came too late."""
        waiting = list(view.waiting)
        self._seen = {seen.request: self._seen.get(seen.request, -1) + 1 for seen in waiting}
        shown = waiting
        if view.n_running:
            late = (index for index, seen in enumerate(waiting) if self._seen[seen.request] < self._lag)
            shown = waiting[: next(late, len(waiting))]
        return self._scheduler(view._replace(waiting=shown))


SCHEDULERS: dict[str, Scheduler] = {"fcfs": fcfs, "whole_prompts": whole_prompts, "prefill_first": prefill_first}

STEADY = frozenset({"fcfs", "whole_prompts", "prefill_first"})
"""Schedulers that grant every running request its next token again, as long as all were granted theirs, nobody
joined, left or waits with a place free, and blocks last: decode steps in a row may then be played at once."""
