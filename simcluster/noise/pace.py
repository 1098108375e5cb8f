"""
The pace of devices: slowdown factors of arithmetic and of fetching, as functions of device and simulated time.

All factors are piecewise constant: a device's own speed never changes, its drift and the diurnal temperature change
in steps, and a clock excursion lasts from its begin to its end.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import accumulate, islice
from statistics import NormalDist
from typing import Any, NamedTuple

from simcluster.catalog.device import DeviceKind
from simcluster.noise.renewals import Renewals, clock_excursions, rare_stalls
from simcluster.noise.sources import Noise, Source
from simcluster.noise.tables import FACTOR_BITS
from simcluster.numerics.streams import stream, uniforms
from simcluster.numerics.ticks import to_ticks

ONE = 2**FACTOR_BITS
NEVER = 2**63 - 1
_NORMAL = NormalDist()
_AT_ONCE = 64
_STEPS_PER_PERIOD = 240
"""Steps of a diurnal period in which temperature is constant: six minutes of a day."""


class PaceInterval(NamedTuple):
    """Constant factors in units of 2^-16, and the excess of the slowest rank's factors over them."""

    until: int
    """The tick at which the interval ends."""
    compute: int
    """Factor of rank 0."""
    fetch: int
    compute_more: int
    fetch_more: int


class _Drift:
    """
    Factors at equal steps of time: exp of `scale` times an Ornstein-Uhlenbeck process of unit variance.

    The process is exact at the steps, whatever their length.
    """

    def __init__(self, normals: Iterator[float], scale: float, correlation: float) -> None:
        innovation = math.sqrt(1 - correlation * correlation)
        self._states = accumulate(normals, lambda state, normal: correlation * state + innovation * normal)
        self._scale = scale
        self._found: list[float] = []

    def __getitem__(self, step: int) -> float:
        found = self._found
        while step >= len(found):
            found += [math.exp(self._scale * state) for state in islice(self._states, _AT_ONCE)]
        return found[step]


def _normals(seed: int, *names: str) -> Iterator[float]:
    """Draw standard normal numbers from the stream of these names."""
    generator = stream(seed, *names)
    while True:
        yield from map(_NORMAL.inv_cdf, uniforms(generator, _AT_ONCE).tolist())


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
            self._of_compute = _Drift(_normals(seed, "drift", device, "compute"), self._drift["compute"], correlation)
            self._of_fetch = _Drift(_normals(seed, "drift", device, "fetch"), self._drift["memory"], correlation)
        if (excursions := noise.values("clock_excursions", kind)) is not None:
            self._slower = excursions["times_slower"]
            self._excursions = clock_excursions(seed, device, excursions["every_s"], excursions["lasts_s"])

    def at(self, tick: int) -> tuple[float, float, int]:
        """Find the factors of arithmetic and of fetching at a tick, and the tick until which they hold."""
        compute, fetch, until = self._compute, self._fetch, NEVER
        if self._drift is not None:
            step = tick // self._step
            compute *= self._of_compute[step]
            fetch *= self._of_fetch[step]
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
    """Draw the permanent slowdown of a device relative to its kind, in arithmetic and in fetching."""
    if spread is None:
        return 1.0, 1.0
    compute = math.exp(spread["compute"] * next(_normals(seed, "device_spread", device, "compute")))
    fetch = math.exp(spread["memory"] * next(_normals(seed, "device_spread", device, "fetch")))
    # One uniform decides whether the device is an outlier, and how slow it is.
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
        self._interval = PaceInterval(0, ONE, ONE, 0, 0)
        self._since = 0
        stalls = noise.values("rare_stalls", kind)
        self._stalls = None if stalls is None else rare_stalls(seed, devices[0], **stalls)

    def at(self, tick: int) -> PaceInterval:
        """Find the interval that a tick belongs to."""
        if not self._since <= tick < self._interval.until:
            factors = [rank.at(tick) for rank in self._ranks]
            computes, fetches = ([round(pair[place] * ONE) for pair in factors] for place in (0, 1))
            until = min(changes for *_, changes in factors)
            more = max(computes) - computes[0], max(fetches) - fetches[0]
            self._interval, self._since = PaceInterval(until, computes[0], fetches[0], *more), tick
        return self._interval

    def next_stall(self, tick: int) -> tuple[int, int]:
        """Find the begin and duration of the group's next stall, at this tick or later; never without the source."""
        return (NEVER, 0) if self._stalls is None else self._stalls.next_begin(tick)
