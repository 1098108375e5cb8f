"""When something happens to devices and links in a run: times of the scenario's events, stated or drawn again."""

from __future__ import annotations

from simcluster.kernel.plan import Planner
from simcluster.problems import InputError
from simcluster.read_run import RunFolder
from simcluster.ticks import TICKS_PER_S

MOST_SPELLS = 60


def spells(run: RunFolder) -> list[tuple[float, float, str]]:
    """
    Begin and end in seconds, and what it is; the first sixty in order of time.

    Nothing where the run's scenario is not there any more. Transfers are no spells.
    """
    try:
        scenario = run.scenario()
    except InputError:
        return []
    world = Planner(scenario).world()
    end = run.end_ticks
    found: list[tuple[float, float, str]] = []
    for happening in world.happenings if world is not None else ():
        if happening.kind == "transfer":
            continue
        whom = " - ".join(happening.link) if happening.link else ", ".join(happening.devices[:2])
        more = " …" if len(happening.devices) > 2 else ""
        what = f"{happening.kind.replace('_', ' ')}: {whom}{more}"
        for begin, until in happening.times():
            if begin > end or len(found) > 10 * MOST_SPELLS:
                break
            found.append((begin / TICKS_PER_S, (end if until is None else until) / TICKS_PER_S, what))
    return sorted(found)[:MOST_SPELLS]
