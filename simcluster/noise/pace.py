"""
The pace of devices: how many times as long arithmetic and fetching take, as functions of device and simulated time.

All of them are constant for a while: a device's own speed for good, its drift and the heat of the day in steps, an
excursion of its clock from begin to end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

from simcluster.hardware import DeviceKind
from simcluster.noise.renewals import Renewals, clock_excursions, rare_stalls
from simcluster.noise.sources import Noise, Source
from simcluster.noise.tables import FACTOR_BITS
from simcluster.streams import stream, uniforms
from simcluster.ticks import to_ticks

ONE = 2**FACTOR_BITS
FOR_GOOD = 2**63 - 1
_NORMAL = NormalDist()
_STEPS_PER_PERIOD = 240
"""In which the heat of the day is constant: six minutes of a day."""


class Spell(NamedTuple):
    """While nothing changes: factors in units of 2^-16, and how much greater those of the slowest rank are."""

    until: int
    """The tick at which it is over."""
    compute: int
    """Of rank 0."""
    fetch: int
    compute_more: int
    fetch_more: int


class _Normals:
    """Standard normal numbers by their place in a stream."""

    def __init__(self, seed: int, *names: str) -> None:
        self._generator = stream(seed, *names)
        self._found: list[float] = []

    def __getitem__(self, place: int) -> float:
        while place >= len(self._found):
            self._found += map(_NORMAL.inv_cdf, uniforms(self._generator, 64).tolist())
        return self._found[place]


class _Wandering:
    """An Ornstein-Uhlenbeck process of unit variance at equal steps, exact at these."""

    def __init__(self, normals: _Normals, correlation: float) -> None:
        self._normals = normals
        self._correlation = correlation
        self._innovation = math.sqrt(1 - correlation * correlation)
        self._found: list[float] = []

    def __getitem__(self, step: int) -> float:
        found = self._found
        if not found:
            found.append(self._normals[0])
        while step >= len(found):
            found.append(self._correlation * found[-1] + self._innovation * self._normals[len(found)])
        return found[step]


class DevicePace:
    """One device's factors over time."""

    def __init__(self, seed: int, device: str, noise: Noise, kind: DeviceKind) -> None:
        self._compute, self._fetch = _own_factors(seed, device, noise.values("device_spread", kind))
        self._drift = noise.values("drift", kind)
        self._diurnal = noise.values("diurnal", kind)
        self._of_day = max(1, to_ticks(self._diurnal["period_s"] / _STEPS_PER_PERIOD)) if self._diurnal else 0
        self._excursions: Renewals | None = None
        self._slower = 1.0
        if self._drift is not None:
            self._step = max(1, to_ticks(self._drift["time_s"] / 10))
            correlation = math.exp(-0.1)
            self._of_compute = _Wandering(_Normals(seed, "drift", device, "compute"), correlation)
            self._of_fetch = _Wandering(_Normals(seed, "drift", device, "fetch"), correlation)
        if (excursions := noise.values("clock_excursions", kind)) is not None:
            self._slower = excursions["times_slower"]
            self._excursions = clock_excursions(seed, device, excursions["every_s"], excursions["lasts_s"])

    def at(self, tick: int) -> tuple[float, float, int]:
        """Factors of arithmetic and of fetching at a tick, and until when they hold."""
        compute, fetch, until = self._compute, self._fetch, FOR_GOOD
        if self._drift is not None:
            step = tick // self._step
            compute *= math.exp(self._drift["compute"] * self._of_compute[step])
            fetch *= math.exp(self._drift["memory"] * self._of_fetch[step])
            until = (step + 1) * self._step
        if self._diurnal is not None:
            step = tick // self._of_day
            compute *= 1 + self._diurnal["swing"] / 2 * math.sin(2 * math.pi * step / _STEPS_PER_PERIOD)
            until = min(until, (step + 1) * self._of_day)
        if self._excursions is not None:
            is_down, changes = self._excursions.at(tick)
            compute *= self._slower if is_down else 1.0
            until = min(until, changes)
        return compute, fetch, until


def _own_factors(seed: int, device: str, spread: dict[str, Any] | None) -> tuple[float, float]:
    """How much slower than its kind a device is for good, in arithmetic and in fetching."""
    if spread is None:
        return 1.0, 1.0
    compute = math.exp(spread["compute"] * _Normals(seed, "device_spread", device, "compute")[0])
    fetch = math.exp(spread["memory"] * _Normals(seed, "device_spread", device, "fetch")[0])
    # One uniform says whether it is one of the slow ones, and how slow.
    (u,) = uniforms(stream(seed, "device_spread", device, "outlier"), 1).tolist()
    if u < spread["outliers"]:
        least, most = spread["outlier_least"], spread["outlier_most"]
        compute *= least + (most - least) * u / spread["outliers"]
    return compute, fetch


PACE_SOURCES: tuple[Source, ...] = ("device_spread", "drift", "clock_excursions", "diurnal", "rare_stalls")


class Pace:
    """
    The pace of a group of ranks that wait for their slowest one; rank 0 makes the token.

    Args:
        seed: of the world.
        devices: their names, rank 0 first.
        noise: the sources.
        kind: of the devices.
    """

    def __init__(self, seed: int, devices: Sequence[str], noise: Noise, kind: DeviceKind) -> None:
        self._ranks = [DevicePace(seed, device, noise, kind) for device in devices]
        self._spell = Spell(0, ONE, ONE, 0, 0)
        self._since = 0
        stalls = noise.values("rare_stalls", kind)
        self._stalls = None if stalls is None else rare_stalls(seed, devices[0], **stalls)

    def at(self, tick: int) -> Spell:
        """The spell that a tick belongs to."""
        if not self._since <= tick < self._spell.until:
            factors = [rank.at(tick) for rank in self._ranks]
            computes, fetches = ([round(pair[place] * ONE) for pair in factors] for place in (0, 1))
            until = min(changes for *_, changes in factors)
            more = max(computes) - computes[0], max(fetches) - fetches[0]
            self._spell, self._since = Spell(until, computes[0], fetches[0], *more), tick
        return self._spell

    def next_stall(self, tick: int) -> tuple[int, int]:
        """When the group next stands still, at this tick or later, and how long; never without the source."""
        return (FOR_GOOD, 0) if self._stalls is None else self._stalls.next_begin(tick)
