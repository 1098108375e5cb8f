"""What policies see: frozen views of requests and replicas, never how many tokens a request will ask for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class RequestView(NamedTuple):
    """A request as a scheduler sees it."""

    request: int
    """Its number, in the order of arrival."""
    pending: int
    """Tokens known but not yet in the KV cache: the prompt at first, one per step in decode."""
    computed: int
    """Tokens in the KV cache, those of steps under way included."""
    blocks: int
    """KV blocks it holds."""
    prompt_tokens: int = 0
    generated: int = 0
    """Output tokens it has already."""
    arrived_s: float = 0.0
    """When it arrived; it has waited `now_s - arrived_s` of the view."""


class SchedulerView(NamedTuple):
    """The state of a replica at the moment a step may start."""

    running: Sequence[RequestView]
    """Admitted requests that can take part now (their last token is known), in the order of admission."""
    waiting: Iterable[RequestView]
    """Requests not admitted or preempted, first come first; may be long, so read only what is needed, and once."""
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
    now_s: float = 0.0


class Decision(NamedTuple):
    """Tokens granted per request, and requests that lose their KV blocks and go back to the head of the queue."""

    grants: list[tuple[int, int]]
    """Number of a request, running or waiting, and the tokens of it that the step computes."""
    preempted: list[int]


class Room(NamedTuple):
    """What the running requests leave of a step for the waiting ones."""

    tokens: int
    max_tokens: int
    """Token budget of a whole step."""
    blocks: int
    block_size: int
    places: int


class ReplicaView(NamedTuple):
    """A replica as a router sees it."""

    replica: int
    """Its identity, which the router returns."""
    pool: str
    in_system: int
    """Requests waiting or running."""
    accepts: bool
    """It is up and could hold the request; a router must choose one that accepts."""


class RouterView(NamedTuple):
    """An arriving request as a router sees it, with all replicas, those that are down included."""

    number: int
    """How many requests were routed before it."""
    prompt_tokens: int
    replicas: tuple[ReplicaView, ...]

    @property
    def accepting(self) -> list[ReplicaView]:
        """The replicas to choose from; at least one."""
        return [replica for replica in self.replicas if replica.accepts]


def blocks_for(n_tokens: int, block_size: int) -> int:
    """KV blocks that hold `n_tokens`."""
    return -(-n_tokens // block_size)
