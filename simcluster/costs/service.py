"""
What a pipeline stage needs for a step: durations per op in ticks, with the world's noise, and their sum by component.

The durations of an op are rounded once each; everything after is integer arithmetic, so that playing the ops one by
one and adding them up agree to the tick. A stage of ranks that meet at every collective lasts
sum over ops of launch + max(compute, fetch) + wait for the last rank + exchange.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


class Service:
    """One step's stay in a stage: how long, what for, and on demand op by op."""

    __slots__ = ("_ops", "components", "decode_components", "ticks")

    def __init__(
        self, ticks: int, components: list[int], decode_components: list[int], ops: Callable[[], OpTicks]
    ) -> None:
        self.ticks = ticks
        self.components = components
        """As a request with a prompt in the step sees it; sums to `ticks`."""
        self.decode_components = decode_components
        """As a decoding request sees it: what the prompts added is prefill interference; sums to `ticks`."""
        self._ops = ops

    def ops(self) -> OpTicks:
        """Durations op by op; their closed form is `ticks`."""
        return self._ops()


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


class Charge:
    """Sums durations by component; of compute and fetch side by side the longer one is charged."""

    def __init__(self, fetch_component: Sequence[str]) -> None:
        """`fetch_component` names for each op the component that a fetch longer than the arithmetic belongs to."""
        self._weights = np.array([name == "weight_fetch" for name in fetch_component], dtype=bool)
        self._kv = np.array([name == "kv_fetch" for name in fetch_component], dtype=bool)

    def __call__(self, ops: OpTicks) -> list[int]:
        """Ticks per component; they sum to `ops.total()`."""
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


class NominalStage(Protocol):
    """A stage without noise."""

    def ops(self, batch: Batch) -> OpTicks:
        """Durations of all ops."""

    def components(self, batch: Batch) -> list[int]:
        """The same, summed by component."""


class TimedStage:
    """
    A stage with its costs and its noise.

    Args:
        nominal: durations without noise.
        charge: sums them by component.
        collectives: indices of the ops that end in an exchange among ranks.
        jitter: factors per op, or None.
        skew: delays per collective, or None.
    """

    def __init__(
        self,
        nominal: NominalStage,
        charge: Charge,
        collectives: Sequence[int],
        jitter: Jitter | None,
        skew: Skew | None,
    ) -> None:
        self._nominal = nominal
        self._charge = charge
        self._collectives = np.array(collectives, np.intp)
        self._jitter = jitter
        self._skew = skew

    def service(self, step: int, batch: Batch) -> Service:
        """Durations and components of this stage for one step."""
        components, ops = self._played(step, batch)
        ticks = sum(components)
        decode_components = components
        if batch.prefill_tokens and batch.decode_tokens:
            decode_components = list(self._played(step, batch.decode_only())[0])
            decode_components[COMPONENT["prefill_interference"]] = ticks - sum(decode_components)
        return Service(ticks, components, decode_components, ops)

    def _played(self, step: int, batch: Batch) -> tuple[list[int], Callable[[], OpTicks]]:
        """Components in this world, and how to get the ops."""
        if self._jitter is None and self._skew is None:
            return self._nominal.components(batch), lambda: self._nominal.ops(batch)
        ops = self._in_this_world(step, self._nominal.ops(batch))
        return self._charge(ops), lambda: ops

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
