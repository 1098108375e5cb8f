"""
The state of devices and links while requests are served, and the events that change it.

An event concerns some devices or one link, and begins and ends at given ticks, once or again and again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Literal

from simcluster.plans.replica_plan import FlowLoad, ReplicaPlan

Kind = Literal["device_slow", "device_down", "link_slow", "link_down", "transfer"]
Link = tuple[str, str]
"""Both directions between two nodes."""

MAX_TIMES_SLOWER = 1e6
"""Of a device or a link, however many happenings concern it at once."""


@dataclass(frozen=True)
class PlannedEvent:
    """Something that happens to devices or to a link, once or again and again."""

    kind: Kind
    times: Callable[[], Iterator[tuple[int, int | None]]]
    """Begin and end of each time it happens, in ticks; without an end it lasts."""
    devices: tuple[str, ...] = ()
    link: Link | None = None
    factor: float = 1.0
    """How many times as long a slow device takes, or what share of its bandwidth a slow link has."""
    extra_latency_ticks: int = 0
    """Of a slow link, for every message over it."""
    load: Callable[[Conditions], FlowLoad | None] | None = None
    """What a transfer puts on the links, after its latency; nothing when there is no way."""


@dataclass(frozen=True)
class Conditions:
    """What devices and links are like at the moment."""

    slow: dict[str, float] = field(default_factory=dict)
    """How many times as long slow devices take."""
    dead: frozenset[str] = frozenset()
    """Devices that are down."""
    share: dict[Link, float] = field(default_factory=dict)
    """Of their bandwidth that slow links have."""
    extra_latency_ticks: dict[Link, int] = field(default_factory=dict)
    cut: frozenset[Link] = frozenset()
    """Links that are down."""


NORMAL_CONDITIONS = Conditions()


def conditions(happening: Iterable[PlannedEvent]) -> Conditions:
    """What devices and links are like under all that happens."""
    happening = list(happening)
    links = dict.fromkeys(h.link for h in happening if h.kind == "link_slow" and h.link is not None)
    slow = [h for h in happening if h.kind == "link_slow"]
    times_slower: dict[str, float] = {}
    for h in happening:
        for name in h.devices if h.kind == "device_slow" else ():
            times_slower[name] = min(times_slower.get(name, 1.0) * h.factor, MAX_TIMES_SLOWER)
    return Conditions(
        times_slower,
        frozenset(name for h in happening if h.kind == "device_down" for name in h.devices),
        {link: max(prod(h.factor for h in slow if h.link == link), 1 / MAX_TIMES_SLOWER) for link in links},
        {link: sum(h.extra_latency_ticks for h in slow if h.link == link) for link in links},
        frozenset(h.link for h in happening if h.kind == "link_down" and h.link is not None),
    )


@dataclass(frozen=True)
class Place:
    """Where a replica is, and how it is planned under given conditions."""

    devices: frozenset[str]
    links: frozenset[Link]
    plan: Callable[[Conditions], ReplicaPlan | str]
    """A plan, or why the replica cannot run."""


@dataclass(frozen=True)
class EventPlan:
    """All that may happen, and to whom."""

    happenings: Sequence[PlannedEvent]
    places: Sequence[Place]
    """By replica."""
    capacities: Callable[[Conditions], dict[int, float]] = lambda _: {}
    """Capacities of the fabric's links that differ from those as built, or may have."""
