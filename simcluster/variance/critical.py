"""
The critical path: which rank of a group is last, how often, and what it would save if it were not.

A trace does not say who was last, but the noise world does: it is a function of the seed, the device and the step, so
the delays of every rank at every collective of the steps that were played are simply asked for again. The same holds
for the pace of devices: their own speed, drift, clocks, and events that slow them down. Being faster saves no more
than the gap to the second slowest, since then that one is last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from simcluster.noise.pace import DevicePace
from simcluster.noise.slices import STEPS_PER_BLOCK
from simcluster.numerics.ticks import TICKS_PER_S, Ticks
from simcluster.plans.conditions import PlannedEvent
from simcluster.plans.noisy_stages import collectives, skew
from simcluster.plans.planner import Planner
from simcluster.plans.prices import Prices
from simcluster.results.read_run import RunFolder
from simcluster.scenario.resolved import Scenario, Stage
from simcluster.stages.step_noise import Skew

MOST_STEPS = 2**13
"""That are looked at, of all groups and replications together."""
_MS = TICKS_PER_S // 1000
Floats = npt.NDArray[np.float64]


class Steps(NamedTuple):
    """Steps of one replica that made tokens."""

    numbers: Ticks
    """Ascending, shape (steps,)."""
    ends: Ticks
    """When their first token was there, shape (steps,)."""


def critical_path(runs: Sequence[RunFolder]) -> dict[str, Any] | None:
    """
    Who is last in each group of ranks, over all runs.

    Returns:
        `steps` looked at and `of_steps` made, and `groups`: replica, stage, `wait_ms_per_step` for the last rank to
        arrive as the first one sees it, and `ranks`. Of every rank its `device`, `last_share` of the collectives and
        `saves_ms_per_step` at most; and by its pace `slowest_share` of the steps and `saves_share` at most, both for
        `compute` and for `fetch`: of the time that arithmetic takes, or fetching.
        None for a run without groups of several ranks.

    Raises:
        InputError: the resolved scenario of a run is not there, or cannot be used any more.
    """
    scenarios = [run.scenario() for run in runs]
    n_groups = sum(len(replica.stages) for replica in scenarios[0].replicas)
    if all(len(stage.devices) < 2 for replica in scenarios[0].replicas for stage in replica.stages):
        return None
    each_run = max(MOST_STEPS // (n_groups * len(runs)), STEPS_PER_BLOCK)
    groups: dict[tuple[int, int], _Group] = {}
    n_looked_at = n_made = 0
    for run, scenario in zip(runs, scenarios, strict=True):
        steps, n_steps = _steps(run, each_run)
        n_looked_at += sum(len(some.numbers) for some in steps.values())
        n_made += n_steps
        planner = Planner(scenario)
        slow = _slow(planner, run.end_ticks)
        for number, replica in enumerate(scenario.replicas):
            for place, stage in enumerate(replica.stages):
                if number in steps and len(stage.devices) > 1:
                    group = groups.setdefault((number, place), _Group(stage.devices))
                    late = rank_skew(scenario, planner.prices, stage)
                    group.look_at(steps[number], late, _paces(scenario, stage), slow)
    found = [{"replica": number, "stage": place, **group.told()} for (number, place), group in sorted(groups.items())]
    return {"steps": n_looked_at, "of_steps": n_made, "groups": found}


@dataclass(frozen=True, eq=False)
class LastOverTime:
    """Who is last in one group of ranks of a run, in equal bins of time; NaN in bins without steps looked at."""

    replica: int
    stage: int
    devices: tuple[str, ...]
    edges_s: Floats
    """Shape (bins + 1,)."""
    last: Floats | None
    """Share of the collectives to which each rank comes last, shape (ranks, bins); None where nobody is ever late."""
    slowest: Floats | None
    """Share of the steps in which each is the slowest to fetch, shape (ranks, bins); None where all are alike."""


def last_over_time(run: RunFolder, n_bins: int) -> list[LastOverTime]:
    """
    Who is last in each group of ranks, over the time of a run.

    Raises:
        InputError: the resolved scenario of the run is not there, or cannot be used any more.
    """
    scenario = run.scenario()
    groups = [
        (number, place, stage)
        for number, replica in enumerate(scenario.replicas)
        for place, stage in enumerate(replica.stages)
        if len(stage.devices) > 1
    ]
    if not groups:
        return []
    steps, _ = _steps(run, max(MOST_STEPS // len(groups), STEPS_PER_BLOCK))
    planner, end = Planner(scenario), max(run.end_ticks, 1)
    slow = _slow(planner, end)
    found = []
    for number, place, stage in groups:
        last, slowest = np.zeros((2, len(stage.devices), n_bins))
        if number in steps:
            bins = np.minimum(steps[number].ends / end * n_bins, n_bins - 1).astype(np.int64)
            for one in np.unique(bins).tolist():
                group = _Group(stage.devices)
                some = Steps(*(column[bins == one] for column in steps[number]))
                group.look_at(some, rank_skew(scenario, planner.prices, stage), _paces(scenario, stage), slow)
                last[:, one], slowest[:, one] = group.shares()
            missing = np.setdiff1d(np.arange(n_bins), bins)
            last[:, missing] = slowest[:, missing] = np.nan
        edges_s = np.linspace(0, end / TICKS_PER_S, n_bins + 1)
        tables = [table if np.nansum(table) > 0 else None for table in (last, slowest)]
        found.append(LastOverTime(number, place, stage.devices, edges_s, *tables))
    return found


class _Group:
    """What is counted of a group of ranks."""

    def __init__(self, devices: tuple[str, ...]) -> None:
        self._devices = devices
        self._n_steps = self._n_collectives = self._waited = 0
        n_ranks = len(devices)
        self._last, self._saved = np.zeros(n_ranks, np.int64), np.zeros(n_ranks, np.int64)
        self._slowest, self._gained = np.zeros((2, n_ranks), np.int64), np.zeros((2, n_ranks))

    def look_at(self, steps: Steps, skew: Skew | None, paces: Sequence[DevicePace], slow: Sequence[_Slow]) -> None:
        """Count some steps."""
        self._n_steps += len(steps.numbers)
        if skew is not None:
            for block in np.unique(steps.numbers // STEPS_PER_BLOCK).tolist():
                rows = steps.numbers[steps.numbers // STEPS_PER_BLOCK == block] % STEPS_PER_BLOCK
                delays = np.stack([skew.table[rank.block(block)[rows]] for rank in skew.ranks])
                delays[0] += skew.more
                self._meet(delays)
        factors = np.stack([_factors(pace, steps.ends) for pace in paces], axis=1)  # (2, ranks, steps)
        for device, begin, end, factor in slow:
            if device in self._devices:
                factors[:, self._devices.index(device), (steps.ends > begin) & (steps.ends <= end)] *= factor
        for place, of_all in enumerate(factors):
            ordered = np.sort(of_all, axis=0)
            differ = ordered[-1] > ordered[0]
            slowest = of_all[:, differ].argmax(axis=0)
            gain = 1 - ordered[-2, differ] / ordered[-1, differ]
            self._slowest[place] += np.bincount(slowest, minlength=len(of_all))
            self._gained[place] += np.bincount(slowest, gain, len(of_all))

    def _meet(self, delays: Ticks) -> None:
        """Count collectives: how late each rank comes, shape (ranks, steps, collectives)."""
        last = delays.argmax(axis=0).ravel()
        ordered = np.partition(delays, -2, axis=0)
        gap = (ordered[-1] - ordered[-2]).ravel()
        self._n_collectives += len(last)
        self._waited += int((ordered[-1] - delays[0]).sum())
        self._last += np.bincount(last, minlength=len(delays))
        self._saved += np.bincount(last, gap, len(delays)).astype(np.int64)

    def shares(self) -> tuple[Floats, Floats]:
        """Of collectives at which each rank is last, and of steps in which it is the slowest to fetch."""
        return self._last / max(self._n_collectives, 1), self._slowest[1] / max(self._n_steps, 1)

    def told(self) -> dict[str, Any]:
        """In shares and milliseconds."""
        n_steps, n_collectives = max(self._n_steps, 1), max(self._n_collectives, 1)
        ranks = [
            {
                "device": device,
                "last_share": int(self._last[rank]) / n_collectives,
                "saves_ms_per_step": int(self._saved[rank]) / n_steps / _MS,
                **{
                    what: {
                        "slowest_share": int(self._slowest[place, rank]) / n_steps,
                        "saves_share": float(self._gained[place, rank]) / n_steps,
                    }
                    for place, what in enumerate(("compute", "fetch"))
                },
            }
            for rank, device in enumerate(self._devices)
        ]
        return {"wait_ms_per_step": self._waited / n_steps / _MS, "ranks": ranks}


def _factors(pace: DevicePace, ticks: Ticks) -> Floats:
    """How many times as long a device's arithmetic and fetches take at ascending times, shape (2, times)."""
    found = np.empty((2, len(ticks)))
    place = 0
    while place < len(ticks):
        compute, fetch, until = pace.at(int(ticks[place]))
        after = max(int(np.searchsorted(ticks, until)), place + 1)
        found[:, place:after] = [[compute], [fetch]]
        place = after
    return found


def rank_skew(scenario: Scenario, prices: Prices, stage: Stage) -> Skew | None:
    """How late each rank of a stage enters each of its collectives; None where no rank is ever late."""
    n_collectives = len(collectives(prices.as_built(stage.layers)))
    if len(stage.devices) < 2 or not n_collectives:
        return None
    return skew(scenario.noise, scenario.device.kind, stage.devices, n_collectives, scenario.seeds)


def _paces(scenario: Scenario, stage: Stage) -> list[DevicePace]:
    """Of the devices of a stage, from the start of a run."""
    return [DevicePace(scenario.seeds, device, scenario.noise, scenario.device.kind) for device in stage.devices]


class _Slow(NamedTuple):
    """A time in which a device is slow."""

    device: str
    begin: int
    end: int
    factor: float


def _slow(planner: Planner, until: int) -> list[_Slow]:
    """All times until then in which events slow devices down."""
    world = planner.event_plan()
    found = []
    for happening in world.events if world is not None else ():
        if happening.kind == "device_slow":
            found += _times(happening, until)
    return found


def _times(happening: PlannedEvent, until: int) -> list[_Slow]:
    found = []
    for begin, end in happening.times():
        if begin > until:
            break
        last = until if end is None else end
        found += [_Slow(device, begin, last, happening.factor) for device in happening.devices]
    return found


def _steps(run: RunFolder, most: int) -> tuple[dict[int, Steps], int]:
    """
    Steps that made tokens, by replica; of many, blocks of successive ones at equal distances.

    Returns:
        At most some `most` steps of each replica, and how many there are of all.
    """
    kept: dict[int, list[Ticks]] = {}
    strides: dict[int, int] = {}
    n_steps = 0
    before = np.full((2, 1), -1)
    for block in run.tokens(("replica", "step", "emitted_at_ticks")):
        rows = np.stack([block["replica"], block["step"], block["emitted_at_ticks"]])
        is_new = np.any(np.diff(rows[:2], axis=1, prepend=before) != 0, axis=0)
        before, rows = rows[:2, -1:], rows[:, is_new]
        n_steps += rows.shape[1]
        for replica in np.unique(rows[0]).tolist():
            stride = strides.setdefault(replica, 1)
            own = rows[1:, rows[0] == replica]
            kept.setdefault(replica, []).append(_every(own, stride))
            while sum(part.shape[1] for part in kept[replica]) > most and stride < 2**40:
                strides[replica] = stride = 2 * stride
                kept[replica] = [_every(np.hstack(kept[replica]), stride)]
    return {replica: Steps(*np.hstack(parts)) for replica, parts in sorted(kept.items())}, n_steps


def _every(steps: Ticks, stride: int) -> Ticks:
    """Of steps, shape (2, n), those in every so manyth block."""
    return steps[:, steps[0] // STEPS_PER_BLOCK % stride == 0]
