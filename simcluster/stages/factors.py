"""
Random factors on the ops of a stage, drawn as sums over the ops of a kind.

Ops of a kind are alike in every layer, so a step needs only the sum of their factors, and only that is drawn.
A step that is simulated op by op splits the sum among its ops.
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

    A sum is drawn as a lognormal with the mean and variance of the sum of independent factors, and split among the
    ops in proportion to independent factors. For gamma distributed factors this would be exact (proportions of gamma
    variates are independent of their sum); a lognormal of the same mean and variance differs in its third moment.

    Args:
        cv: coefficient of variation of each factor.
        kinds: kind of every op, in order.
        seed: seed of the world.
        names: names of the random stream.

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
        return self._take_sums(self._sums.block(block))

    def of_kind(self, block: int, kind: int) -> Ticks:
        """Factor of each op of a kind, for a block of steps, shape (STEPS_PER_BLOCK, ops of the kind)."""
        return self._split(self.sums(block)[:, kind], self._ops.block(block)[:, self._kinds == kind])

    def at(self, step: int) -> Ticks:
        """Factor of each op of a step, shape (ops,)."""
        sums, drawn = self._take_sums(self._sums.at(step))[0], self._ops.at(step)
        factors = np.empty(len(self._kinds), np.int64)
        for kind in np.unique(self._kinds).tolist():
            places = self._kinds == kind
            factors[places] = self._split(sums[kind : kind + 1], drawn[:, places])[0]
        return factors

    def _take_sums(self, drawn: npt.NDArray[np.uint16]) -> Ticks:
        """Look up the sums that these draws choose, shape (steps, kinds)."""
        sums = np.zeros(drawn.shape, np.int64)
        for kind, table in enumerate(self._tables):
            if table is not None:
                sums[:, kind] = table.take(drawn[:, kind])
        return sums

    def _split(self, sums: Ticks, drawn: npt.NDArray[np.uint16]) -> Ticks:
        """
        Split sums, shape (rows,), into integers in proportion to the factors of these draws, shape (rows, ops).

        Only IEEE double division, product and rounding are used, which give the same on every machine.
        """
        ends = np.cumsum(np.maximum(self._single.take(drawn), 1), axis=1)
        shares = np.rint(ends / ends[:, -1:] * sums[:, None]).astype(np.int64)
        parts: Ticks = np.diff(shares, axis=1, prepend=0)
        return parts
