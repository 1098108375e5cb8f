"""
Collect token rows for the sinks: one row per token, its latency split into components that sum to it exactly.

Rows are passed on in blocks of shape (columns, rows), so memory does not grow with the run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from simcluster.numerics.ticks import Ticks
from simcluster.trace.columns import KEYS, N_KEYS, ROWS_PER_BLOCK, TOKEN_COLUMNS, Block

_REPLICA, _STEP, _EMITTED_AT = map(KEYS.index, ("replica", "step", "emitted_at_ticks"))


class Segment(NamedTuple):
    """Rows of requests that all get a token in each of several successive steps."""

    replica: int
    first_step: int
    batch_size: int
    ends: Ticks | int
    """Tick at which each step's tokens are emitted, shape (steps,); a number for a single step."""
    components: Ticks | list[int]
    """Components of every step, shape (steps, components); or one list, for a single step or for all."""
    members: Ticks
    """Numbers of the requests, and the index of each one's token minus the number of the step, shape (2, n)."""
    extras: Sequence[tuple[int, Sequence[int]]] = ()
    """Index of a request in the segment and components that are added to its first token."""
    growing: tuple[int, Ticks] | None = None
    """A component and the ticks that every step adds to it, shape (steps,), where `components` is one list."""

    @property
    def n_steps(self) -> int:
        """Number of successive steps."""
        return 1 if isinstance(self.ends, int) else len(self.ends)


class Recorder:
    """
    Collects token rows and passes them to the sinks in blocks, in the order of emission.

    Rows come as segments, which are short, and are written out many at a time. Rows of one instant are in the order
    of their replicas, and each replica's in the order it recorded them. A replica may record rows later than they
    are emitted: `complete_until` returns the tick up to which all rows are recorded. `deliver` may delay rows, in
    place, but may not reorder those of a replica. `close` passes on the remaining rows.
    """

    def __init__(
        self,
        sinks: Iterable[Callable[[Block], None]],
        n_replicas: int = 1,
        complete_until: Callable[[], int] | None = None,
        rows_per_block: int = ROWS_PER_BLOCK,
        deliver: Callable[[Block], None] | None = None,
    ) -> None:
        self._deliver = deliver
        self._sinks = tuple(sinks)
        self._sorted = n_replicas == 1
        self._complete_until = complete_until
        self._rows_per_block = rows_per_block
        self._segments: list[Segment] = []
        self._n_rows = 0
        self._early: Block = np.empty((len(TOKEN_COLUMNS), 0), np.int64)
        # Freeing an untouched allocation of this size raises glibc's mmap threshold, so that the memory of blocks is
        # kept and their pages are not fetched anew.
        np.empty((4, len(TOKEN_COLUMNS), ROWS_PER_BLOCK), np.int64)

    def add(self, segment: Segment) -> None:
        """Record rows; those of one replica must come in the order of emission."""
        self._segments.append(segment)
        self._n_rows += segment.n_steps * segment.members.shape[1]
        if self._n_rows >= self._rows_per_block:
            self._flush(None if self._complete_until is None else self._complete_until())

    def close(self) -> None:
        """Pass on the remaining rows."""
        self._flush(None)

    def _flush(self, complete_until: int | None) -> None:
        """Pass on the rows emitted before a tick, or all."""
        rows = written_out(self._segments)
        self._segments, self._n_rows = [], 0
        if self._deliver is not None:
            self._deliver(rows)
        if not self._sorted:
            rows = np.concatenate([self._early, rows], axis=1)
            rows = rows[:, np.lexsort((rows[_REPLICA], rows[_EMITTED_AT]))]
            n_ready = rows.shape[1]
            if complete_until is not None:
                n_ready = int(np.searchsorted(rows[_EMITTED_AT], complete_until))
            rows, self._early = rows[:, :n_ready], rows[:, n_ready:].copy()
        if rows.shape[1]:
            for sink in self._sinks:
                sink(rows)


def written_out(segments: Sequence[Segment]) -> Block:
    """Write out the rows of segments, shape (columns, rows), by step and in each step by request."""
    if not segments:
        return np.empty((len(TOKEN_COLUMNS), 0), np.int64)
    replica, first_step, batch_size, ends, components, members, extras, growing = zip(*segments, strict=True)
    n_steps = np.array([segment.n_steps for segment in segments], np.intp)
    n_requests = np.array([pairs.shape[1] for pairs in members], np.intp)
    by_step = np.zeros((len(TOKEN_COLUMNS), int(n_steps.sum())), np.int64)
    by_step[2:_EMITTED_AT] = np.array((replica, first_step, batch_size), np.int64).repeat(n_steps, axis=1)
    by_step[_STEP] += np.arange(by_step.shape[1]) - (n_steps.cumsum() - n_steps).repeat(n_steps)
    by_step[_EMITTED_AT] = _each_step(ends, int, n_steps)
    by_step[N_KEYS:] = _each_step(components, list, n_steps).T
    _grow(by_step[N_KEYS:], growing, n_steps)
    per_step = n_requests.repeat(n_steps)  # (steps,)
    by_step[0] = (n_requests.cumsum() - n_requests).repeat(n_steps)
    by_step[0] -= per_step.cumsum() - per_step  # index of the first row's request, minus the row's number
    rows: Block = by_step.repeat(per_step, axis=1)
    member = rows[0] + np.arange(rows.shape[1])
    np.concatenate(members, axis=1).take(member, axis=1, out=rows[:2], mode="clip")
    rows[1] += rows[_STEP]
    if any(extras):
        n_rows = n_steps * n_requests
        starts = (n_rows.cumsum() - n_rows).tolist()
        places = [start + place for start, more in zip(starts, extras, strict=True) for place, _ in more]
        rows[N_KEYS:, places] += np.array([ticks for more in extras for _, ticks in more], np.int64).T
    return rows


def _grow(components: Block, growing: Sequence[tuple[int, Ticks] | None], n_steps: npt.NDArray[np.intp]) -> None:
    """Add the growing part of each segment to the components of its steps, shape (components, steps)."""
    added = [one for one in growing if one is not None]
    if added:
        grows = np.array([one is not None for one in growing])
        columns = np.array([component for component, _ in added]).repeat(n_steps[grows])
        components[columns, np.flatnonzero(grows.repeat(n_steps))] += np.concatenate([ticks for _, ticks in added])


def _each_step(
    values: Sequence[Any], of_all_steps: type[int] | type[list[int]], n_steps: npt.NDArray[np.intp]
) -> Ticks:
    """Repeat per-segment values for each step: values of that type hold for all steps, arrays have a row each."""
    one = [value for value in values if type(value) is of_all_steps]
    if not one:
        return np.concatenate(values)
    if len(one) == len(values):
        return np.array(one, np.int64).repeat(n_steps, axis=0)
    is_of_all = np.array([type(value) is of_all_steps for value in values])
    where = is_of_all.repeat(n_steps)
    rest = np.concatenate([value for value in values if type(value) is not of_all_steps])
    found = np.empty((len(where), *rest.shape[1:]), np.int64)
    found[where] = np.array(one, np.int64).repeat(n_steps[is_of_all], axis=0)
    found[~where] = rest
    return found
