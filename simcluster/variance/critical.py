"""
The critical path: which rank of a group is last, how often, and what it would save if it were not.

A trace does not say who was last, but the noise world does: it is a function of the seed, the device and the step, so
the delays of every rank at every collective of the steps that were played are simply asked for again. The same holds
for slow devices, whose times are stated or drawn from the seed. Being faster saves no more than the gap to the second
slowest, since then that one is last.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from simcluster.costs.step_noise import Skew
from simcluster.kernel.plan import Planner
from simcluster.kernel.world import Happening
from simcluster.noise import STEPS_PER_BLOCK
from simcluster.read_run import RunFolder
from simcluster.resolve import load
from simcluster.ticks import TICKS_PER_S, Ticks

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
        `steps` looked at and `of_steps` made, and `groups`: replica, stage, `wait_ms_per_step` for the last rank as
        the first one sees it, and of every rank its device, `last_share` of the collectives, `saves_ms_per_step` at
        most, `slowest_share` of the steps in which events make it the slowest, and `times_slower` it is then at most.
        None for a run without groups of several ranks.

    Raises:
        InputError: the resolved scenario of a run is not there, or cannot be used any more.
    """
    scenarios = [load(run.folder / "scenario.resolved.yaml") for run in runs]
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
        slow = _slow(planner, int(run.requests["last_token_at_ticks"].max(initial=0)))
        for number, replica in enumerate(scenario.replicas):
            for place, stage in enumerate(replica.stages):
                if number in steps and len(stage.devices) > 1:
                    group = groups.setdefault((number, place), _Group(stage.devices))
                    group.look_at(steps[number], planner.skew(stage), slow)
    found = [{"replica": number, "stage": place, **group.told()} for (number, place), group in sorted(groups.items())]
    return {"steps": n_looked_at, "of_steps": n_made, "groups": found}


class _Group:
    """What is counted of a group of ranks."""

    def __init__(self, devices: tuple[str, ...]) -> None:
        self._devices = devices
        self._n_steps = self._n_collectives = self._waited = 0
        n_ranks = len(devices)
        self._last, self._saved = np.zeros(n_ranks, np.int64), np.zeros(n_ranks, np.int64)
        self._slowest, self._factor = np.zeros(n_ranks, np.int64), np.ones(n_ranks)

    def look_at(self, steps: Steps, skew: Skew | None, slow: Sequence[_Slow]) -> None:
        """Count some steps."""
        self._n_steps += len(steps.numbers)
        if skew is not None:
            for block in np.unique(steps.numbers // STEPS_PER_BLOCK).tolist():
                rows = steps.numbers[steps.numbers // STEPS_PER_BLOCK == block] % STEPS_PER_BLOCK
                self._meet(np.stack([skew.table[rank.block(block)[rows]] for rank in skew.ranks]))
        factors = np.ones((len(self._devices), len(steps.ends)))
        for device, begin, end, factor in slow:
            if device in self._devices:
                during = (steps.ends > begin) & (steps.ends <= end)
                factors[self._devices.index(device), during] *= factor
        is_slow = factors.max(axis=0) > 1
        self._slowest += np.bincount(factors[:, is_slow].argmax(axis=0), minlength=len(factors))
        self._factor = np.maximum(self._factor, factors.max(axis=1, initial=1.0))

    def _meet(self, delays: Ticks) -> None:
        """Count collectives: how late each rank comes, shape (ranks, steps, collectives)."""
        last = delays.argmax(axis=0).ravel()
        ordered = np.partition(delays, -2, axis=0)
        gap = (ordered[-1] - ordered[-2]).ravel()
        self._n_collectives += len(last)
        self._waited += int((ordered[-1] - delays[0]).sum())
        self._last += np.bincount(last, minlength=len(delays))
        self._saved += np.bincount(last, gap, len(delays)).astype(np.int64)

    def told(self) -> dict[str, Any]:
        """In shares and milliseconds."""
        n_steps, n_collectives = max(self._n_steps, 1), max(self._n_collectives, 1)
        ranks = [
            {
                "device": device,
                "last_share": int(self._last[rank]) / n_collectives,
                "saves_ms_per_step": int(self._saved[rank]) / n_steps / _MS,
                "slowest_share": int(self._slowest[rank]) / n_steps,
                "times_slower": float(self._factor[rank]),
            }
            for rank, device in enumerate(self._devices)
        ]
        return {"wait_ms_per_step": self._waited / n_steps / _MS, "ranks": ranks}


class _Slow(NamedTuple):
    """A time in which a device is slow."""

    device: str
    begin: int
    end: int
    factor: float


def _slow(planner: Planner, until: int) -> list[_Slow]:
    """All times until then in which events slow devices down."""
    world = planner.world()
    found = []
    for happening in world.happenings if world is not None else ():
        if happening.kind == "device_slow":
            found += _times(happening, until)
    return found


def _times(happening: Happening, until: int) -> list[_Slow]:
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
