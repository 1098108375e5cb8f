"""Admission: which waiting requests join a step, in the room that the running ones leave."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from simcluster.policies.views import RequestView, Room, blocks_for

Admission = Callable[[Iterable[RequestView], Room], list[tuple[int, int]]]
"""Grants tokens to waiting requests, as far as tokens, KV blocks and places suffice: (request, tokens) pairs."""


def chunks(waiting: Iterable[RequestView], room: Room) -> list[tuple[int, int]]:
    """Admit in order, and cut the prompt that exceeds the token budget of the step (chunked prefill)."""
    return _admitted(waiting, room, cuts_prompts=True)


def whole(waiting: Iterable[RequestView], room: Room) -> list[tuple[int, int]]:
    """Admit in order without cutting prompts, except one that is longer than the budget of a whole step."""
    return _admitted(waiting, room, cuts_prompts=False)


def _admitted(waiting: Iterable[RequestView], room: Room, cuts_prompts: bool) -> list[tuple[int, int]]:
    budget, free = room.tokens, room.blocks
    grants: list[tuple[int, int]] = []
    for request in waiting:
        n_tokens = min(request.pending, budget)
        needed = blocks_for(n_tokens, room.block_size)
        is_cut = n_tokens < request.pending and not cuts_prompts and budget < room.max_tokens
        if len(grants) >= room.places or n_tokens <= 0 or needed > free or is_cut:
            break
        grants.append((request.request, n_tokens))
        budget -= n_tokens
        free -= needed
    return grants
