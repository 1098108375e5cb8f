"""Which replica serves an arriving request."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Arrival(NamedTuple):
    """An arriving request as a router sees it, with the replicas' load."""

    number: int
    """How many requests arrived before it."""
    prompt_tokens: int
    in_system: tuple[int, ...]
    """Requests waiting or running, per replica."""


Router = Callable[[Arrival], int]


def round_robin(arrival: Arrival) -> int:
    """Each replica in turn."""
    return arrival.number % len(arrival.in_system)


def least_loaded(arrival: Arrival) -> int:
    """The replica with the fewest requests waiting or running; the first of equals."""
    return min(range(len(arrival.in_system)), key=arrival.in_system.__getitem__)


ROUTERS: dict[str, Router] = {"round_robin": round_robin, "least_loaded": least_loaded}
