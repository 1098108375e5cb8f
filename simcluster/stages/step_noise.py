"""
The noise of a stage's steps: a factor on every op's work, and delays of the ranks at every collective.

What a step needs are sums over the ops of a kind, which depend on the world alone and not on what the step serves: so
those of many steps are made at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from simcluster.noise.slices import STEPS_PER_BLOCK, Slices
from simcluster.noise.tables import FACTOR_BITS
from simcluster.numerics.ticks import Ticks
from simcluster.stages.factors import Factors
from simcluster.stages.routing import Routing
from simcluster.trace.columns import COMPONENTS
from simcluster.work.batch import Batch

ONE_BITS = FACTOR_BITS
ONE = 2**ONE_BITS
"""A factor of 1."""


class Skew(NamedTuple):
    """Arrival delays of the ranks at each collective of a stage; rank 0, which makes the token, comes first."""

    table: Ticks
    ranks: tuple[Slices, ...]
    more: int = 0
    """Ticks that rank 0 comes later besides."""


class Small(NamedTuple):
    """Short exchanges: factors, of which only those of collectives count, and a delay for each collective."""

    factors: Factors
    delays: Ticks
    which_delay: Slices
    up_to: int
    """Ticks of the longest exchange that counts as short."""


class Sums(NamedTuple):
    """Over the ops of each kind, of a block of steps."""

    factors: Ticks
    """By kind, of what ops do; then of short exchanges, if these are noisy; shape (steps, kinds or 2 kinds)."""
    delays: Ticks
    """
    Ticks by kind, shape (steps, 2 or 3 kinds).

    That rank 0 comes late, then those that it waits for the last rank, then what short exchanges take on top.
    """
    greatest: int
    """No factor of these steps is greater."""


class Draws(NamedTuple):
    """Of one step op by op, shape (ops,) each."""

    factors: Ticks
    own: Ticks
    """Delay of rank 0."""
    waited: Ticks
    """Its wait for the last rank."""
    exchange: Ticks
    """Factor of a short exchange."""
    delay: Ticks
    """What it takes on top."""


class StepNoise:
    """
    Noise of one stage.

    Args:
        kind_of_op: for every op in order, its kind.
        collectives: the ops after which the ranks meet, in order.
        jitter: factors per op, or None.
        skew: delays per collective, or None.
        small: factors and delays of short exchanges, or None.
        routing: what the experts take longer, or None.
    """

    def __init__(
        self,
        kind_of_op: Sequence[int],
        collectives: Sequence[int],
        jitter: Factors | None,
        skew: Skew | None,
        small: Small | None = None,
        routing: Routing | None = None,
    ) -> None:
        kinds = np.asarray(kind_of_op, np.intp)
        self._n_kinds = int(kinds.max()) + 1
        self._counts = np.bincount(kinds, minlength=self._n_kinds).astype(np.int64)
        self._collectives = np.asarray(collectives, np.intp)
        self._kinds = kinds
        self._meets = np.bincount(kinds[self._collectives], minlength=self._n_kinds) > 0
        """By kind, whether the ranks meet after its ops: after all of them or none."""
        self._meeting = _Groups(kinds[self._collectives])
        self._jitter = jitter
        self._skew = (
            skew and skew._replace(table=self._meeting.narrow(skew.table, skew.more)) if len(collectives) else None
        )
        self.small = small if len(collectives) else None
        self._n_none = 0 if small is None else int(np.append(small.delays, 1).nonzero()[0][0])
        """How many delays of short exchanges are none; these come first in their table."""
        self._sums = lru_cache(maxsize=2)(self._of_block)  # a run may reach into the next one and come back
        self._delays = lru_cache(maxsize=16)(self._delays_of)
        self.step = lru_cache(maxsize=4)(self._of_one_step)
        """Of one step and what is late in it, as `factors` and `delays`: sums of factors, their bound, ticks."""
        self.routing = routing
        self._block_routed = lru_cache(maxsize=2)(self._routed_of_block)

    def factors(self, step: int, n_steps: int) -> tuple[Ticks, int]:
        """
        Of successive steps the sums of factors by kind, of what ops do; then of short exchanges, if these are noisy.

        Returns:
            Shape (steps, kinds or 2 kinds); and a number that none of them exceeds.
        """
        factors, _, greatest = self._sums(step // STEPS_PER_BLOCK)
        if step % STEPS_PER_BLOCK + n_steps <= STEPS_PER_BLOCK:
            return factors[step % STEPS_PER_BLOCK :][:n_steps], greatest
        blocks = range(step // STEPS_PER_BLOCK, (step + n_steps - 1) // STEPS_PER_BLOCK + 1)
        greatest = max(self._sums(block).greatest for block in blocks)
        return _of_steps(lambda block: self._sums(block).factors, step, n_steps), greatest

    def delays(self, step: int, n_steps: int, late: tuple[int, ...]) -> Ticks:
        """
        Ticks by component that delays add to successive steps, shape (steps, components).

        Args:
            step: the first.
            n_steps: how many.
            late: by kind, the component that rank 0 coming late adds to, or -1 for none; then that its wait for the
                last rank adds to; then, unless left out, what short exchanges take on top.
        """
        return _of_steps(lambda block: self._delays(block, late), step, n_steps)

    def _of_one_step(self, step: int, late: tuple[int, ...]) -> tuple[Ticks, int, tuple[int, ...]]:
        factors, greatest = self.factors(step, 1)
        return factors[0], greatest, tuple(self.delays(step, 1, late)[0].tolist())

    def ops(self, step: int) -> Draws:
        """Of one step, op by op."""
        kinds = self._kinds
        factors = exchange = np.full(len(kinds), ONE, np.int64)
        own, waited, delay = np.zeros((3, len(kinds)), np.int64)
        if self._jitter is not None:
            factors = self._jitter.at(step)
        if self._skew is not None:
            delays = np.stack([self._skew.table[rank.at(step)[0]] for rank in self._skew.ranks])
            delays[0] += self._skew.more
            own[self._collectives] = delays[0]
            waited[self._collectives] = delays.max(axis=0) - delays[0]
        if self.small is not None:
            exchange = np.where(self._meets[kinds], self.small.factors.at(step), ONE)
            delay[self._collectives] = self.small.delays[self.small.which_delay.at(step)[0]]
        return Draws(factors, own, waited, exchange, delay)

    def routed(self, step: int, n_steps: int, batch: Batch) -> Ticks:
        """What the ops of experts of such a batch take longer by its routing, shape (steps, ops), in 2^-16."""
        assert self.routing is not None
        places, jitter = (
            _of_steps(lambda block, part=part: self._block_routed(block)[part], step, n_steps)  # type: ignore[misc]
            for part in (0, 1)
        )
        return self.routing.longer(places, jitter, batch)

    def _routed_of_block(self, block: int) -> tuple[Ticks, Ticks]:
        """Routings of a block of steps, and the factors of the ops of experts without it, shape (steps, ops) each."""
        assert self.routing is not None
        places = self.routing.places(block)
        if self._jitter is None:
            return places, np.full(places.shape, ONE, np.int64)
        return places, self._jitter.of_kind(block, self.routing.kind)

    def _of_block(self, block: int) -> Sums:
        """The sums of a block of steps."""
        factors = np.broadcast_to(self._counts * ONE, (STEPS_PER_BLOCK, self._n_kinds))
        greatest = int(factors.max())
        delays = np.zeros((STEPS_PER_BLOCK, 2 * self._n_kinds), np.int64)
        if self._jitter is not None:
            factors = self._jitter.sums(block)
            greatest = int(factors.max())
        if self._skew is not None:
            table, (first, *others), more = self._skew
            own = table.take(first.block(block)) + table.dtype.type(more)
            last = others[0].padded(block)
            for rank in others[1:]:
                np.maximum(last, rank.padded(block), out=last)  # quantiles go up, so the last slice is the last rank
            waited = np.maximum(table.take(last[:, : own.shape[1]]) - own, 0)
            delays = np.hstack([self._meeting.sums(part, self._n_kinds) for part in (own, waited)])
        if self.small is not None:
            longer = self._longer(self.small, block)
            exchange = np.where(self._meets, self.small.factors.sums(block), self._counts * ONE)
            factors = np.hstack([factors, exchange])
            delays = np.hstack([delays, longer])
            greatest = int(factors.max())
        return Sums(factors, delays, greatest)

    def _longer(self, small: Small, block: int) -> Ticks:
        """What short exchanges take on top by kind, which mostly is nothing, of a block of steps."""
        drawn = small.which_delay.block(block)
        steps, collectives = np.divmod(np.flatnonzero(drawn >= self._n_none), drawn.shape[1])
        ticks = small.delays.take(drawn[steps, collectives])
        sums = np.zeros(STEPS_PER_BLOCK * self._n_kinds, np.int64)
        np.add.at(sums, steps * self._n_kinds + self._kinds[self._collectives[collectives]], ticks)
        return sums.reshape(STEPS_PER_BLOCK, self._n_kinds)

    def _delays_of(self, block: int, late: tuple[int, ...]) -> Ticks:
        """By component, of a block of steps."""
        delays, places = self._sums(block).delays, np.array(late)
        found = np.zeros((STEPS_PER_BLOCK, len(COMPONENTS)), np.int64)
        for component in set(late) - {-1}:
            found[:, component] = delays[:, np.flatnonzero(places == component)].sum(axis=1)
        return found


def _of_steps(of_block: Callable[[int], Ticks], step: int, n_steps: int) -> Ticks:
    """Rows of successive steps, given the rows of each block of steps."""
    block, row = divmod(step, STEPS_PER_BLOCK)
    found = of_block(block)[row : row + n_steps]
    if len(found) == n_steps:
        return found
    return np.concatenate([found, _of_steps(of_block, step + len(found), n_steps - len(found))])


class _Groups:
    """Columns that belong to a kind each."""

    def __init__(self, kinds: npt.NDArray[np.intp]) -> None:
        self._order = np.argsort(kinds, kind="stable")
        self._is_sorted = bool((np.diff(self._order) == 1).all())
        ordered = kinds[self._order]
        starts = np.flatnonzero(np.diff(ordered, prepend=-1)).tolist()
        self._columns = [(int(ordered[start]), start, end) for start, end in pairwise([*starts, len(kinds)])]
        """Each kind with its first column in order and the one behind its last."""

    def narrow(self, table: Ticks, more: int = 0) -> Ticks:
        """The same numbers in 32 bits where sums over a kind fit, which are several times as fast to add."""
        most = max((end - start for _, start, end in self._columns), default=0)
        return table.astype(np.int32) if (int(table.max()) + more) * most < 2**31 else table

    def sums(self, drawn: Ticks, n_kinds: int) -> Ticks:
        """Sums over the columns of each kind of what was drawn, shape (rows, kinds)."""
        drawn = drawn if self._is_sorted else drawn[:, self._order]
        sums = np.zeros((len(drawn), n_kinds), np.int64)
        for kind, start, end in self._columns:
            sums[:, kind] = drawn[:, start:end].sum(axis=1, dtype=drawn.dtype)
        return sums
