"""Frozen views of requests and replicas for policies; the final output length of a request is never shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class RequestView(NamedTuple):
    """A request as a scheduler sees it."""

    request: int
    """Its number, in the order of arrival."""
    pending: int
    """Known tokens that are not in the KV cache yet: the prompt at first, one per step in decode."""
    computed: int
    """Tokens in the KV cache, including those of steps under way."""
    blocks: int
    """KV blocks it holds."""
    prompt_tokens: int = 0
    generated: int = 0
    """Output tokens so far."""
    arrived_s: float = 0.0
    """Time of arrival; compare with `SchedulerView.now_s`."""


class SchedulerView(NamedTuple):
    """The state of a replica at the moment a step may start."""

    running: Sequence[RequestView]
    """Admitted requests that can take part now (their latest token is known), in the order of admission."""
    waiting: Iterable[RequestView]
    """Queued requests (new or preempted), in queue order; may be long, so iterate once and only as far as needed."""
    n_running: int
    """Number of admitted requests, including those in steps under way."""
    free_blocks: int
    block_size: int
    max_tokens: int
    """Tokens the step may process."""
    max_running: int
    """Requests that may be admitted at once."""
    max_requests: int
    """Requests that this step may serve: with several pipeline stages an even share, so that all stages have work."""
    now_s: float = 0.0


class Decision(NamedTuple):
    """A scheduler's decision for one step."""

    grants: list[tuple[int, int]]
    """(request number, tokens that the step computes), of running and waiting requests."""
    preempted: list[int]
    """Numbers of requests that lose their KV blocks and return to the head of the queue."""


class Room(NamedTuple):
    """The room that running requests leave in a step for waiting ones."""

    tokens: int
    """Tokens left in the step."""
    max_tokens: int
    """Token budget of a whole step."""
    blocks: int
    """KV blocks left."""
    block_size: int
    places: int
    """Requests that may be admitted."""


class ReplicaView(NamedTuple):
    """A replica as a router sees it."""

    replica: int
    """Its identity, which the router returns."""
    pool: str
    in_system: int
    """Requests waiting or running."""
    accepts: bool
    """Whether it is up and can hold the request; a router must choose a replica that accepts."""


class RouterView(NamedTuple):
    """An arriving request as a router sees it, with all replicas, including those that are down."""

    number: int
    """Number of requests routed before it."""
    prompt_tokens: int
    replicas: tuple[ReplicaView, ...]
    request: int = 0
    """Its number, in the order of arrival; `number` counts a request again that is sent on after a failure."""

    @property
    def accepting(self) -> list[ReplicaView]:
        """The replicas to choose from; at least one."""
        return [replica for replica in self.replicas if replica.accepts]


def blocks_for(n_tokens: int, block_size: int) -> int:
    """KV blocks that hold `n_tokens`."""
    return -(-n_tokens // block_size)
