"""The events of a scenario, at stated times or drawn at random from its seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from simcluster.numerics.streams import stream, uniforms
from simcluster.numerics.ticks import MAX_TICK, TICKS_PER_S, to_ticks
from simcluster.plans.conditions import Conditions, PlannedEvent
from simcluster.plans.links import Links, normalised
from simcluster.plans.replica_plan import FlowLoad
from simcluster.scenario.resolved import Event, Scenario
from simcluster.topology.routes import NoRoute

Times = Iterator[tuple[int, int | None]]


def planned_events(scenario: Scenario, links: Links) -> list[PlannedEvent]:
    """
    The events of a scenario, in its order.

    Times of random events are keyed by the seed, the kind, and the devices or link concerned, so that adding an event
    does not move the times of others; equal ones are numbered.
    """
    found = []
    n_equal: dict[str, int] = {}
    for event in scenario.events:
        name = " ".join((event.noise + event.kind, *event.devices, *(event.link or ())))
        number = n_equal[name] = n_equal.get(name, -1) + 1
        key, seed = ("events", name, str(number)), scenario.seeds.of(event.noise or "events")
        if event.ends is not None:
            times = _repeated(event, to_ticks(links.routes.latency_s(links.route(*event.ends))))
            found.append(PlannedEvent("transfer", times, load=_transferred(event, links)))
            continue
        found.append(
            PlannedEvent(
                event.kind,
                _stated(event) if event.at_s is not None else _random(event, seed, key),
                event.devices,
                normalised(event.link, links.network) if event.link is not None else None,
                event.factor,
                to_ticks(event.extra_latency_s),
            )
        )
    return found


def _transferred(event: Event, links: Links) -> Callable[[Conditions], FlowLoad | None]:
    """What a transfer puts on the links of its route, which is found when it begins."""
    assert event.ends is not None
    a, b = event.ends

    def load(conditions: Conditions) -> FlowLoad | None:
        try:
            route = links.routes.route(a, b, down=conditions.cut)
        except NoRoute:
            return None
        return FlowLoad(event.n_bytes / links.routes.bytes_per_s(route), tuple((link, 1.0) for link in route))

    return load


def _stated(event: Event) -> Callable[[], Times]:
    """Times of an event that happens once."""
    assert event.at_s is not None
    begin = to_ticks(event.at_s)
    end = None if event.lasts_s is None else begin + to_ticks(event.lasts_s)
    return lambda: iter([(begin, end)])


def _repeated(event: Event, latency_ticks: int) -> Callable[[], Times]:
    """Times of a transfer, once or repeated without end, at which it is on the links: after its latency."""
    assert event.at_s is not None
    begin, every = to_ticks(event.at_s) + latency_ticks, event.every_s

    def times() -> Times:
        yield begin, None
        number = 1
        while every is not None:
            yield begin + number * max(1, to_ticks(every)), None
            number += 1

    return times


def _random(event: Event, seed: int, key: tuple[str, ...]) -> Callable[[], Times]:
    """Times of a repeated event with exponential times between and exponential durations."""
    mtbf_s, mttr_s = event.mtbf_s, event.mttr_s
    assert mtbf_s is not None and mttr_s is not None

    def times() -> Times:
        generator = stream(seed, *key)
        tick = 0
        while True:
            until, lasting = (-math.log1p(-u) for u in uniforms(generator, 2).tolist())
            begin = tick + max(1, round(until * mtbf_s * TICKS_PER_S))
            tick = begin + max(1, round(lasting * mttr_s * TICKS_PER_S))
            if begin > MAX_TICK:
                return  # later than any trace can last
            yield begin, tick if tick <= MAX_TICK else None

    return times
