"""
The critical path: which rank of a group is last, how often, and what it would save if it were not.

A trace does not record which rank was last, but noise is a function of the seed, the device and the step, so the
delays of every rank at every collective of the simulated steps can be drawn again. The same holds for the pace of
devices: their own speed, drift, clocks, and events that slow them down. Being faster saves no more than the gap to
the second slowest rank, since then that one is last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simcluster.noise.pace import DevicePace
from simcluster.noise.slices import STEPS_PER_BLOCK
from simcluster.numerics.arrays import Floats
from simcluster.numerics.ticks import TICKS_PER_S, Ticks
from simcluster.plans.noisy_stages import collectives, skew
from simcluster.plans.prices import Prices
from simcluster.results.metrics import TICKS_PER_MS
from simcluster.results.read_run import RunFolder
from simcluster.scenario.resolved import Pool, Scenario, Stage
from simcluster.stages.step_noise import Skew
from simcluster.variance.event_intervals import EventInterval, intervals_of
from simcluster.variance.steps import MAX_SAMPLED, Steps, step_summary

PACES = ("compute", "fetch")


@dataclass(frozen=True)
class RankPace:
    """How a rank compares with the others of its group in arithmetic, or in fetching."""

    slowest_share: float
    """Share of the steps in which it is the slowest."""
    saves_share: float
    """Share of that time that would be saved at most if it were faster."""


@dataclass(frozen=True)
class Rank:
    """One rank of a group."""

    device: str
    last_share: float
    """Share of the collectives that it enters last."""
    saves_ms_per_step: float
    """What would be saved at most if it were on time."""
    compute: RankPace
    fetch: RankPace

    @property
    def paces(self) -> dict[str, RankPace]:
        """Both, keyed by the names in `PACES`."""
        return {"compute": self.compute, "fetch": self.fetch}


@dataclass(frozen=True)
class RankGroup:
    """The ranks of one stage of a replica."""

    replica: int
    stage: int
    wait_ms_per_step: float
    """Wait of the first rank for the last one to enter a collective."""
    ranks: list[Rank]


@dataclass(frozen=True)
class CriticalPath:
    """Which rank is last in each group of several ranks."""

    steps: int
    """Steps analysed."""
    of_steps: int
    """Steps that made tokens."""
    groups: list[RankGroup]

    @property
    def ranks(self) -> list[tuple[RankGroup, Rank]]:
        """All ranks with their groups."""
        return [(group, rank) for group in self.groups for rank in group.ranks]


def critical_path(runs: Sequence[RunFolder]) -> CriticalPath | None:
    """
    Find which rank is last in each group of ranks, over all runs.

    Args:
        runs: one run, or replications of one scenario.

    Returns:
        None for a scenario without groups of several ranks.

    Raises:
        InputError: the resolved scenario of a run does not exist, or is not usable any more.
    """
    scenarios = [run.scenario() for run in runs]
    n_groups = sum(len(replica.stages) for replica in scenarios[0].replicas)
    if all(len(stage.devices) < 2 for replica in scenarios[0].replicas for stage in replica.stages):
        return None
    each_run = max(MAX_SAMPLED // (n_groups * len(runs)), STEPS_PER_BLOCK)
    groups: dict[tuple[int, int], _Group] = {}
    n_analysed = n_made = 0
    for run, scenario in zip(runs, scenarios, strict=True):
        steps = step_summary(run).sample(each_run)
        n_analysed += sum(len(some.numbers) for some in steps.values())
        n_made += step_summary(run).n_steps
        slow = _slow_intervals(run, run.end_ticks)
        for number, (pool, replica) in enumerate(scenario.placed_replicas):
            for place, stage in enumerate(replica.stages):
                if number in steps and len(stage.devices) > 1:
                    group = groups.setdefault((number, place), _Group(number, place, stage.devices))
                    late = rank_skew(scenario, pool, run.planner().prices[pool.name], stage)
                    group.count(steps[number], late, _paces(scenario, pool, stage), slow)
    return CriticalPath(n_analysed, n_made, [group.summary() for _, group in sorted(groups.items())])


@dataclass(frozen=True, eq=False)
class LastOverTime:
    """Which rank is last in one group of a run, in equal bins of time; NaN in bins without analysed steps."""

    replica: int
    stage: int
    devices: tuple[str, ...]
    edges_s: Floats
    """Shape (bins + 1,)."""
    last: Floats | None
    """Share of the collectives that each rank enters last, shape (ranks, bins); None where no rank is ever late."""
    slowest: Floats | None
    """Share of the steps in which each is the slowest to fetch, shape (ranks, bins); None where all are equal."""


def last_over_time(run: RunFolder, n_bins: int) -> list[LastOverTime]:
    """
    Find which rank is last in each group of ranks, over the time of a run.

    Raises:
        InputError: the resolved scenario of the run does not exist, or is not usable any more.
    """
    scenario = run.scenario()
    groups = [
        (number, pool, place, stage)
        for number, (pool, replica) in enumerate(scenario.placed_replicas)
        for place, stage in enumerate(replica.stages)
        if len(stage.devices) > 1
    ]
    if not groups:
        return []
    steps = step_summary(run).sample(max(MAX_SAMPLED // len(groups), STEPS_PER_BLOCK))
    end = max(run.end_ticks, 1)
    slow = _slow_intervals(run, end)
    found = []
    for number, pool, place, stage in groups:
        last, slowest = np.zeros((2, len(stage.devices), n_bins))
        if number in steps:
            bins = np.minimum(steps[number].ends / end * n_bins, n_bins - 1).astype(np.int64)
            late = rank_skew(scenario, pool, run.planner().prices[pool.name], stage)
            for one in np.unique(bins).tolist():
                group = _Group(number, place, stage.devices)
                some = Steps(*(column[bins == one] for column in steps[number]))
                group.count(some, late, _paces(scenario, pool, stage), slow)
                last[:, one], slowest[:, one] = group.shares()
            missing = np.setdiff1d(np.arange(n_bins), bins)
            last[:, missing] = slowest[:, missing] = np.nan
        edges_s = np.linspace(0, end / TICKS_PER_S, n_bins + 1)
        tables = [table if np.nansum(table) > 0 else None for table in (last, slowest)]
        found.append(LastOverTime(number, place, stage.devices, edges_s, *tables))
    return found


class _Group:
    """Counts of a group of ranks."""

    def __init__(self, replica: int, stage: int, devices: tuple[str, ...]) -> None:
        self._replica, self._stage, self._devices = replica, stage, devices
        self._n_steps = self._n_collectives = self._waited = 0
        n_ranks = len(devices)
        self._last, self._saved = np.zeros(n_ranks, np.int64), np.zeros(n_ranks, np.int64)
        self._slowest, self._gained = np.zeros((2, n_ranks), np.int64), np.zeros((2, n_ranks))

    def count(
        self, steps: Steps, late: Skew | None, paces: Sequence[DevicePace], slow: Sequence[EventInterval]
    ) -> None:
        """
        Count some steps.

        Args:
            steps: of the group's replica.
            late: how late its ranks enter their collectives.
            paces: of its devices, from the start of the run.
            slow: intervals in which devices are slow.
        """
        self._n_steps += len(steps.numbers)
        if late is not None:
            blocks = steps.numbers // STEPS_PER_BLOCK
            for block in np.unique(blocks).tolist():
                rows = steps.numbers[blocks == block] % STEPS_PER_BLOCK
                delays = np.stack([late.table[rank.block(block)[rows]] for rank in late.ranks])
                delays[0] += late.more
                self._count_collectives(delays)
        factors = np.stack([_factors(pace, steps.ends) for pace in paces], axis=1)  # (2, ranks, steps)
        for interval in slow:
            during = (steps.ends > interval.begin) & (steps.ends <= interval.end)
            for device in interval.devices:
                if device in self._devices:
                    factors[:, self._devices.index(device), during] *= interval.factor
        for place, of_all in enumerate(factors):
            ordered = np.sort(of_all, axis=0)
            differ = ordered[-1] > ordered[0]
            slowest = of_all[:, differ].argmax(axis=0)
            gain = 1 - ordered[-2, differ] / ordered[-1, differ]
            self._slowest[place] += np.bincount(slowest, minlength=len(of_all))
            self._gained[place] += np.bincount(slowest, gain, len(of_all))

    def _count_collectives(self, delays: Ticks) -> None:
        """Count collectives by how late each rank enters them, shape (ranks, steps, collectives)."""
        last = delays.argmax(axis=0).ravel()
        ordered = np.partition(delays, -2, axis=0)
        gap = (ordered[-1] - ordered[-2]).ravel()
        self._n_collectives += len(last)
        self._waited += int((ordered[-1] - delays[0]).sum())
        self._last += np.bincount(last, minlength=len(delays))
        self._saved += np.bincount(last, gap, len(delays)).astype(np.int64)

    def shares(self) -> tuple[Floats, Floats]:
        """Shares of collectives at which each rank is last, and of steps in which it is the slowest to fetch."""
        return self._last / max(self._n_collectives, 1), self._slowest[1] / max(self._n_steps, 1)

    def summary(self) -> RankGroup:
        """The counts as shares and milliseconds."""
        n_steps, n_collectives = max(self._n_steps, 1), max(self._n_collectives, 1)
        ranks = [
            Rank(
                device,
                int(self._last[rank]) / n_collectives,
                int(self._saved[rank]) / n_steps / TICKS_PER_MS,
                *(
                    RankPace(int(slowest[rank]) / n_steps, float(gained[rank]) / n_steps)
                    for slowest, gained in zip(self._slowest, self._gained, strict=True)
                ),
            )
            for rank, device in enumerate(self._devices)
        ]
        return RankGroup(self._replica, self._stage, self._waited / n_steps / TICKS_PER_MS, ranks)


def _factors(pace: DevicePace, ticks: Ticks) -> Floats:
    """Factors on the time of a device's arithmetic and fetches at ascending times, shape (2, times)."""
    found = np.empty((2, len(ticks)))
    place = 0
    while place < len(ticks):
        compute, fetch, until = pace.at(int(ticks[place]))
        after = max(int(np.searchsorted(ticks, until)), place + 1)
        found[:, place:after] = [[compute], [fetch]]
        place = after
    return found


def rank_skew(scenario: Scenario, pool: Pool, prices: Prices, stage: Stage) -> Skew | None:
    """How late each rank of a stage enters each of its collectives; None where no rank is ever late."""
    n_collectives = len(collectives(prices.as_built(stage.layers)))
    if len(stage.devices) < 2 or not n_collectives:
        return None
    return skew(scenario.noise, pool.device.kind, stage.devices, n_collectives, scenario.seeds)


def _paces(scenario: Scenario, pool: Pool, stage: Stage) -> list[DevicePace]:
    """Paces of the devices of a stage, from the start of a run."""
    return [DevicePace(scenario.seeds, device, scenario.noise, pool.device.kind) for device in stage.devices]


def _slow_intervals(run: RunFolder, until: int) -> list[EventInterval]:
    """Intervals that begin until then and in which events slow devices down."""
    plan = run.planner().event_plan()
    events = plan.events if plan is not None else ()
    return [one for event in events if event.kind == "device_slow" for one in intervals_of(event, until)]
