"""
The noise of a stage's steps: a factor on every op's work, and delays of the ranks at every collective.

Each op of each step has a draw of its own. What a step needs is their sum over the ops of a kind, which depends on
the world alone and not on what the step serves: so the sums of many steps are made at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from simcluster.noise import FACTOR_BITS, STEPS_PER_BLOCK, Slices
from simcluster.ticks import Ticks

ONE_BITS = FACTOR_BITS
ONE = 2**ONE_BITS
"""A factor of 1."""


class Jitter(NamedTuple):
    """Lognormal factors per op: a table in units of 2^-16, and the stream that chooses from it."""

    table: Ticks
    slices: Slices


class Skew(NamedTuple):
    """Arrival delays of the ranks at each collective of a stage; rank 0, which makes the token, comes first."""

    table: Ticks
    ranks: tuple[Slices, ...]


class Sums(NamedTuple):
    """Of successive steps."""

    factors: Ticks
    """Shape (steps, kinds)."""
    delays: Ticks
    """Ticks by kind that rank 0 comes late, then those that it waits for the last rank, shape (steps, 2 kinds)."""
    greatest: int
    """No factor of these steps is greater."""


class StepNoise:
    """
    Noise of one stage.

    Args:
        kind_of_op: for every op in order, its kind.
        collectives: the ops after which the ranks meet, in order.
        jitter: factors per op, or None.
        skew: delays per collective, or None.
    """

    def __init__(
        self, kind_of_op: Sequence[int], collectives: Sequence[int], jitter: Jitter | None, skew: Skew | None
    ) -> None:
        kinds = np.asarray(kind_of_op, np.intp)
        self._n_kinds = int(kinds.max()) + 1
        self._counts = np.bincount(kinds, minlength=self._n_kinds).astype(np.int64)
        self._collectives = np.asarray(collectives, np.intp)
        self._all = _Groups(kinds)
        self._meeting = _Groups(kinds[self._collectives])
        self._jitter = jitter and Jitter(self._all.narrow(jitter.table), jitter.slices)
        self._skew = skew and Skew(self._meeting.narrow(skew.table), skew.ranks) if len(collectives) else None
        self._block_sums = lru_cache(maxsize=2)(self._of_block)  # a run may reach into the next one and come back

    def sums(self, step: int, n_steps: int) -> Sums:
        """Sums over the ops of each kind, of successive steps."""
        block, row = divmod(step, STEPS_PER_BLOCK)
        factors, delays, greatest = self._block_sums(block)
        found = Sums(factors[row : row + n_steps], delays[row : row + n_steps], greatest)
        n_found = min(n_steps, STEPS_PER_BLOCK - row)
        if n_found == n_steps:
            return found
        more = self.sums(step + n_found, n_steps - n_found)
        factors, delays = (np.concatenate(pair) for pair in zip(found[:2], more[:2], strict=True))
        return Sums(factors, delays, max(greatest, more.greatest))

    def ops(self, step: int) -> tuple[Ticks, Ticks, Ticks]:
        """Of one step, op by op: factor, delay of rank 0 and its wait for the last rank, shape (ops,) each."""
        n_ops = self._all.n_ops
        factors = np.full(n_ops, ONE, np.int64)
        if self._jitter is not None:
            factors[:] = self._jitter.table[self._jitter.slices.at(step)[0]]
        own, waited = np.zeros(n_ops, np.int64), np.zeros(n_ops, np.int64)
        if self._skew is not None:
            delays = np.stack([self._skew.table[rank.at(step)[0]] for rank in self._skew.ranks])
            own[self._collectives] = delays[0]
            waited[self._collectives] = delays.max(axis=0) - delays[0]
        return factors, own, waited

    def _of_block(self, block: int) -> Sums:
        """The sums of a block of steps."""
        factors = np.broadcast_to(self._counts * ONE, (STEPS_PER_BLOCK, self._n_kinds))
        greatest = int(factors.max())
        delays = np.zeros((STEPS_PER_BLOCK, 2 * self._n_kinds), np.int64)
        if self._jitter is not None:
            table, slices = self._jitter
            factors = self._all.sums(table, slices.block(block), self._n_kinds)
            greatest = int(factors.max())
        if self._skew is not None:
            table, (first, *others) = self._skew
            own_slices = first.block(block)
            last = own_slices.copy()
            for rank in others:
                np.maximum(last, rank.block(block), out=last)  # quantiles go up, so the last slice is the last rank
            own = self._meeting.sums(table, own_slices, self._n_kinds)
            delays = np.hstack([own, self._meeting.sums(table, last, self._n_kinds) - own])
        return Sums(factors, delays, greatest)


class _Groups:
    """Columns that belong to a kind each."""

    def __init__(self, kinds: npt.NDArray[np.intp]) -> None:
        self.n_ops = len(kinds)
        self._order = np.argsort(kinds, kind="stable")
        self._is_sorted = bool((np.diff(self._order) == 1).all())
        ordered = kinds[self._order]
        starts = np.flatnonzero(np.diff(ordered, prepend=-1)).tolist()
        self._columns = [(int(ordered[start]), start, end) for start, end in pairwise([*starts, len(kinds)])]
        """Each kind with its first column in order and the one behind its last."""

    def narrow(self, table: Ticks) -> Ticks:
        """The same numbers in 32 bits where sums over a kind fit, which are several times as fast to add."""
        most = max((end - start for _, start, end in self._columns), default=0)
        return table.astype(np.int32) if int(table.max()) * most < 2**31 else table

    def sums(self, table: Ticks, slices: npt.NDArray[np.uint16], n_kinds: int) -> Ticks:
        """Sums over the columns of each kind of what the slices are in a table, shape (rows, kinds)."""
        drawn = table.take(slices if self._is_sorted else slices[:, self._order])
        sums = np.zeros((len(drawn), n_kinds), np.int64)
        for kind, start, end in self._columns:
            sums[:, kind] = drawn[:, start:end].sum(axis=1, dtype=table.dtype)
        return sums
