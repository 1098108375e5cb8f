"""
Events during a run: devices and links slow down, fail and recover.

Whenever an event begins or ends, link capacities are set to what all active events leave, and every replica concerned
gets a new plan. A replica that lacks a device, or a route between its devices, is down until it has it again.
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
"""Events that may begin in a run; simulating this many takes minutes."""


class TooManyEvents(OverflowError):
    """More than `MAX_EVENTS` events began in a run."""


class EventPlayer:
    """
    Applies the events of a plan to replicas and links.

    Args:
        env: the clock.
        plan: the events, and the sites of the replicas that they may concern.
        replicas: by number.
        fabric: the links; None without a fabric.
        displaced: called with the requests of replicas that go down.
        recovered: called when a replica is up again.
        is_over: whether the run has no work left, so that recurring events may stop; called with the replicas that
            never come up again.
    """

    def __init__(
        self,
        env: simpy.Environment,
        plan: EventPlan,
        replicas: Sequence[Replica],
        fabric: Fabric | None,
        displaced: Callable[[list[Request]], None],
        recovered: Callable[[], None],
        is_over: Callable[[set[int]], bool],
    ) -> None:
        self._env = env
        self._plan = plan
        self._replicas = replicas
        self._fabric = fabric
        self._displaced = displaced
        self._recovered = recovered
        self._is_over = is_over
        self._n_begun = 0
        self._under_way: dict[int, PlannedEvent] = {}
        self._changed_links: set[int] = set()
        """Links whose capacity differs from the built one."""
        self._permanent: list[PlannedEvent] = []
        """Active events without an end."""
        self._lost: set[int] = set()
        """Replicas that are down through permanent events, so that they never come up again."""
        self.down: dict[int, str] = {}
        """Reasons why replicas are down, by number."""
        for number, event in enumerate(plan.events):
            self._await(number, event.times())

    def _await(self, number: int, times: Iterator[tuple[int, int | None]]) -> None:
        """Schedule the next occurrence of an event."""
        for begin, end in times:
            begin = max(begin, now(self._env))
            if begin > MAX_TICK:
                return

            def begins(end: int | None = end) -> None:
                self._begin(number, end, times)

            after(self._env, begin - now(self._env), CHANGE, begins)
            return

    def _begin(self, number: int, end: int | None, times: Iterator[tuple[int, int | None]]) -> None:
        event = self._plan.events[number]
        if self._is_over(self._lost):
            return
        self._n_begun += 1
        if self._n_begun > MAX_EVENTS:
            raise TooManyEvents(f"more than {MAX_EVENTS:,} events")
        if event.kind == "transfer":
            assert event.load is not None and self._fabric is not None
            load = event.load(self._conditions())
            if load is None:
                self._await(number, times)
            else:
                self._fabric.start(load, lambda: self._await(number, times))
            return
        self._under_way[number] = event
        self._apply(event)
        if end is None:
            self._permanent.append(event)
            found = conditions(self._permanent)
            self._lost = {n for n, place in enumerate(self._plan.sites) if isinstance(place.plan(found), str)}
            return

        def ends() -> None:
            del self._under_way[number]
            self._apply(event)
            self._await(number, times)

        if end <= MAX_TICK:
            after(self._env, max(end - now(self._env), 0), CHANGE, ends)

    def _conditions(self) -> Conditions:
        """Compute the state of devices and links under all active events."""
        return conditions(self._under_way[number] for number in sorted(self._under_way))

    def _apply(self, event: PlannedEvent) -> None:
        """Update the links and replicas that an event concerns to the state under all active events."""
        found = self._conditions()
        if self._fabric is not None:
            changed = self._plan.capacities(found)
            for link in sorted(self._changed_links | changed.keys()):
                built = self._fabric.built_bytes_per_s[link]
                self._fabric.set_capacity(link, changed.get(link, built))
            self._changed_links = set(changed)
        concerned = [
            (number, place.plan(found))
            for number, place in enumerate(self._plan.sites)
            if event.link in place.links or not place.devices.isdisjoint(event.devices)
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
