"""Recurrent intervals of one entity, such as stalls, as functions of simulated time."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator
from statistics import NormalDist

from simcluster.noise.tables import pareto_s
from simcluster.numerics.streams import stream, uniforms
from simcluster.numerics.ticks import TICKS_PER_S, to_ticks

_NORMAL = NormalDist()


class Renewals:
    """
    Intervals in order of time, generated on demand.

    Args:
        intervals: an infinite iterator of begin and end in ticks; each begins after the previous one has ended.
    """

    def __init__(self, intervals: Iterator[tuple[int, int]]) -> None:
        self._intervals = intervals
        self.begins: list[int] = []
        self.ends: list[int] = []

    def reach(self, tick: int) -> None:
        """Generate all intervals that begin up to this tick, and the next one."""
        while not self.begins or self.begins[-1] <= tick:
            begin, end = next(self._intervals)
            self.begins.append(begin)
            self.ends.append(end)

    def at(self, tick: int) -> tuple[bool, int]:
        """Whether this tick is in an interval, and the tick at which that changes."""
        self.reach(tick)
        place = bisect_right(self.begins, tick) - 1
        if place >= 0 and tick < self.ends[place]:
            return True, self.ends[place]
        return False, self.begins[place + 1]

    def next_begin(self, tick: int) -> tuple[int, int]:
        """Find begin and duration of the first interval that begins at this tick or later."""
        self.reach(tick)
        place = bisect_right(self.begins, tick - 1)
        return self.begins[place], self.ends[place] - self.begins[place]


def _draws(seed: int, *names: str) -> Iterator[float]:
    generator = stream(seed, *names)
    while True:
        yield from uniforms(generator, 64).tolist()


def exponential_intervals(
    seed: int, source: str, entity: str, every_s: float, length_s: Callable[[float], float]
) -> Iterator[tuple[int, int]]:
    """Draw intervals with exponential gaps from end to begin, and lengths by their quantile function."""
    gaps, lengths = _draws(seed, source, entity, "gaps"), _draws(seed, source, entity, "lengths")
    end = 0
    for gap, length in zip(gaps, lengths, strict=True):
        begin = end + max(1, round(-every_s * math.log1p(-gap) * TICKS_PER_S))
        end = begin + max(1, to_ticks(length_s(length)))
        yield begin, end


def clock_excursions(seed: int, device: str, every_s: float, lasts_s: float) -> Renewals:
    """Draw the intervals in which a device throttles its clock."""
    return Renewals(
        exponential_intervals(seed, "clock_excursions", device, every_s, lambda u: -lasts_s * math.log1p(-u))
    )


def rare_stalls(
    seed: int, entity: str, every_s: float, exponent: float, shortest_s: float, longest_s: float
) -> Renewals:
    """Draw the stalls of a group of ranks."""
    return Renewals(
        exponential_intervals(
            seed, "rare_stalls", entity, every_s, lambda u: pareto_s(u, exponent, shortest_s, longest_s)
        )
    )


def host_pauses(
    seed: int, entity: str, every_s: float, mean_s: float, sd_s: float, shortest_s: float, longest_s: float
) -> Renewals:
    """Draw the pauses of a delivering process: equally spaced, with normal durations cut at both ends."""

    def intervals() -> Iterator[tuple[int, int]]:
        (first,) = uniforms(stream(seed, "host_pauses", entity, "first"), 1).tolist()
        for number, length in enumerate(_draws(seed, "host_pauses", entity, "lengths")):
            begin = to_ticks((first + number) * every_s)
            pause_s = mean_s
            if sd_s > 0:
                low, high = (_NORMAL.cdf((bound - mean_s) / sd_s) for bound in (shortest_s, longest_s))
                pause_s = mean_s + sd_s * _NORMAL.inv_cdf(low + length * (high - low))
            yield begin, begin + max(1, to_ticks(pause_s))

    return Renewals(intervals())
