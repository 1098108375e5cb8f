"""When something happens to devices and links in a run: times of the scenario's events, stated or drawn again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from simcluster.files.problems import InputError
from simcluster.numerics.ticks import TICKS_PER_S
from simcluster.plans.conditions import Link, PlannedEvent
from simcluster.plans.planner import Planner
from simcluster.results.read_run import RunFolder

MOST_SPELLS = 60
MOST_TIMES = 10_000
"""Of one happening that are looked at."""


class Spell(NamedTuple):
    """Once that something happens."""

    begin: int
    """Tick."""
    end: int
    """Tick; that of the run where it lasts."""
    kind: str
    devices: tuple[str, ...]
    link: Link | None

    @property
    def what(self) -> str:
        """In words: its kind, and whom it concerns."""
        whom = " - ".join(self.link) if self.link else ", ".join(self.devices[:2])
        more = " …" if len(self.devices) > 2 else ""
        return f"{self.kind.replace('_', ' ')}: {whom}{more}"


def all_spells(planner: Planner, end: int) -> list[Spell]:
    """
    What happens up to a tick, in order of time; transfers are no spells.

    Of a happening that comes back more than `MOST_TIMES` times, later ones are left out.
    """
    world = planner.event_plan()
    happenings = world.events if world is not None else ()
    return sorted(
        (spell for happening in happenings if happening.kind != "transfer" for spell in _times(happening, end)),
        key=lambda spell: (spell.begin, spell.end, spell.what),
    )


def _times(happening: PlannedEvent, end: int) -> Iterator[Spell]:
    for number, (begin, until) in enumerate(happening.times()):
        if begin > end or number == MOST_TIMES:
            return
        yield Spell(begin, end if until is None else until, happening.kind, happening.devices, happening.link)


def spells(run: RunFolder) -> list[tuple[float, float, str]]:
    """
    Begin and end in seconds, and what it is; the first sixty in order of time.

    Nothing where the run's scenario is not there any more. Transfers are no spells.
    """
    try:
        scenario = run.scenario()
    except InputError:
        return []
    found = all_spells(Planner(scenario), run.end_ticks)
    return [(one.begin / TICKS_PER_S, one.end / TICKS_PER_S, one.what) for one in found[:MOST_SPELLS]]
