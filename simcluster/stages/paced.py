"""A stage whose devices change their speed over time (clocks, throttling), and stall."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from simcluster.noise.pace import ONE, Pace, PaceInterval
from simcluster.noise.tables import FACTOR_BITS
from simcluster.numerics.ticks import Ticks
from simcluster.stages.timed import Detail, OpTicks, Run, Service, TimedStage, as_decoding
from simcluster.trace.columns import COMPONENT
from simcluster.work.batch import Batch

_COMPUTE, _WAIT, _STALL = COMPONENT["compute"], COMPONENT["wait_for_peers"], COMPONENT["stall"]
_FETCHES = COMPONENT["weight_fetch"], COMPONENT["kv_fetch"]
_BUSY = (_COMPUTE, *_FETCHES)
_BUSY_COLUMNS = slice(min(_BUSY), max(_BUSY) + 1)  # the components are adjacent
_HALF = ONE // 2


class PacedStage:
    """
    Scales the components of a stage by the pace of its devices at the time when a step enters the pipeline.

    Rank 0 computes and fetches with its own factors, then waits for the slowest rank. Whether an op is compute- or
    memory-bound is decided before scaling. A stall that begins during a step extends the step by its whole length.

    Args:
        stage: the stage at nominal pace.
        pace: factors of its devices over time, and stalls.
    """

    def __init__(self, stage: TimedStage, pace: Pace) -> None:
        self._stage = stage
        self._pace = pace

    def service(self, step: int, batch: Batch, entered: int) -> Service:
        """Compute the service of a step that entered the pipeline at this tick."""
        inner = self._stage.service(step, batch, entered)
        interval = self._pace.at(entered)
        components = _paced(inner.components, interval)
        ticks = sum(components)
        begin, lasts = self._pace.next_stall(entered)
        stall = lasts if begin < entered + ticks else 0
        components[_STALL] += stall
        decode_components = components
        if inner.decode_components is not inner.components:
            alone = _paced(inner.decode_components, interval)
            alone[_STALL] += stall
            decode_components = as_decoding(alone, ticks + stall)
        detail = lambda: _detail(inner.detail(), interval, stall)  # noqa: E731
        return Service(ticks + stall, components, decode_components, detail)

    def run(self, step: int, batch: Batch, n_steps: int, started: int) -> Run:
        """Compute successive decode steps of one batch, as far as the pace stays and until a stall."""
        if n_steps == 1:
            alone = self.service(step, batch, started)
            return Run(np.array([alone.ticks], np.int64), np.array([alone.components], np.int64))
        interval = self._pace.at(started)
        components = self._stage.components(step, batch, n_steps)
        _pace_rows(components, interval)
        ticks: Ticks = components.sum(axis=1)
        ends = ticks.cumsum()
        begin, lasts = self._pace.next_stall(started)
        if started + int(ends[-1]) <= min(begin, interval.until):
            return Run(ticks, components)
        starts = ends - ticks + started
        n_within = int(starts.searchsorted(interval.until))
        stalled = int(starts.searchsorted(begin, side="right")) - 1
        if stalled < n_within and begin < starts[stalled] + ticks[stalled]:
            n_within = stalled + 1
            components[stalled, _STALL] += lasts
            ticks[stalled] += lasts
        return Run(ticks[:n_within], components[:n_within])


@lru_cache(maxsize=64)
def _factors(interval: PaceInterval) -> tuple[tuple[int, int, int], ...]:
    """List (component, rank 0's factor, excess of the slowest rank's factor) of the busy components."""
    fetch = interval.fetch, interval.fetch_more
    return ((_COMPUTE, interval.compute, interval.compute_more), *((component, *fetch) for component in _FETCHES))


@lru_cache(maxsize=64)
def _factor_rows(interval: PaceInterval) -> Ticks:
    """Arrange the factors by column, shape (2, 1, busy components)."""
    columns = sorted(_factors(interval))
    return np.array([[own for _, own, _ in columns], [more for *_, more in columns]], np.int64)[:, None]


def _paced(components: list[int], interval: PaceInterval) -> list[int]:
    """Scale the ticks of each component by a pace."""
    paced = list(components)
    for component, own, more in _factors(interval):
        ticks = components[component]
        paced[component] = (ticks * own + _HALF) >> FACTOR_BITS
        paced[_WAIT] += (ticks * more + _HALF) >> FACTOR_BITS
    return paced


def _pace_rows(components: Ticks, interval: PaceInterval) -> None:
    """Scale rows of components in place, shape (rows, components), as `_paced` does for one."""
    busy = components[:, _BUSY_COLUMNS]
    paced = busy * _factor_rows(interval)
    paced += _HALF
    paced >>= FACTOR_BITS
    busy[:] = paced[0]
    components[:, _WAIT] += paced[1].sum(axis=1)


def _detail(inner: Detail, interval: PaceInterval, stall: int) -> Detail:
    """Scale a service op by op, rounding running sums; a stall is added to the last op."""
    components = _at_pace(inner.components, interval)
    decode_components = components
    if inner.decode_components is not inner.components:
        decode_components = _at_pace(inner.decode_components, interval)
        decode_components[-1, _STALL] += stall
    components[-1, _STALL] += stall
    busy = components[:, _BUSY_COLUMNS].sum(axis=1)
    launch, compute, fetch, _, exchange = inner.ops
    shorter = np.minimum(np.minimum(compute, fetch), busy)
    fetches = fetch > compute
    wait = components[:, _WAIT] + components[:, _STALL]
    ops = OpTicks(launch, np.where(fetches, shorter, busy), np.where(fetches, busy, shorter), wait, exchange)
    return Detail(ops, components, decode_components)


def _at_pace(components: Ticks, interval: PaceInterval) -> Ticks:
    """Scale components op by op, shape (ops, components); they sum to the scaled sums."""
    sums = np.cumsum(components, axis=0)
    _pace_rows(sums, interval)
    return np.diff(sums, axis=0, prepend=0)
