"""
What a pipeline stage needs for a step: durations per op in ticks, with the world's noise, and their sum by component.

The durations of an op are rounded once each; everything after is integer arithmetic, so that playing the ops one by
one and adding them up agree to the tick. A stage of ranks that meet at every collective lasts
sum over ops of launch + max(compute, fetch) + wait for the last rank + exchange.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np

from simcluster.costs.batch import Batch
from simcluster.noise import Factors, Slices
from simcluster.ticks import Ticks
from simcluster.trace import COMPONENT, COMPONENTS


class OpTicks(NamedTuple):
    """Durations of a stage's ops in order, int64 ticks, shape (ops,) each."""

    launch: Ticks
    compute: Ticks
    fetch: Ticks
    wait: Ticks
    exchange: Ticks

    def total(self) -> int:
        """The closed form: launch + max(compute, fetch) + wait + exchange, over all ops."""
        busy = np.maximum(self.compute, self.fetch)
        return int(self.launch.sum() + busy.sum() + self.wait.sum() + self.exchange.sum())


class Service(NamedTuple):
    """One step's stay in a stage."""

    ticks: int
    components: list[int]
    """As a request with a prompt in the step sees it; sums to `ticks`."""
    decode_components: list[int]
    """As a decoding request sees it: what the prompts added is prefill interference; sums to `ticks`."""
    ops: OpTicks


class StageModel(Protocol):
    """Gives the service of a step; the same step number and batch always get the same answer."""

    def service(self, step: int, batch: Batch) -> Service:
        """Durations and components of this stage for one step."""


class Jitter(NamedTuple):
    """Lognormal factors per op: a table and the stream that chooses from it."""

    table: Factors
    slices: Slices

    def factors(self, step: int) -> Factors:
        """Factors of one step, shape (ops,)."""
        return self.table[self.slices.at(step)]


class Skew(NamedTuple):
    """Arrival delays of the ranks at each collective of a stage; rank 0, which makes the token, comes first."""

    table: Ticks
    ranks: tuple[Slices, ...]

    def delays(self, step: int) -> tuple[Ticks, Ticks]:
        """Rank 0's own delay and its wait for the last rank at each collective, shape (collectives,) each."""
        delays = np.stack([self.table[rank.at(step)] for rank in self.ranks])  # (ranks, collectives)
        return delays[0], delays.max(axis=0) - delays[0]


class TimedStage:
    """
    A stage with its costs and its noise.

    Args:
        nominal: durations without noise for a batch, all ops of the stage.
        fetch_component: for each op the component that a fetch longer than the arithmetic belongs to, shape (ops,).
        collectives: indices of the ops that end in an exchange among ranks.
        jitter: factors per op, or None.
        skew: delays per collective, or None.
    """

    def __init__(
        self,
        nominal: Callable[[Batch], OpTicks],
        fetch_component: tuple[str, ...],
        collectives: tuple[int, ...],
        jitter: Jitter | None,
        skew: Skew | None,
    ) -> None:
        self._nominal = nominal
        self._weights = np.array([name == "weight_fetch" for name in fetch_component])
        self._kv = np.array([name == "kv_fetch" for name in fetch_component])
        self._collectives = np.array(collectives, np.intp)
        self._jitter = jitter
        self._skew = skew

    def service(self, step: int, batch: Batch) -> Service:
        """Durations and components of this stage for one step."""
        ops = self._in_this_world(step, self._nominal(batch))
        ticks = ops.total()
        components = self._charge(ops)
        decode_components = components
        if batch.prefill_tokens and batch.decode_tokens:
            alone = self._in_this_world(step, self._nominal(batch.decode_only()))
            decode_components = self._charge(alone)
            decode_components[COMPONENT["prefill_interference"]] = ticks - alone.total()
        return Service(ticks, components, decode_components, ops)

    def _in_this_world(self, step: int, ops: OpTicks) -> OpTicks:
        """The durations with this step's noise: factors on every op's work, delays at every collective."""
        launch, compute, fetch, wait, exchange = ops
        if self._jitter is not None:
            factors = self._jitter.factors(step)
            launch, compute, fetch = (np.rint(d * factors).astype(np.int64) for d in (launch, compute, fetch))
        if self._skew is not None and len(self._collectives):
            own, waited = self._skew.delays(step)
            active = exchange[self._collectives] > 0
            launch, wait = launch.copy(), wait.copy()
            launch[self._collectives] += own * active
            wait[self._collectives] += waited * active
        return OpTicks(launch, compute, fetch, wait, exchange)

    def _charge(self, ops: OpTicks) -> list[int]:
        """Sum by component; of compute and fetch side by side the longer one is charged."""
        fetch_bound = ops.fetch > ops.compute
        fetched = np.where(fetch_bound, ops.fetch, 0)
        weight_fetch = int(fetched[self._weights].sum())
        kv_fetch = int(fetched[self._kv].sum())
        components = [0] * len(COMPONENTS)
        components[COMPONENT["compute"]] = (
            int(np.where(fetch_bound, 0, ops.compute).sum()) + int(fetched.sum()) - weight_fetch - kv_fetch
        )
        components[COMPONENT["weight_fetch"]] = weight_fetch
        components[COMPONENT["kv_fetch"]] = kv_fetch
        components[COMPONENT["interconnect"]] = int(ops.exchange.sum())
        components[COMPONENT["wait_for_peers"]] = int(ops.wait.sum())
        components[COMPONENT["launch_host"]] = int(ops.launch.sum())
        return components
