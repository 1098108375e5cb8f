"""
The noise of a stage's steps: a factor on every op's work, and delays of the ranks at every collective.

Each op of each step has a draw of its own. What a step needs is their sum over the ops of a kind, which depends on
the world alone and not on what the step serves: so the sums of many steps are made at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
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
    """Of successive steps, shape (steps, kinds) each."""

    factors: Ticks
    own: Ticks
    """Delays of rank 0, in ticks."""
    waited: Ticks
    """Its waits for the last rank, in ticks."""
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
        self._jitter = jitter and Jitter(_narrow(jitter.table), jitter.slices)
        self._skew = skew and Skew(_narrow(skew.table), skew.ranks) if len(collectives) else None
        self._block_sums = lru_cache(maxsize=2)(self._of_block)  # a run may reach into the next one and come back

    def sums(self, step: int, n_steps: int) -> Sums:
        """Sums over the ops of each kind, of successive steps."""
        block, row = divmod(step, STEPS_PER_BLOCK)
        factors, own, waited, greatest = self._block_sums(block)
        found = Sums(factors[row : row + n_steps], own[row : row + n_steps], waited[row : row + n_steps], greatest)
        n_found = len(found.factors)
        if n_found == n_steps:
            return found
        more = self.sums(step + n_found, n_steps - n_found)
        factors, own, waited = (np.concatenate(pair) for pair in zip(found[:3], more[:3], strict=True))
        return Sums(factors, own, waited, max(greatest, more.greatest))

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
        shape = (STEPS_PER_BLOCK, self._n_kinds)
        factors = np.broadcast_to(self._counts * ONE, shape)
        greatest = int(factors.max())
        own, waited = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        if self._jitter is not None:
            drawn = self._jitter.table.take(self._jitter.slices.block(block))
            factors = self._all.sums(drawn, self._n_kinds)
            greatest = int(factors.max())
        if self._skew is not None:
            table, (first, *others) = self._skew
            delays = table.take(first.block(block))
            last = delays.copy()
            for rank in others:
                np.maximum(last, table.take(rank.block(block)), out=last)
            own = self._meeting.sums(delays, self._n_kinds)
            waited = self._meeting.sums(last - delays, self._n_kinds)
        return Sums(factors, own, waited, greatest)


class _Groups:
    """Columns that belong to a kind each."""

    def __init__(self, kinds: npt.NDArray[np.intp]) -> None:
        self.n_ops = len(kinds)
        self._order = np.argsort(kinds, kind="stable")
        self._is_sorted = bool((np.diff(self._order) == 1).all())
        self._kinds, self._starts = np.unique(kinds[self._order], return_index=True)

    def sums(self, values: Ticks, n_kinds: int) -> Ticks:
        """Sums over the columns of each kind, shape (rows, kinds)."""
        ordered = values if self._is_sorted else values[:, self._order]
        sums = np.zeros((len(values), n_kinds), np.int64)
        sums[:, self._kinds] = np.add.reduceat(ordered, self._starts, axis=1, dtype=np.int64)
        return sums


def _narrow(table: Ticks) -> Ticks:
    """The same numbers in 32 bits where they fit, which is twice as fast to read."""
    return table.astype(np.int32) if table.max() < 2**31 else table
