"""
Noise of a stage's steps: a factor on the work of every op, and arrival delays of the ranks at every collective.

A step needs sums over the ops of a kind. These depend on the world and the step number, not on what the step serves,
so they are computed for many steps at once.
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
    """Arrival delays of the ranks at each collective of a stage."""

    table: Ticks
    """Quantiles of the delay, ascending."""
    ranks: tuple[Slices, ...]
    """Random streams of the ranks; rank 0, which emits the token, comes first."""
    more: int = 0
    """Extra delay of rank 0, ticks."""


class Small(NamedTuple):
    """Noise of short exchanges: a factor per op, used at collectives only, and a delay per collective."""

    factors: Factors
    delays: Ticks
    which_delay: Slices
    up_to: int
    """Longest exchange that counts as short, ticks."""


class Sums(NamedTuple):
    """Sums over the ops of each kind, for a block of steps."""

    factors: Ticks
    """Factors of the ops' work by kind, then of short exchanges if noisy; shape (steps, kinds or 2 kinds)."""
    delays: Ticks
    """
    Ticks by kind, shape (steps, 2 or 3 kinds).

    Delay of rank 0, then its wait for the last rank, then the delay of short exchanges if noisy.
    """
    greatest: int
    """Upper bound of `factors`."""


class Draws(NamedTuple):
    """Noise of one step op by op, shape (ops,) each."""

    factors: Ticks
    own: Ticks
    """Delay of rank 0."""
    waited: Ticks
    """Its wait for the last rank."""
    exchange: Ticks
    """Factor of a short exchange."""
    delay: Ticks
    """Delay of a short exchange."""


class StepNoise:
    """
    Noise of one stage.

    Args:
        kind_of_op: kind of every op, in order.
        collectives: indices of the ops that end in a collective, ascending.
        jitter: factors per op, or None.
        skew: rank delays per collective, or None.
        small: factors and delays of short exchanges, or None.
        routing: MoE routing, or None.
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
        """Whether the ops of a kind end in a collective (all of them do, or none)."""
        self._meeting = _Groups(kinds[self._collectives])
        self._jitter = jitter
        self._skew = (
            skew and skew._replace(table=self._meeting.narrow(skew.table, skew.more)) if len(collectives) else None
        )
        self.small = small if len(collectives) else None
        self._n_none = 0 if small is None else int(np.append(small.delays, 1).nonzero()[0][0])
        """Number of zero delays of short exchanges; these come first in their table."""
        self._sums = lru_cache(maxsize=2)(self._of_block)  # a run may reach into the next block and come back
        self._delays = lru_cache(maxsize=16)(self._delays_of)
        self.step = lru_cache(maxsize=4)(self._of_one_step)
        """`factors` and `delays` of one step, given `late`: sums of factors, their bound, ticks by component."""
        self.routing = routing
        self._block_routed = lru_cache(maxsize=2)(self._routed_of_block)

    def factors(self, step: int, n_steps: int) -> tuple[Ticks, int]:
        """
        Sums of factors by kind for successive steps: of the ops' work, then of short exchanges if noisy.

        Returns:
            The sums, shape (steps, kinds or 2 kinds), and an upper bound of them.
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
            step: first step.
            n_steps: number of steps.
            late: component that each delay is added to, or -1 to leave it out: by kind, the delay of rank 0, then its
                wait for the last rank, then (optional) the delay of short exchanges.
        """
        return _of_steps(lambda block: self._delays(block, late), step, n_steps)

    def _of_one_step(self, step: int, late: tuple[int, ...]) -> tuple[Ticks, int, tuple[int, ...]]:
        factors, greatest = self.factors(step, 1)
        return factors[0], greatest, tuple(self.delays(step, 1, late)[0].tolist())

    def ops(self, step: int) -> Draws:
        """Noise of one step, op by op."""
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
        """Compute the extra factors of the expert ops due to routing, shape (steps, expert ops), in 2^-16."""
        assert self.routing is not None
        places, jitter = (
            _of_steps(lambda block, part=part: self._block_routed(block)[part], step, n_steps)  # type: ignore[misc]
            for part in (0, 1)
        )
        return self.routing.longer(places, jitter, batch)

    def _routed_of_block(self, block: int) -> tuple[Ticks, Ticks]:
        """Routings of a block of steps, and factors of the expert ops without them; shape (steps, layers) each."""
        assert self.routing is not None
        places = self.routing.places(block)
        if self._jitter is None:
            return places, np.full(places.shape, ONE, np.int64)
        return places, self._jitter.of_kind(block, self.routing.kind)

    def _of_block(self, block: int) -> Sums:
        """Compute the sums of a block of steps."""
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
                np.maximum(last, rank.padded(block), out=last)  # tables ascend: the highest is the last rank
            waited = np.maximum(table.take(last[:, : own.shape[1]]) - own, 0)
            delays = np.hstack([self._meeting.sums(part, self._n_kinds) for part in (own, waited)])
        if self.small is not None:
            short_delays = self._short_delays(self.small, block)
            exchange = np.where(self._meets, self.small.factors.sums(block), self._counts * ONE)
            factors = np.hstack([factors, exchange])
            delays = np.hstack([delays, short_delays])
            greatest = int(factors.max())
        return Sums(factors, delays, greatest)

    def _short_delays(self, small: Small, block: int) -> Ticks:
        """Sum the delays of short exchanges by kind, for a block of steps; shape (steps, kinds)."""
        drawn = small.which_delay.block(block)
        # Most delays are 0, so only the others are looked up and added.
        steps, collectives = np.divmod(np.flatnonzero(drawn >= self._n_none), drawn.shape[1])
        ticks = small.delays.take(drawn[steps, collectives])
        sums = np.zeros(STEPS_PER_BLOCK * self._n_kinds, np.int64)
        np.add.at(sums, steps * self._n_kinds + self._kinds[self._collectives[collectives]], ticks)
        return sums.reshape(STEPS_PER_BLOCK, self._n_kinds)

    def _delays_of(self, block: int, late: tuple[int, ...]) -> Ticks:
        """Ticks by component that delays add to a block of steps."""
        delays, places = self._sums(block).delays, np.array(late)
        found = np.zeros((STEPS_PER_BLOCK, len(COMPONENTS)), np.int64)
        for component in set(late) - {-1}:
            found[:, component] = delays[:, np.flatnonzero(places == component)].sum(axis=1)
        return found


def _of_steps(of_block: Callable[[int], Ticks], step: int, n_steps: int) -> Ticks:
    """Collect the rows of successive steps from the blocks that they fall into."""
    block, row = divmod(step, STEPS_PER_BLOCK)
    found = of_block(block)[row : row + n_steps]
    if len(found) == n_steps:
        return found
    return np.concatenate([found, _of_steps(of_block, step + len(found), n_steps - len(found))])


class _Groups:
    """Columns grouped by kind, for sums over each group."""

    def __init__(self, kinds: npt.NDArray[np.intp]) -> None:
        self._order = np.argsort(kinds, kind="stable")
        self._is_sorted = bool((np.diff(self._order) == 1).all())
        ordered = kinds[self._order]
        starts = np.flatnonzero(np.diff(ordered, prepend=-1)).tolist()
        self._columns = [(int(ordered[start]), start, end) for start, end in pairwise([*starts, len(kinds)])]
        """(kind, start, end) of each group of ordered columns."""

    def narrow(self, table: Ticks, more: int = 0) -> Ticks:
        """Convert to 32 bits where sums over a kind fit, since these are several times as fast to add."""
        most = max((end - start for _, start, end in self._columns), default=0)
        return table.astype(np.int32) if (int(table.max()) + more) * most < 2**31 else table

    def sums(self, drawn: Ticks, n_kinds: int) -> Ticks:
        """Sum drawn values over the columns of each kind, shape (rows, kinds)."""
        drawn = drawn if self._is_sorted else drawn[:, self._order]
        sums = np.zeros((len(drawn), n_kinds), np.int64)
        for kind, start, end in self._columns:
            sums[:, kind] = drawn[:, start:end].sum(axis=1, dtype=drawn.dtype)
        return sums
