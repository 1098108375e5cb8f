"""All lanes of a window, and arrows that follow each request."""

from __future__ import annotations

from collections.abc import Mapping

from simcluster.kernel.watch import Served
from simcluster.numerics.ticks import to_ticks
from simcluster.results.read_run import RunFolder
from simcluster.scenario.resolved import Scenario
from simcluster.timeline.chrome import Events, Lane
from simcluster.timeline.devices import Replicas
from simcluster.timeline.requests import add_queue, add_requests
from simcluster.timeline.window import Window, clipped

EVENTS = 3
"""Group of lanes, after those of requests and queue."""


def events_of(run: RunFolder, scenario: Scenario, shown: Window) -> Events:
    """All events of a window."""
    events = Events()
    replicas = Replicas(scenario, events)
    for served in shown.served:
        replicas.add(served)
    replicas.add_wires(shown.served)
    of_requests = add_requests(events, run, shown)
    _arrows(events, run, shown, replicas, of_requests)
    add_queue(events, run, shown)
    _events(events, scenario, shown)
    return events


def _arrows(
    events: Events, run: RunFolder, shown: Window, replicas: Replicas, of_requests: Mapping[int, Lane]
) -> None:
    """Add an arrow for each request from its lane through its last prefill step to its first decode step."""
    prompt: dict[int, Served] = {}
    decode: dict[int, Served] = {}
    for one in shown.served:
        if one.stage == 0:
            for number in one.finishing:
                prompt.setdefault(number, one)
            for number in one.decoding:
                if number in prompt:
                    decode.setdefault(number, one)
    stages = {(one.replica, one.stage, one.step): one for one in shown.served}
    for number, end in sorted(decode.items()):
        start = prompt[number]
        scheduled = int(run.requests["scheduled_at_ticks"][number])
        if not shown.from_ticks <= scheduled <= start.began or end.began > shown.until_ticks:
            continue
        events.flow("s", number + 1, of_requests[number], scheduled)
        served: Served | None = start
        while served is not None:
            place = start.replica, served.stage, start.step
            events.flow("t", number + 1, replicas.lane(start.replica, served.stage), served.began)
            if (wire := replicas.wires.get(place)) is not None:
                events.flow("t", number + 1, *wire)
            served = stages.get((start.replica, served.stage + 1, start.step))
        events.flow("f", number + 1, replicas.lane(end.replica, 0), end.began)


def _events(events: Events, scenario: Scenario, shown: Window) -> None:
    """Add the scenario's events with fixed times; random ones appear on the devices only."""
    stated = [event for event in scenario.events if event.at_s is not None and event.every_s is None]
    if not stated:
        return
    events.name_group(EVENTS, "events")
    for number, event in enumerate(stated):
        began = to_ticks(event.at_s or 0.0)
        ended = shown.until_ticks if event.lasts_s is None else began + to_ticks(event.lasts_s)
        entity = " to ".join(event.link or event.ends or ()) or ", ".join(event.devices[:8])
        lane = Lane(EVENTS, number + 1)
        events.name_lane(lane, event.kind.replace("_", " "))
        clipped(
            events, shown, lane, f"{event.kind.replace('_', ' ')}: {entity}", began, ended, {"factor": event.factor}
        )
