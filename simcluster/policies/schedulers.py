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
    places = min(view.max_running - view.n_running, view.max_requests - len(grants))
    return Decision(grants + admit(view.waiting, budget, free, places, view.block_size), preempted)


def admit(
    waiting: Iterable[Seen], budget: int, free_blocks: int, places: int, block_size: int
) -> list[tuple[int, int]]:
    """Tokens for waiting requests in their order, while tokens, KV blocks and places last."""
    grants: list[tuple[int, int]] = []
    for seen in waiting:
        n_tokens = min(seen.pending, budget)
        needed = blocks_for(n_tokens, block_size)
        if len(grants) >= places or n_tokens <= 0 or needed > free_blocks:
            break
        grants.append((seen.request, n_tokens))
        budget -= n_tokens
        free_blocks -= needed
    return grants


SCHEDULERS: dict[str, Scheduler] = {"fcfs": fcfs}

Admission = Callable[[Iterable[Seen], int, int, int, int], list[tuple[int, int]]]

STEADY: dict[str, Admission] = {"fcfs": admit}
"""
Schedulers that grant every running request its next token while all only decode and tokens and blocks last, and then
admit waiting ones, by this function: of their requests, the tokens and KV blocks that the running ones leave, the
places, and the block size. The decode steps of such a scheduler may be played many at a time.
"""
