"""
Random factors on the ops of a stage, drawn as sums over the ops of a kind.

Ops of a kind are alike in every layer, so a step needs no more than the sum of their factors: that is what is drawn.
A step that is played op by op shares the sum out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from simcluster.noise.slices import Slices
from simcluster.noise.tables import lognormal_factors, lognormal_sums
from simcluster.numerics.ticks import Ticks


class Factors:
    """
    Independent lognormal factors of mean 1, in units of 2^-16.

    A sum is lognormal, of the mean and the variance that the sum of independent factors has. It is shared out in
    proportion to independent factors. Were factors gamma distributed, the ops' own would come out independent and
    distributed as they should, exactly, since proportions of gamma variates do not depend on their sum; at the same
    mean and spread a lognormal differs from a gamma by its third moment.

    Args:
        cv: coefficient of variation of each.
        kinds: of every op in order, its kind.
        seed: of the world.
        names: the stream's.

    Source:
        Fenton, "The sum of log-normal probability distributions in scatter transmission systems", IRE Trans. Commun.
        Syst. 8(1), 1960. Lukacs, "A characterization of the gamma distribution", Ann. Math. Statist. 26(2), 1955.
    """

    def __init__(self, cv: float, kinds: Sequence[int], seed: int, *names: str) -> None:
        self._kinds = np.asarray(kinds, np.intp)
        counts = np.bincount(self._kinds).tolist()
        self._tables = [lognormal_sums(cv, n) if n else None for n in counts]
        self._single = lognormal_factors(cv)
        self._sums = Slices(len(counts), seed, *names, "sums")
        self._ops = Slices(len(kinds), seed, *names)

    def sums(self, block: int) -> Ticks:
        """Sums by kind of a block of steps, shape (STEPS_PER_BLOCK, kinds)."""
        return self._looked_up(self._sums.block(block))

    def of_kind(self, block: int, kind: int) -> Ticks:
        """Of each op of a kind, for a block of steps, shape (STEPS_PER_BLOCK, ops of the kind)."""
        return self._shared_out(self.sums(block)[:, kind], self._ops.block(block)[:, self._kinds == kind])

    def at(self, step: int) -> Ticks:
        """Of each op of a step, shape (ops,)."""
        sums, drawn = self._looked_up(self._sums.at(step))[0], self._ops.at(step)
        factors = np.empty(len(self._kinds), np.int64)
        for kind in np.unique(self._kinds).tolist():
            places = self._kinds == kind
            factors[places] = self._shared_out(sums[kind : kind + 1], drawn[:, places])[0]
        return factors

    def _looked_up(self, drawn: npt.NDArray[np.uint16]) -> Ticks:
        """Sums that these draws choose, shape (steps, kinds)."""
        sums = np.zeros(drawn.shape, np.int64)
        for kind, table in enumerate(self._tables):
            if table is not None:
                sums[:, kind] = table.take(drawn[:, kind])
        return sums

    def _shared_out(self, sums: Ticks, drawn: npt.NDArray[np.uint16]) -> Ticks:
        """
        Whole parts of sums, shape (rows,), in proportion to the factors of these draws, shape (rows, ops).

        Division and product are of doubles, which are rounded alike everywhere.
        """
        ends = np.cumsum(np.maximum(self._single.take(drawn), 1), axis=1)
        shares = np.rint(ends / ends[:, -1:] * sums[:, None]).astype(np.int64)
        parts: Ticks = np.diff(shares, axis=1, prepend=0)
        return parts
