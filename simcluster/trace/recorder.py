"""
Token rows on their way to the sinks: one row per token, its latency split into components that sum to it exactly.

Rows are collected and handed on in blocks of shape (columns, rows), so memory does not grow with the run.
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
    """Rows of one group of requests that all get a token in each of some steps in a row."""

    replica: int
    first_step: int
    batch_size: int
    ends: Ticks | int
    """When each step's tokens are emitted, shape (steps,); of a single step its number."""
    components: Ticks | list[int]
    """Of every step, shape (steps, components); or one list, of a single step or of all."""
    members: Ticks
    """Numbers of the requests, and by how much the index of a request's token is above that of the step, (2, n)."""
    head_starts: Sequence[tuple[int, Sequence[int]]] = ()
    """Place among the requests and components that come on top of its first token."""
    growing: tuple[int, Ticks] | None = None
    """A component, and what every step adds to it, shape (steps,), where `components` is one list."""

    @property
    def n_steps(self) -> int:
        """Steps in a row."""
        return 1 if isinstance(self.ends, int) else len(self.ends)


class Recorder:
    """
    Collects token rows and hands them to the sinks in blocks, in the order of emission.

    Rows come as segments, which are short, and are written out many at a time. Rows of one instant are in the order
    of their replicas, and each replica's in the order it recorded them. A replica may record rows later than they
    are emitted: `complete_until` says up to which tick all rows are there. `deliver` may put rows off, in place, but
    none before another of its replica. `close` hands on what is left.
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
        # Memory of this size, given back untouched, makes glibc keep that of blocks, whose pages it would fetch anew.
        np.empty((4, len(TOKEN_COLUMNS), ROWS_PER_BLOCK), np.int64)

    def add(self, segment: Segment) -> None:
        """Record rows; those of a replica come in the order of emission."""
        self._segments.append(segment)
        self._n_rows += segment.n_steps * segment.members.shape[1]
        if self._n_rows >= self._rows_per_block:
            self._flush(None if self._complete_until is None else self._complete_until())

    def close(self) -> None:
        """Hand on the rows that are left."""
        self._flush(None)

    def _flush(self, complete_until: int | None) -> None:
        """Hand on the rows emitted before that tick, or all."""
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
    """The rows of some segments, shape (columns, rows): step after step, and in each step request after request."""
    if not segments:
        return np.empty((len(TOKEN_COLUMNS), 0), np.int64)
    replica, first_step, batch_size, ends, components, members, head_starts, growing = zip(*segments, strict=True)
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
    by_step[0] -= per_step.cumsum() - per_step  # the first row's member, less its number
    rows: Block = by_step.repeat(per_step, axis=1)
    member = rows[0] + np.arange(rows.shape[1])
    np.concatenate(members, axis=1).take(member, axis=1, out=rows[:2], mode="clip")
    rows[1] += rows[_STEP]
    if any(head_starts):
        n_rows = n_steps * n_requests
        starts = (n_rows.cumsum() - n_rows).tolist()
        places = [start + place for start, more in zip(starts, head_starts, strict=True) for place, _ in more]
        rows[N_KEYS:, places] += np.array([ticks for more in head_starts for _, ticks in more], np.int64).T
    return rows


def _grow(components: Block, growing: Sequence[tuple[int, Ticks] | None], n_steps: npt.NDArray[np.intp]) -> None:
    """Add what grows from step to step to components of steps, shape (components, steps)."""
    added = [one for one in growing if one is not None]
    if added:
        grows = np.array([one is not None for one in growing])
        columns = np.array([component for component, _ in added]).repeat(n_steps[grows])
        components[columns, np.flatnonzero(grows.repeat(n_steps))] += np.concatenate([ticks for _, ticks in added])


def _each_step(
    values: Sequence[Any], of_all_steps: type[int] | type[list[int]], n_steps: npt.NDArray[np.intp]
) -> Ticks:
    """What segments say of each step: a value of that type is of all their steps, another an array, a row each."""
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
