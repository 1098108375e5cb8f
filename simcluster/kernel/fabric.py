"""
The links of a topology under load: a fluid model with max-min fair sharing.

A link is one direction; full duplex is two links. Flows that share links, directly or through other flows, form a
component. Whenever a component changes, its rates are solved anew (`maxmin`); other components are not touched.
The rest of a flow is stored as the time that it would take alone on the links as built, so an undisturbed flow
lasts exactly that, rounded to ticks once; each change of its speed rounds once more.
Left out: latency (charged before a flow starts), packets, and the ramp-up of a transport to its rate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import simpy

from simcluster.kernel.clock import NORMAL, after, now
from simcluster.numerics.maxmin import alone_rate, alone_speed, rates
from simcluster.numerics.ticks import MAX_TICK, TICKS_PER_S, to_ticks
from simcluster.plans.replica_plan import FlowLoad


@dataclass(eq=False, slots=True)
class Flow:
    """A load in transit; read-only outside of this module."""

    load: FlowLoad
    done: Callable[[], None]
    number: int
    """Sequence number, in the order of `start`."""
    began_tick: int
    speed: float
    """Rate relative to that alone on links as built: alone-seconds per second."""
    since_tick: int
    """When its speed last changed."""
    remaining_s: float
    """Alone-seconds that were left then."""
    end_tick: int | None
    """When it ends at this speed; None if stalled, or if it would end later than a trace can hold."""
    alone_bytes_per_s: float | None = None
    """Its rate at speed 1; None until it first shares a link."""
    component: _Component | None = None
    """None once it is over or cancelled."""
    cancelled: bool = False

    def change(self, tick: int, speed: float) -> None:
        """Set the speed; an unchanged speed changes nothing, so that it adds no rounding."""
        if speed == self.speed:
            return
        passed_s = (tick - self.since_tick) / TICKS_PER_S
        self.remaining_s = max(0.0, self.remaining_s - self.speed * passed_s)
        self.since_tick, self.speed = tick, speed
        self.end_tick = _end(tick, self.remaining_s, speed)


@dataclass(eq=False, slots=True)
class _Component:
    """Flows that share links, transitively, with the rates of one solution; replaced, never mutated."""

    flows: list[Flow]
    """Sorted by number."""
    valid: bool = True

    def end_tick(self) -> int | None:
        """When its first flow ends."""
        return min((flow.end_tick for flow in self.flows if flow.end_tick is not None), default=None)


class Fabric:
    """All directed links, numbered from 0, and the flows on them."""

    def __init__(self, env: simpy.Environment, capacities_bytes_per_s: Sequence[float]) -> None:
        for link, capacity in enumerate(capacities_bytes_per_s):
            if not capacity > 0:
                raise ValueError(f"link {link} is built with {capacity} bytes/s; expected more than 0")
        self._env = env
        self._built = tuple(capacities_bytes_per_s)
        self._capacities = list(capacities_bytes_per_s)
        self._degraded: set[int] = set()
        self._on: list[dict[Flow, None]] = [{} for _ in self._built]  # flows of each link
        self._agenda: dict[int, list[_Component]] = {}  # by tick, components whose next flow may end then
        self._over: list[Flow] = []  # off the links, `done` to be called at this tick
        self._started = 0
        self._watched: dict[int, list[Callable[[], None]]] = {}  # by link, to be called before it is disturbed

    @property
    def built_bytes_per_s(self) -> tuple[float, ...]:
        """Capacities as built."""
        return self._built

    def idle(self, links: Iterable[int]) -> bool:
        """Whether no flow is on any of the links; flows that end at this tick do not count."""
        tick = now(self._env)
        return all(flow.end_tick == tick for link in links for flow in self._on[link])

    def watch(self, links: Iterable[int], disturbed: Callable[[], None]) -> None:
        """
        Call `disturbed` before a flow enters one of the links, and before its capacity changes.

        For users that need no flows while they are alone on their links: `disturbed` must start the flows that they
        would have, with `began_tick`. It is called before their own flows start, too.
        """
        for link in sorted(set(links)):
            self._watched.setdefault(link, []).append(disturbed)

    def _announce(self, links: Iterable[int]) -> None:
        """Notify the watchers of some links, each once, that these are about to be disturbed."""
        if self._watched:
            for disturbed in dict.fromkeys(call for link in links for call in self._watched.get(link, ())):
                disturbed()

    def alone_ticks(self, load: FlowLoad) -> int:
        """Duration of a flow that is alone on its links at their current capacities."""
        return load.alone_ticks(self._alone_speed(load))

    def start(self, load: FlowLoad, done: Callable[[], None], began_tick: int | None = None) -> Flow:
        """
        Start a flow.

        Args:
            load: what is sent; a flow without links lasts its `alone_s`.
            done: called when the flow ends, with NORMAL priority; flows that end at the same tick are ordered by when
                they began, then by when they were started.
            began_tick: start retroactively at this tick; the flow must have been alone on its links since then, at
                their current capacities. The result is bit for bit as if it had been started then.

        Raises:
            ValueError: `began_tick` lies in the future, or the flow was not alone, or has ended since.
            OverflowError: it would end after 106 days, the most that a trace can hold.
        """
        if began_tick is None:
            self._announce(link for link, _ in load.uses)
        tick = now(self._env)
        began = tick if began_tick is None else began_tick
        flow = self._alone(load, done, began)
        if not began <= tick or (flow.end_tick is not None and flow.end_tick < tick):
            raise ValueError(f"a flow from tick {began} to {flow.end_tick} started at {tick}; expected on its way")
        if began < tick and any(other.began_tick < tick for link, _ in load.uses for other in self._on[link]):
            raise ValueError(f"a flow from tick {began} started at {tick}; expected alone on its links until then")
        self._started += 1
        if flow.end_tick == tick:  # it ends before it could share a link
            self._enter(_Component([flow]))
            return flow
        neighbours = self._detach(other for link, _ in load.uses for other in self._on[link])
        for link, _ in load.uses:
            self._on[link][flow] = None
        if neighbours:
            self._settle([*neighbours, flow])
        else:
            self._enter(_Component([flow]))
        return flow

    def start_together(self, loads: Sequence[FlowLoad], done: Callable[[], None]) -> list[Flow]:
        """Start several flows now, as `start` one after the other would; rates are solved once for all."""
        if len(loads) == 1:
            return [self.start(loads[0], done)]
        self._announce(link for load in loads for link, _ in load.uses)
        tick = now(self._env)
        flows = []
        for load in loads:
            flows.append(self._alone(load, done, tick))
            self._started += 1
        moving = [flow for flow in flows if flow.end_tick != tick]  # the others end at this tick
        for flow in flows:
            if flow.end_tick == tick:
                self._enter(_Component([flow]))
        neighbours = self._detach(other for flow in moving for link, _ in flow.load.uses for other in self._on[link])
        for flow in moving:
            for link, _ in flow.load.uses:
                self._on[link][flow] = None
        self._settle([*neighbours, *moving])
        return flows

    def cancel(self, flow: Flow) -> None:
        """Remove a flow from its links without calling `done`; no effect if it is over."""
        others = self._detach([flow])
        flow.cancelled = True
        if flow in others:
            others.remove(flow)
            self._leave(flow)
        self._settle(others)

    def set_capacity(self, link: int, bytes_per_s: float) -> None:
        """
        Set the capacity of a link from now on.

        At 0 its flows stall until the capacity is set again or they are cancelled.

        Raises:
            ValueError: negative or NaN.
        """
        if not bytes_per_s >= 0:
            raise ValueError(f"link {link} set to {bytes_per_s} bytes/s; expected 0 or more")
        if bytes_per_s == self._capacities[link]:
            return
        self._announce([link])
        flows = self._detach(self._on[link])
        self._capacities[link] = bytes_per_s
        if bytes_per_s == self._built[link]:
            self._degraded.discard(link)
        else:
            self._degraded.add(link)
        self._settle(flows)

    def _alone(self, load: FlowLoad, done: Callable[[], None], began: int) -> Flow:
        """Make a flow that has been alone since it began, at current capacities; it is not on the links yet."""
        if not load.alone_s <= (MAX_TICK - now(self._env)) / TICKS_PER_S:
            raise OverflowError(f"a flow of {load.alone_s} s; a trace can hold 106 days")
        speed = self._alone_speed(load)
        return Flow(load, done, self._started, began, speed, began, load.alone_s, _end(began, load.alone_s, speed))

    def _alone_speed(self, load: FlowLoad) -> float:
        """Speed of a load that is alone on its links at current capacities."""
        return alone_speed(load.uses, self._capacities, self._built) if self._degraded else 1.0

    def _detach(self, flows: Iterable[Flow]) -> list[Flow]:
        """
        Dissolve the components of some flows and return their flows that are still on links, sorted by number.

        Flows that end at this tick leave the links first: a flow that starts at the tick at which another ends does
        not share links with it, whichever of the two events comes first.
        """
        components = dict.fromkeys(flow.component for flow in flows)
        tick = now(self._env)
        staying = []
        for component in components:
            if component is None:
                continue
            component.valid = False
            for flow in component.flows:
                if flow.end_tick == tick:
                    self._leave(flow)
                    self._over.append(flow)
                else:
                    staying.append(flow)
        staying.sort(key=lambda flow: flow.number)
        return staying

    def _leave(self, flow: Flow) -> None:
        """Remove a flow from its links."""
        flow.component = None
        for link, _ in flow.load.uses:
            self._on[link].pop(flow, None)

    def _settle(self, flows: list[Flow]) -> None:
        """Split flows into components and solve the rates of each."""
        tick = now(self._env)
        for members in self._split(flows):
            if len(members) == 1:
                members[0].change(tick, self._alone_speed(members[0].load))
            else:
                found = rates([flow.load.uses for flow in members], self._capacities)
                for flow, rate in zip(members, found, strict=True):
                    if flow.alone_bytes_per_s is None:
                        flow.alone_bytes_per_s = alone_rate(flow.load.uses, self._built)
                    flow.change(tick, rate / flow.alone_bytes_per_s)
            self._enter(_Component(members))

    def _split(self, flows: list[Flow]) -> list[list[Flow]]:
        """Split flows into connected components, each sorted by number, in the order of their first flows."""
        parts: list[list[Flow]] = []
        seen: set[Flow] = set()
        for first in flows:
            if first in seen:
                continue
            seen.add(first)
            links: set[int] = set()
            part = [first]
            for flow in part:  # grows during the iteration
                for link, _ in flow.load.uses:
                    if len(self._on[link]) > 1 and link not in links:
                        links.add(link)
                        part += (new := [other for other in self._on[link] if other not in seen])
                        seen.update(new)
            parts.append(sorted(part, key=lambda flow: flow.number))
        return parts

    def _enter(self, component: _Component) -> None:
        """Register a component and schedule the end of its first flow; components share one event per tick."""
        for flow in component.flows:
            flow.component = component
        tick = component.end_tick()
        if tick is None:
            return
        if tick not in self._agenda:
            self._agenda[tick] = []
            after(self._env, tick - now(self._env), NORMAL, self._end)
        self._agenda[tick].append(component)

    def _end(self) -> None:
        """End the flows that are due, solve the rates of those that share links with them, then call their `done`."""
        tick = now(self._env)
        due = [component for component in self._agenda.pop(tick) if component.valid]
        staying = self._detach(flow for component in due for flow in component.flows)
        over, self._over = self._over, []
        self._settle(staying)
        for flow in sorted(over, key=lambda flow: (flow.began_tick, flow.number)):
            if not flow.cancelled:
                flow.done()


def _end(tick: int, remaining_s: float, speed: float) -> int | None:
    """Tick at which `remaining_s` is over at a speed; None for never, or later than a trace can hold."""
    if speed == 0 or not remaining_s / speed <= (MAX_TICK - tick) / TICKS_PER_S:
        return None
    return tick + to_ticks(remaining_s / speed)
