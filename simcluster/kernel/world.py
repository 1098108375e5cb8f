"""
What happens to devices and links while requests are served: they slow down, fail and come back.

A happening concerns some devices or one link, and begins and ends at given ticks, once or again and again. Whenever
one does, the links get the capacity that all happenings under way leave them, and every replica that has a part in it
is planned anew. A replica that lacks a device, or a way between its devices, is down until it has it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Literal

import simpy

from simcluster.kernel.clock import CHANGE, after, now
from simcluster.kernel.fabric import Fabric, Load
from simcluster.kernel.replica import Replica, ReplicaPlan
from simcluster.kernel.request import Request
from simcluster.ticks import MAX_TICK

Kind = Literal["device_slow", "device_down", "link_slow", "link_down", "transfer"]
Link = tuple[str, str]
"""Both directions between two nodes."""

MOST_TIMES_SLOWER = 1e6
"""Of a device or a link, however many happenings concern it at once."""
MOST_HAPPENINGS = 10**6
"""That may begin in a run: they take minutes, and what happens so often may go on for all of 106 days."""


class TooManyHappenings(OverflowError):
    """More than a run plays."""


@dataclass(frozen=True)
class Happening:
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
    load: Callable[[Conditions], Load | None] | None = None
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


def conditions(happening: Iterable[Happening]) -> Conditions:
    """What devices and links are like under all that happens."""
    happening = list(happening)
    links = dict.fromkeys(h.link for h in happening if h.kind == "link_slow" and h.link is not None)
    slow = [h for h in happening if h.kind == "link_slow"]
    times_slower: dict[str, float] = {}
    for h in happening:
        for name in h.devices if h.kind == "device_slow" else ():
            times_slower[name] = min(times_slower.get(name, 1.0) * h.factor, MOST_TIMES_SLOWER)
    return Conditions(
        times_slower,
        frozenset(name for h in happening if h.kind == "device_down" for name in h.devices),
        {link: max(prod(h.factor for h in slow if h.link == link), 1 / MOST_TIMES_SLOWER) for link in links},
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
class World:
    """All that may happen, and to whom."""

    happenings: Sequence[Happening]
    places: Sequence[Place]
    """By replica."""
    capacities: Callable[[Conditions], dict[int, float]] = lambda _: {}
    """Capacities of the fabric's links that differ from those as built, or may have."""


class Weather:
    """
    Plays a world; `displaced` takes the requests of replicas that go down, `recovered` is told that one is up.

    `is_over` says that nothing more can come of it, so that what would go on for ever may stop: it is told whether
    any replica is up or may come back.
    """

    def __init__(
        self,
        env: simpy.Environment,
        world: World,
        replicas: Sequence[Replica],
        fabric: Fabric | None,
        displaced: Callable[[list[Request]], None],
        recovered: Callable[[], None],
        is_over: Callable[[bool], bool],
    ) -> None:
        self._env = env
        self._world = world
        self._replicas = replicas
        self._fabric = fabric
        self._displaced = displaced
        self._recovered = recovered
        self._is_over = is_over
        self._n_begun = 0
        self._happening: dict[int, Happening] = {}
        self._touched: set[int] = set()
        self._for_good: list[Happening] = []
        """What has begun and has no end."""
        self._lost: set[int] = set()
        """Replicas that these alone keep down, so that they never come back."""
        self.down: dict[int, str] = {}
        """Replicas that cannot run, and why."""
        for number, happening in enumerate(world.happenings):
            self._await(number, happening.times())

    def _await(self, number: int, times: Iterator[tuple[int, int | None]]) -> None:
        """The next time that something happens."""
        for begin, end in times:
            begin = max(begin, now(self._env))
            if begin > MAX_TICK:
                return

            def begins(end: int | None = end) -> None:
                self._begin(number, end, times)

            after(self._env, begin - now(self._env), CHANGE, begins)
            return

    def _begin(self, number: int, end: int | None, times: Iterator[tuple[int, int | None]]) -> None:
        happening = self._world.happenings[number]
        if self._is_over(len(self._lost) < len(self._replicas)):
            return
        self._n_begun += 1
        if self._n_begun > MOST_HAPPENINGS:
            raise TooManyHappenings(f"more than {MOST_HAPPENINGS:,} happenings")
        if happening.kind == "transfer":
            assert happening.load is not None and self._fabric is not None
            load = happening.load(self._conditions())
            if load is None:
                self._await(number, times)
            else:
                self._fabric.start(load, lambda: self._await(number, times))
            return
        self._happening[number] = happening
        self._apply(happening)
        if end is None:
            self._for_good.append(happening)
            found = conditions(self._for_good)
            self._lost = {n for n, place in enumerate(self._world.places) if isinstance(place.plan(found), str)}
            return

        def ends() -> None:
            del self._happening[number]
            self._apply(happening)
            self._await(number, times)

        if end <= MAX_TICK:
            after(self._env, max(end - now(self._env), 0), CHANGE, ends)

    def _conditions(self) -> Conditions:
        """Under all that happens now."""
        return conditions(self._happening[number] for number in sorted(self._happening))

    def _apply(self, happening: Happening) -> None:
        """Links and replicas that it concerns are now as all that happens makes them."""
        found = self._conditions()
        if self._fabric is not None:
            changed = self._world.capacities(found)
            for link in sorted(self._touched | changed.keys()):
                built = self._fabric.built_bytes_per_s[link]
                self._fabric.set_capacity(link, changed.get(link, built))
            self._touched = set(changed)
        places = self._world.places
        concerned = [
            (number, place.plan(found))
            for number, place in enumerate(places)
            if happening.link in place.links or not place.devices.isdisjoint(happening.devices)
        ]
        failing = {n: plan for n, plan in concerned if isinstance(plan, str) and n not in self.down}
        self.down |= failing
        self._displaced([request for number in failing for request in self._replicas[number].fail()])
        recovering = False
        for number, plan in concerned:
            if not isinstance(plan, str):
                self._replicas[number].change(plan)
                recovering |= self.down.pop(number, None) is not None
        if recovering:
            self._recovered()
