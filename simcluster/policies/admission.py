"""Which waiting requests join a step, in the room that the running ones leave."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from simcluster.policies.views import RequestView, Room, blocks_for

Admission = Callable[[Iterable[RequestView], Room], list[tuple[int, int]]]
"""Gives tokens to waiting requests while tokens, KV blocks and places last."""


def chunks(waiting: Iterable[RequestView], room: Room) -> list[tuple[int, int]]:
    """Admit in order, and cut a prompt where the tokens of a step end."""
    return _admitted(waiting, room, cuts_prompts=True)


def whole(waiting: Iterable[RequestView], room: Room) -> list[tuple[int, int]]:
    """Admit in order, and cut no prompt but one that is longer than a whole step."""
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
