"""
How much longer or shorter the experts of a step take by what its tokens choose, as factors on the op of the experts.

Experts are cut among the ranks like other matrices, so all ranks are equally busy whoever is popular. What varies is
how many distinct experts the tokens touch, and with it the weights that are fetched. A factor is relative to the mean
over the routings of the same layer: the mean of an op stays what the costs say, see `noise.experts` for the routings.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache
from itertools import accumulate
from math import fsum
from typing import NamedTuple

import numpy as np

from simcluster.costs.blocks import BlockCosts
from simcluster.noise.experts import ROUTINGS, Routings
from simcluster.noise.slices import Slices
from simcluster.noise.tables import FACTOR_BITS, SLICES
from simcluster.numerics.ticks import Ticks
from simcluster.work.batch import Batch

KNOTS = tuple(accumulate(range(240), lambda knot, _: knot + max(1, knot // 16), initial=1))
"""Numbers of tokens for which factors are found: each up to 32, then a sixteenth apart; others take those before."""
ONE = 2**FACTOR_BITS


class ExpertFactors:
    """
    Factors on the time of the experts of some layers, by the number of tokens.

    Args:
        costs: of the block of a layer with experts.
        routings: of the layers.
    """

    def __init__(self, costs: BlockCosts, routings: Routings) -> None:
        self._costs = costs
        self._routings = routings
        self._place = next(index for index, op in enumerate(costs.ops("moe")) if op.kind == "moe")
        self._at_knot = lru_cache(maxsize=512)(self._factors)

    def of(self, batch: Batch) -> Ticks:
        """For a step, in units of 2^-16 and ascending, shape (layers, ROUTINGS); their mean by layer is 1."""
        n_tokens = batch.tokens
        return self._at_knot(KNOTS[bisect_right(KNOTS, n_tokens) - 1], batch.prefill_tokens > 0)

    def _factors(self, n_tokens: int, has_prefill: bool) -> Ticks:
        """
        What the block takes longer than on the average over the routings, over what its experts take then.

        The whole block is asked, as what the experts take has a part in how long its other ops take: where the host
        launches them one by one and is slower, nothing changes.
        """
        counts = self._routings.touched(n_tokens)
        batch = Batch(0, 0, n_tokens) if has_prefill else Batch(n_tokens)
        values, where = np.unique(counts, return_inverse=True)
        rows = [self._costs.seconds("moe", batch, float(n_experts)) for n_experts in values.tolist()]
        whole = np.array([fsum(row.total for row in of_block) for of_block in rows])[where].reshape(counts.shape)
        busy = np.array([max(row[self._place][1:3]) for row in rows])[where].reshape(counts.shape)
        longer = (whole - whole.mean(axis=1, keepdims=True)) / busy.mean(axis=1, keepdims=True)
        factors: Ticks = np.rint((1 + longer) * ONE).astype(np.int64)
        return factors


class Routing(NamedTuple):
    """Routing of a stage: its ops of experts, what they are in the stage, and the stream that chooses routings."""

    ops: tuple[int, ...]
    """Of the stage in order, one a layer."""
    kind: int
    """All of them."""
    factors: ExpertFactors
    slices: Slices

    def places(self, block: int) -> Ticks:
        """Which factors a block of steps has, counted through all layers, shape (STEPS_PER_BLOCK, layers)."""
        chosen = self.slices.block(block).astype(np.int64) * ROUTINGS // SLICES
        return chosen + np.arange(len(self.ops)) * ROUTINGS

    def longer(self, places: Ticks, jitter: Ticks, batch: Batch) -> Ticks:
        """
        What the experts take longer in steps of such a batch, in units of 2^-16 of their time.

        Args:
            places: of the steps, shape (steps, layers).
            jitter: factors of the same ops without routing, of the same shape.
            batch: of each of the steps.

        Returns:
            Of the same shape; with `jitter` it makes the product of both.
        """
        routed = self.factors.of(batch).take(places)
        routed *= jitter
        routed += ONE // 2
        routed >>= FACTOR_BITS
        routed -= jitter
        return routed
