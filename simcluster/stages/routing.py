"""
Random MoE routing as factors on the duration of the expert op of each layer.

Experts are sharded over the ranks like other matrices, so popular experts load all ranks equally. What varies is the
number of distinct experts that a step's tokens touch, and with it the weights fetched. Factors are relative to the
mean over the routings of a layer, so the mean duration stays what the costs say. `noise.experts` draws the routings.
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
"""Token counts with factors of their own: each up to 32, then a sixteenth apart; others use the knot below."""
ONE = 2**FACTOR_BITS


class ExpertFactors:
    """
    Factors on the duration of the experts of some layers, by number of tokens.

    Args:
        costs: costs of an MoE block.
        routings: routings of the layers.
    """

    def __init__(self, costs: BlockCosts, routings: Routings) -> None:
        self._costs = costs
        self._routings = routings
        self._place = next(index for index, op in enumerate(costs.ops("moe")) if op.kind == "moe")
        self._at_knot = lru_cache(maxsize=512)(self._factors)

    def of(self, batch: Batch) -> Ticks:
        """Factors for a step in units of 2^-16, ascending, shape (layers, ROUTINGS); the mean of each layer is 1."""
        n_tokens = batch.tokens
        return self._at_knot(KNOTS[bisect_right(KNOTS, n_tokens) - 1], batch.prefill_tokens > 0)

    def _factors(self, n_tokens: int, has_prefill: bool) -> Ticks:
        """
        Compute 1 + (block duration − its mean over the routings) / mean duration of the experts.

        The duration of the whole block is compared, since it need not follow that of the experts: where the host
        launches ops one by one and is the bottleneck, routing changes nothing.
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
    """Routing of the MoE layers of a stage."""

    ops: tuple[int, ...]
    """Indices of the expert ops in the stage, one per layer."""
    kind: int
    """The kind of all these ops."""
    factors: ExpertFactors
    slices: Slices
    """Random stream that chooses a routing per step and layer."""

    def places(self, block: int) -> Ticks:
        """Choose routings for a block of steps: flat indices into the factors, shape (STEPS_PER_BLOCK, layers)."""
        chosen = self.slices.block(block).astype(np.int64) * ROUTINGS // SLICES
        return chosen + np.arange(len(self.ops)) * ROUTINGS

    def longer(self, places: Ticks, jitter: Ticks, batch: Batch) -> Ticks:
        """
        Compute the extra duration of the experts in steps of this batch, in units of 2^-16 of their nominal duration.

        Args:
            places: routings of the steps, from `places`, shape (steps, layers).
            jitter: factors of the same ops without routing, same shape.
            batch: what each of the steps serves.

        Returns:
            jitter × routing factor − jitter, same shape; added to `jitter` it gives the product.
        """
        routed = self.factors.of(batch).take(places)
        routed *= jitter
        routed += ONE // 2
        routed >>= FACTOR_BITS
        routed -= jitter
        return routed
