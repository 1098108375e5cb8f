"""
The links, pipeline stages and hosts that matter most, as replicas and ranks have tables of their own.

Links by their use over the run. Stages by how often they are the slowest of a step, found by playing the begin of the
run again, watched, since the trace says when tokens came and not what each stage did. What stood still: hosts that
paused, groups that stalled, devices that were down, all asked again of the noise world and the events.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from simcluster.kernel.simulate import run_scenario
from simcluster.kernel.watch import Served
from simcluster.noise.renewals import Renewals, rare_stalls
from simcluster.numerics.ticks import TICKS_PER_S
from simcluster.plans.planner import Planner
from simcluster.results.read_run import RunFolder
from simcluster.scenario.known_topology import topology_of
from simcluster.scenario.resolved import Scenario
from simcluster.trace.columns import COMPONENTS
from simcluster.variance.spells import all_spells
from simcluster.variance.traffic import link_use

MOST_LINKS = 10
MOST_STANDSTILLS = 10
MOST_SERVICES = 2**13
"""Of steps by stages that are looked at, of all replications together."""
_MS = TICKS_PER_S // 1000


def entities(runs: Sequence[RunFolder]) -> dict[str, Any]:
    """
    The entities of a run, or of replications of one scenario, that matter most.

    Returns:
        `links`: at most ten, the busiest first: their `ends`, how many are `alike` to three digits, with this one,
        `use` as `link_use` has it, in the busier direction, and `changed_share` of the time for slow or cut ones.
        `n_links` that were used or changed; None where the use is not known.
        `stages`: of every stage of a pipeline, the one that is slowest most often first: `replica`, `stage`,
        `devices`, `slowest_share` of the steps looked at, `mean_ms` that it serves a step for and `wait_ms` that the
        step has waited for it, `busy_share` of the time, and the `component` that most of its time is. `n_steps` that
        were looked at, from the begin of the run. Empty without pipelines.
        `standstills`: at most ten, the longest first: `kind` (`host_pauses`, `rare_stalls`, `device_down`), `entity`,
        which for a host or a group is its first device, and over all runs their `number`, their sum `total_s`, and
        their `share` of the time.

    Raises:
        InputError: the resolved scenario of a run is not there, or cannot be used any more.
    """
    scenarios = [run.scenario() for run in runs]
    n_links, links = _links(runs, scenarios)
    n_steps, stages = _stages(scenarios)
    return {
        "n_links": n_links,
        "links": links[:MOST_LINKS],
        "n_steps": n_steps,
        "stages": stages,
        "standstills": _standstills(runs, scenarios)[:MOST_STANDSTILLS],
    }


def _links(runs: Sequence[RunFolder], scenarios: Sequence[Scenario]) -> tuple[int | None, list[dict[str, Any]]]:
    """How many edges were used or changed, and of those that are alike one each, by use."""
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
    for run, scenario in zip(runs, scenarios, strict=True):
        for spell in all_spells(Planner(scenario), run.end_ticks):
            if spell.link is not None:
                key = frozenset(spell.link)
                busier.setdefault(key, (spell.link, 0.0))
                changed[key] = changed.get(key, 0) + min(spell.end, run.end_ticks) - spell.begin
    alike: dict[tuple[str, str], list[tuple[float, float, list[str]]]] = {}
    n_links = 0
    for key, (ends, share) in busier.items():
        of_time = min(changed.get(key, 0) / whole, 1.0)
        if share > 0 or of_time > 0:
            n_links += 1
            alike.setdefault((f"{share:.2e}", f"{of_time:.2e}"), []).append((-share, -of_time, list(ends)))
    firsts = sorted((min(some), len(some)) for some in alike.values())
    return n_links, [
        {"ends": ends, "alike": number, "use": -use, "changed_share": -of_time}
        for (use, of_time, ends), number in firsts
    ]


class _Enough(Exception):
    """So many steps were served that no more are looked at."""


class _Stage:
    """What is counted of one stage."""

    def __init__(self) -> None:
        self.n_steps = self.served = self.waited = 0
        self.n_slowest = 0.0
        self.parts = np.zeros(len(COMPONENTS), np.int64)


def _stages(scenarios: Sequence[Scenario]) -> tuple[int, list[dict[str, Any]]]:
    """How many steps were looked at, and the stages of all pipelines."""
    counted: dict[tuple[int, int], _Stage] = {}
    n_steps = span = 0
    replicas = scenarios[0].replicas
    if all(len(replica.stages) < 2 for replica in replicas):
        return 0, []
    for scenario in scenarios:
        served = _served(scenario, max(MOST_SERVICES // len(scenarios), 256))
        span += max((one.ended for one in served), default=0) - min((one.began for one in served), default=0)
        steps: dict[tuple[int, int], list[Served]] = {}
        for one in served:
            steps.setdefault((one.replica, one.step), []).append(one)
        for (replica, _), of_step in steps.items():
            if len(of_step) < len(scenario.replicas[replica].stages):
                continue  # not over yet, or lost
            n_steps += 1
            longest = max(one.ended - one.began for one in of_step)
            n_longest = sum(one.ended - one.began == longest for one in of_step)
            for one in of_step:
                stage = counted.setdefault((replica, one.stage), _Stage())
                stage.n_steps += 1
                if one.ended - one.began == longest:
                    stage.n_slowest += 1 / n_longest
                stage.served += one.ended - one.began
                stage.waited += one.began - one.arrived
                stage.parts += one.parts
    found: list[dict[str, Any]] = [
        {
            "replica": replica,
            "stage": place,
            "devices": list(replicas[replica].stages[place].devices),
            "slowest_share": stage.n_slowest / stage.n_steps,
            "mean_ms": stage.served / stage.n_steps / _MS,
            "wait_ms": stage.waited / stage.n_steps / _MS,
            "busy_share": stage.served / max(span, 1),
            "component": list(COMPONENTS)[int(stage.parts.argmax())],
        }
        for (replica, place), stage in counted.items()
    ]
    found.sort(key=lambda one: (-one["slowest_share"], -one["mean_ms"], one["replica"], one["stage"]))
    return n_steps, found


def _served(scenario: Scenario, most: int) -> list[Served]:
    """What the stages of pipelines served from the begin of a run, at most so many services."""
    found: list[Served] = []

    def watch(one: Served) -> None:
        if len(found) == most:
            raise _Enough
        found.append(one)

    alike = scenario.model_copy(update={"fidelity": "auto"}) if scenario.fidelity == "op" else scenario
    with suppress(_Enough):
        run_scenario(alike, [], watch)
    return found


def _standstills(runs: Sequence[RunFolder], scenarios: Sequence[Scenario]) -> list[dict[str, Any]]:
    """Who stood still for how much of the time, the longest first."""
    number: Counter[tuple[str, str]] = Counter()
    ticks: Counter[tuple[str, str]] = Counter()
    whole = sum(run.end_ticks for run in runs)

    def add(kind: str, entity: str, times: int, lasted: int) -> None:
        number[kind, entity] += times
        ticks[kind, entity] += lasted

    for run, scenario in zip(runs, scenarios, strict=True):
        planner, end = Planner(scenario), run.end_ticks
        for replica, pauses in zip(scenario.replicas, planner.pauses(), strict=False):
            add("host_pauses", replica.stages[0].devices[0], *_until(pauses, end))
        values = scenario.noise.values("rare_stalls", scenario.device.kind)
        if values is not None:
            for stage in (stage for replica in scenario.replicas for stage in replica.stages):
                first = stage.devices[0]
                add("rare_stalls", first, *_until(rare_stalls(scenario.seeds, first, **values), end))
        for spell in all_spells(planner, end):
            if spell.kind == "device_down":
                for device in spell.devices:
                    add("device_down", device, 1, min(spell.end, end) - spell.begin)
    found = [
        {
            "kind": kind, "entity": entity, "number": times, "total_s": ticks[kind, entity] / TICKS_PER_S,
            "share": ticks[kind, entity] / max(whole, 1),
        }
        for (kind, entity), times in number.items()
        if times
    ]  # fmt: skip
    return sorted(found, key=lambda one: (-one["share"], one["kind"], one["entity"]))


def _until(renewals: Renewals, end: int) -> tuple[int, int]:
    """How many intervals begin up to a tick, and for how many ticks until then they are on."""
    renewals.reach(end)
    n = sum(begin <= end for begin in renewals.begins)
    lengths = zip(renewals.begins[:n], renewals.ends[:n], strict=True)
    return n, sum(min(last, end) - begin for begin, last in lengths)
