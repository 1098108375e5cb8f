"""
Events while requests are served: devices and links slow down, fail and come back.

Whenever an event begins or ends, the links get the capacity that all events under way leave them, and every replica
that has a part in it is planned anew. A replica that lacks a device, or a route between its devices, is down until it
has it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import simpy

from simcluster.kernel.clock import CHANGE, after, now
from simcluster.kernel.fabric import Fabric
from simcluster.kernel.replica import Replica
from simcluster.kernel.request import Request
from simcluster.numerics.ticks import MAX_TICK
from simcluster.plans.conditions import Conditions, EventPlan, PlannedEvent, conditions

MAX_EVENTS = 10**6
"""Events that may begin in a run: so many take minutes, and could go on for all of 106 days."""


class TooManyEvents(OverflowError):
    """More events than a run simulates."""


class EventPlayer:
    """
    Plays a world; `displaced` takes the requests of replicas that go down, `recovered` is told that one is up.

    `is_over` says that nothing more can come of it, so that what would go on for ever may stop: it is told whether
    any replica is up or may come back.
    """

    def __init__(
        self,
        env: simpy.Environment,
        world: EventPlan,
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
        self._happening: dict[int, PlannedEvent] = {}
        self._touched: set[int] = set()
        self._for_good: list[PlannedEvent] = []
        """What has begun and has no end."""
        self._lost: set[int] = set()
        """Replicas that these alone keep down, so that they never come back."""
        self.down: dict[int, str] = {}
        """Replicas that cannot run, and why."""
        for number, happening in enumerate(world.events):
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
        happening = self._world.events[number]
        if self._is_over(len(self._lost) < len(self._replicas)):
            return
        self._n_begun += 1
        if self._n_begun > MAX_EVENTS:
            raise TooManyEvents(f"more than {MAX_EVENTS:,} happenings")
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
            self._lost = {n for n, place in enumerate(self._world.sites) if isinstance(place.plan(found), str)}
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

    def _apply(self, happening: PlannedEvent) -> None:
        """Links and replicas that it concerns are now as all that happens makes them."""
        found = self._conditions()
        if self._fabric is not None:
            changed = self._world.capacities(found)
            for link in sorted(self._touched | changed.keys()):
                built = self._fabric.built_bytes_per_s[link]
                self._fabric.set_capacity(link, changed.get(link, built))
            self._touched = set(changed)
        places = self._world.sites
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
