"""
The links, pipeline stages and hosts that matter most; replicas and ranks have tables of their own.

Links are ranked by their use over the run. Stages are ranked by how often they are the slowest of a step, found by
simulating the beginning of the run again, since the trace records when tokens came and not what each stage did.
Standstills are hosts that paused, groups that stalled and devices that were down, drawn again from the seed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from simcluster.kernel.simulate import run_scenario
from simcluster.kernel.watch import Served
from simcluster.noise.renewals import Renewals, rare_stalls
from simcluster.numerics.ticks import TICKS_PER_S
from simcluster.results.metrics import TICKS_PER_MS
from simcluster.results.read_run import RunFolder
from simcluster.scenario.known_topology import topology_of
from simcluster.scenario.resolved import Scenario
from simcluster.trace.columns import COMPONENTS
from simcluster.variance.event_intervals import event_intervals
from simcluster.variance.link_use import link_use

MAX_LINKS = 10
MAX_STANDSTILLS = 10
MAX_SERVICES = 2**13
"""Services of a step by a stage that are analysed, of all replications together."""
_MIN_SERVICES_EACH = 256

_STANDSTILL_LABELS = {
    "host_pauses": "pauses of the host of",
    "rare_stalls": "stalls of the group of",
    "device_down": "down:",
}


@dataclass(frozen=True)
class LinkLoad:
    """A link, and how many others have the same load to three digits."""

    ends: tuple[str, str]
    alike: int
    """Links of this load, this one included."""
    use: float
    """Share of its bandwidth over the run, in the busier direction."""
    changed_share: float
    """Share of the time in which it was slow or cut."""

    @property
    def label(self) -> str:
        """Its ends, and how many are like it."""
        return " - ".join(self.ends) + (f" and {self.alike - 1:,} like it" if self.alike > 1 else "")


@dataclass(frozen=True)
class StageLoad:
    """A stage of a pipeline over the analysed steps."""

    replica: int
    stage: int
    devices: tuple[str, ...]
    slowest_share: float
    """Share of the steps of which it was the slowest stage."""
    mean_ms: float
    """Mean service of a step."""
    wait_ms: float
    """Mean wait of a step for the stage."""
    busy_share: float
    """Share of the time in which it served."""
    component: str
    """The component that most of its time is."""


@dataclass(frozen=True)
class Standstill:
    """A host, group or device that stood still."""

    kind: str
    """`host_pauses`, `rare_stalls` or `device_down`."""
    entity: str
    """The device; of a host or a group its first."""
    number: int
    """How often, over all runs."""
    total_s: float
    share: float
    """Share of the time of all runs."""

    @property
    def label(self) -> str:
        """What stood still, and how."""
        return f"{_STANDSTILL_LABELS[self.kind]} {self.entity}"


@dataclass(frozen=True)
class Entities:
    """The links, stages and standstills that matter most."""

    n_links: int | None
    """Links that were used or changed; None where the use is not known."""
    links: list[LinkLoad]
    """At most ten, the busiest first."""
    n_steps: int
    """Steps analysed, from the beginning of the run."""
    stages: list[StageLoad]
    """Every stage of a pipeline, the one that is slowest most often first; empty without pipelines."""
    standstills: list[Standstill]
    """At most ten, the longest first."""


def entities(runs: Sequence[RunFolder]) -> Entities:
    """
    Find the entities of a run, or of replications of one scenario, that matter most.

    Raises:
        InputError: the resolved scenario of a run does not exist, or is not usable any more.
    """
    scenarios = [run.scenario() for run in runs]
    n_links, links = _links(runs, scenarios)
    # A run under policies of its caller cannot be simulated again without them.
    repeatable = [run.scenario() for run in runs if not run.summary.get("policies")]
    n_steps, stages = _stages(repeatable) if repeatable else (0, [])
    return Entities(n_links, links[:MAX_LINKS], n_steps, stages, _standstills(runs, scenarios)[:MAX_STANDSTILLS])


def _links(runs: Sequence[RunFolder], scenarios: Sequence[Scenario]) -> tuple[int | None, list[LinkLoad]]:
    """The number of links that were used or changed, and one for each load, the busiest first."""
    topology = topology_of(scenarios[0])
    use = link_use(runs, topology) if topology is not None else None
    if use is None:
        return None, []
    busier: dict[frozenset[str], tuple[tuple[str, str], float]] = {}
    for ends, share in use.items():
        key = frozenset(ends)
        if key not in busier or share > busier[key][1]:
            busier[key] = ends, share
    whole = max(sum(run.end_ticks for run in runs), 1)
    changed: dict[frozenset[str], int] = {}
    for run in runs:
        for interval in event_intervals(run.planner(), run.end_ticks):
            if interval.link is not None:
                key = frozenset(interval.link)
                busier.setdefault(key, (interval.link, 0.0))
                changed[key] = changed.get(key, 0) + min(interval.end, run.end_ticks) - interval.begin
    same_load: dict[tuple[str, str], list[tuple[float, float, tuple[str, str]]]] = {}
    n_links = 0
    for key, (ends, share) in busier.items():
        of_time = min(changed.get(key, 0) / whole, 1.0)
        if share > 0 or of_time > 0:
            n_links += 1
            same_load.setdefault((f"{share:.2e}", f"{of_time:.2e}"), []).append((-share, -of_time, ends))
    firsts = sorted((min(some), len(some)) for some in same_load.values())
    return n_links, [LinkLoad(ends, number, -use, -of_time) for (use, of_time, ends), number in firsts]


class _EnoughServices(Exception):
    """Enough services have been seen."""


class _StageCounts:
    """Counts of one stage."""

    def __init__(self) -> None:
        self.n_steps = self.served = self.waited = 0
        self.n_slowest = 0.0
        self.parts = np.zeros(len(COMPONENTS), np.int64)

    def add(self, service: Served, slowest: float) -> None:
        """Add a service of a step; `slowest` is 1 if it was the slowest of the step, and a share of 1 on a tie."""
        self.n_steps += 1
        self.n_slowest += slowest
        self.served += service.ended - service.began
        self.waited += service.began - service.arrived
        self.parts += service.parts


def _stages(scenarios: Sequence[Scenario]) -> tuple[int, list[StageLoad]]:
    """The number of steps analysed, and the stages of all pipelines."""
    counts: dict[tuple[int, int], _StageCounts] = {}
    n_steps = span = 0
    replicas = scenarios[0].replicas
    if all(len(replica.stages) < 2 for replica in replicas):
        return 0, []
    for scenario in scenarios:
        served = _services(scenario, max(MAX_SERVICES // len(scenarios), _MIN_SERVICES_EACH))
        span += max((one.ended for one in served), default=0) - min((one.began for one in served), default=0)
        steps: dict[tuple[int, int], list[Served]] = {}
        for one in served:
            steps.setdefault((one.replica, one.step), []).append(one)
        for (replica, _), of_step in steps.items():
            if len(of_step) < len(scenario.replicas[replica].stages):
                continue  # unfinished or lost
            n_steps += 1
            longest = max(one.ended - one.began for one in of_step)
            n_longest = sum(one.ended - one.began == longest for one in of_step)
            for one in of_step:
                slowest = 1 / n_longest if one.ended - one.began == longest else 0.0
                counts.setdefault((replica, one.stage), _StageCounts()).add(one, slowest)
    found = [
        StageLoad(
            replica,
            place,
            replicas[replica].stages[place].devices,
            stage.n_slowest / stage.n_steps,
            stage.served / stage.n_steps / TICKS_PER_MS,
            stage.waited / stage.n_steps / TICKS_PER_MS,
            stage.served / max(span, 1),
            list(COMPONENTS)[int(stage.parts.argmax())],
        )
        for (replica, place), stage in counts.items()
    ]
    return n_steps, sorted(found, key=lambda one: (-one.slowest_share, -one.mean_ms, one.replica, one.stage))


def _services(scenario: Scenario, most: int) -> list[Served]:
    """The first services of steps by stages in a run, at most that many."""
    found: list[Served] = []

    def watch(one: Served) -> None:
        if len(found) == most:
            raise _EnoughServices
        found.append(one)

    # `auto` finds the same times as `op` in fewer events.
    faster = scenario.model_copy(update={"fidelity": "auto"}) if scenario.fidelity == "op" else scenario
    with suppress(_EnoughServices):
        run_scenario(faster, [], watch)
    return found


def _standstills(runs: Sequence[RunFolder], scenarios: Sequence[Scenario]) -> list[Standstill]:
    """All standstills of all runs, the longest first."""
    number: Counter[tuple[str, str]] = Counter()
    ticks: Counter[tuple[str, str]] = Counter()
    whole = sum(run.end_ticks for run in runs)

    def add(kind: str, entity: str, times: int, lasted: int) -> None:
        number[kind, entity] += times
        ticks[kind, entity] += lasted

    for run, scenario in zip(runs, scenarios, strict=True):
        end = run.end_ticks
        for replica, pauses in zip(scenario.replicas, run.planner().pauses(), strict=False):
            if pauses is not None:
                add("host_pauses", replica.stages[0].devices[0], *_until(pauses, end))
        for pool, replica in scenario.placed_replicas:
            values = scenario.noise.values("rare_stalls", pool.device.kind)
            if values is None:
                continue
            for stage in replica.stages:
                first = stage.devices[0]
                add("rare_stalls", first, *_until(rare_stalls(scenario.seeds, first, **values), end))
        for interval in event_intervals(run.planner(), end):
            if interval.kind == "device_down":
                for device in interval.devices:
                    add("device_down", device, 1, min(interval.end, end) - interval.begin)
    found = [
        Standstill(kind, entity, times, ticks[kind, entity] / TICKS_PER_S, ticks[kind, entity] / max(whole, 1))
        for (kind, entity), times in number.items()
        if times
    ]
    return sorted(found, key=lambda one: (-one.share, one.kind, one.entity))


def _until(renewals: Renewals, end: int) -> tuple[int, int]:
    """How many intervals begin up to a tick, and for how many ticks until then they last."""
    renewals.reach(end)
    n = sum(begin <= end for begin in renewals.begins)
    lengths = zip(renewals.begins[:n], renewals.ends[:n], strict=True)
    return n, sum(min(last, end) - begin for begin, last in lengths)
