"""
The state of devices and links while requests are served, and the events that change it.

An event concerns some devices or one link, and begins and ends at given ticks, once or repeatedly.
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
"""Greatest factor on the time of a device or a link, however many events concern it at once."""


@dataclass(frozen=True)
class PlannedEvent:
    """An event of devices or of a link, once or repeatedly."""

    kind: Kind
    times: Callable[[], Iterator[tuple[int, int | None]]]
    """Begin and end of each time, in ticks; without an end it lasts permanently."""
    devices: tuple[str, ...] = ()
    link: Link | None = None
    factor: float = 1.0
    """How many times as long a slow device takes, or what share of its bandwidth a slow link has."""
    extra_latency_ticks: int = 0
    """Added by a slow link to every message over it."""
    load: Callable[[Conditions], FlowLoad | None] | None = None
    """What a transfer puts on the links, after its latency; None when no route is left."""


@dataclass(frozen=True)
class Conditions:
    """The state of devices and links at a time."""

    slow: dict[str, float] = field(default_factory=dict)
    """How many times as long slow devices take."""
    dead: frozenset[str] = frozenset()
    """Devices that are down."""
    share: dict[Link, float] = field(default_factory=dict)
    """Share of its bandwidth that each slow link has."""
    extra_latency_ticks: dict[Link, int] = field(default_factory=dict)
    cut: frozenset[Link] = frozenset()
    """Links that are down."""


NORMAL_CONDITIONS = Conditions()


def conditions(events: Iterable[PlannedEvent]) -> Conditions:
    """The state of devices and links under all these events at once."""
    events = list(events)
    slow = [event for event in events if event.kind == "link_slow"]
    links = dict.fromkeys(event.link for event in slow if event.link is not None)
    times_slower: dict[str, float] = {}
    for event in events:
        for name in event.devices if event.kind == "device_slow" else ():
            times_slower[name] = min(times_slower.get(name, 1.0) * event.factor, MAX_TIMES_SLOWER)
    return Conditions(
        times_slower,
        frozenset(name for event in events if event.kind == "device_down" for name in event.devices),
        {link: max(prod(e.factor for e in slow if e.link == link), 1 / MAX_TIMES_SLOWER) for link in links},
        {link: sum(e.extra_latency_ticks for e in slow if e.link == link) for link in links},
        frozenset(event.link for event in events if event.kind == "link_down" and event.link is not None),
    )


@dataclass(frozen=True)
class ReplicaSite:
    """The devices and links of a replica, and how it is planned under given conditions."""

    devices: frozenset[str]
    links: frozenset[Link]
    plan: Callable[[Conditions], ReplicaPlan | str]
    """A plan, or why the replica cannot run."""


@dataclass(frozen=True)
class EventPlan:
    """All events of a scenario, and the replicas that they may concern."""

    events: Sequence[PlannedEvent]
    sites: Sequence[ReplicaSite]
    """One for each replica."""
    capacities: Callable[[Conditions], dict[int, float]] = lambda _: {}
    """Capacities of the fabric's links that differ from those as built, or may differ."""
