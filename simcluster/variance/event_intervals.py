"""Intervals of the events of a run: stated in its scenario, or drawn again from its seed."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from simcluster.files.problems import InputError
from simcluster.numerics.ticks import TICKS_PER_S
from simcluster.plans.conditions import Link, PlannedEvent
from simcluster.plans.planner import Planner
from simcluster.results.read_run import RunFolder

MAX_LABELLED = 60
MAX_REPETITIONS = 10_000
"""Intervals of one event; later ones are left out."""


class EventInterval(NamedTuple):
    """An interval in which an event lasts."""

    begin: int
    """Tick."""
    end: int
    """Tick; that of the run's end where the event lasts longer."""
    kind: str
    devices: tuple[str, ...]
    link: Link | None
    factor: float
    """How many times as long a slow device takes."""

    @property
    def label(self) -> str:
        """Its kind, and the link or the devices concerned."""
        concerned = " - ".join(self.link) if self.link else ", ".join(self.devices[:2])
        more = " …" if len(self.devices) > 2 else ""
        return f"{self.kind.replace('_', ' ')}: {concerned}{more}"


def event_intervals(planner: Planner, end: int) -> list[EventInterval]:
    """Intervals of all events but transfers that begin up to a tick, in order of time."""
    plan = planner.event_plan()
    events = plan.events if plan is not None else ()
    return sorted(
        (
            interval
            for event in events
            if event.kind != "transfer"
            for interval in islice(intervals_of(event, end), MAX_REPETITIONS)
        ),
        key=lambda interval: (interval.begin, interval.end, interval.label),
    )


def intervals_of(event: PlannedEvent, end: int) -> Iterator[EventInterval]:
    """All intervals of an event that begin up to a tick."""
    for begin, until in event.times():
        if begin > end:
            return
        yield EventInterval(
            begin, end if until is None else until, event.kind, event.devices, event.link, event.factor
        )


def labelled_intervals(run: RunFolder) -> list[tuple[float, float, str]]:
    """Begin and end in seconds and the label of the first sixty; none if the run's scenario cannot be read."""
    try:
        found = event_intervals(run.planner(), run.end_ticks)
    except InputError:
        return []
    return [(one.begin / TICKS_PER_S, one.end / TICKS_PER_S, one.label) for one in found[:MAX_LABELLED]]
