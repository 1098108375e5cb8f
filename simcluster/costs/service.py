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
    """Durations of a stage's ops in order, int64 ticks, shape (..., ops) each; a leading axis is successive steps."""

    launch: Ticks
    compute: Ticks
    fetch: Ticks
    wait: Ticks
    exchange: Ticks

    def total(self) -> Ticks:
        """The closed form, shape (...): launch + max(compute, fetch) + wait + exchange, over all ops."""
        sums: Ticks = (self.launch + np.maximum(self.compute, self.fetch) + self.wait + self.exchange).sum(axis=-1)
        return sums


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


class RunModel(StageModel, Protocol):
    """A stage that also knows many decode steps at once."""

    def run(self, step: int, batch: Batch, n_steps: int) -> Ticks:
        """
        Components of successive decode steps of one batch, int64 ticks, shape (n_steps, components).

        The contexts grow by one token per request and step; each row equals what `service` gives for that step.
        """


class Jitter(NamedTuple):
    """Lognormal factors per op: a table and the stream that chooses from it."""

    table: Factors
    slices: Slices

    def factors(self, step: int, n_steps: int) -> Factors:
        """Factors of successive steps, shape (n_steps, ops)."""
        return self.table[self.slices.at(step, n_steps)]


class Skew(NamedTuple):
    """Arrival delays of the ranks at each collective of a stage; rank 0, which makes the token, comes first."""

    table: Ticks
    ranks: tuple[Slices, ...]

    def delays(self, step: int, n_steps: int) -> tuple[Ticks, Ticks]:
        """Rank 0's own delay and its wait for the last rank at each collective, shape (n_steps, collectives) each."""
        own = self.table[self.ranks[0].at(step, n_steps)]
        last = own
        for rank in self.ranks[1:]:
            last = np.maximum(last, self.table[rank.at(step, n_steps)])
        return own, last - own


class Charge:
    """Sums durations by component; of compute and fetch side by side the longer one is charged."""

    def __init__(self, fetch_component: Sequence[str]) -> None:
        """`fetch_component` names for each op the component that a fetch longer than the arithmetic belongs to."""
        self._weights = np.array([name == "weight_fetch" for name in fetch_component], dtype=bool)
        self._kv = np.array([name == "kv_fetch" for name in fetch_component], dtype=bool)

    def __call__(self, ops: OpTicks) -> Ticks:
        """Ticks per component, shape (..., components); they sum to `ops.total()`."""
        fetched = np.where(ops.fetch > ops.compute, ops.fetch, 0)
        weight_fetch = fetched[..., self._weights].sum(axis=-1)
        kv_fetch = fetched[..., self._kv].sum(axis=-1)
        busy = np.maximum(ops.compute, ops.fetch).sum(axis=-1)
        components = np.zeros((*np.shape(busy), len(COMPONENTS)), np.int64)
        components[..., COMPONENT["compute"]] = busy - weight_fetch - kv_fetch
        components[..., COMPONENT["weight_fetch"]] = weight_fetch
        components[..., COMPONENT["kv_fetch"]] = kv_fetch
        components[..., COMPONENT["interconnect"]] = ops.exchange.sum(axis=-1)
        components[..., COMPONENT["wait_for_peers"]] = ops.wait.sum(axis=-1)
        components[..., COMPONENT["launch_host"]] = ops.launch.sum(axis=-1)
        return components


class NominalStage(Protocol):
    """A stage without noise."""

    def ops(self, batch: Batch) -> OpTicks:
        """Durations of all ops, shape (ops,) each."""

    def components(self, batch: Batch) -> list[int]:
        """The same, summed by component."""

    def run_ops(self, batch: Batch, n_steps: int) -> OpTicks:
        """Durations of all ops in successive decode steps of one batch, shape (n_steps, ops) each."""

    def run_components(self, batch: Batch, n_steps: int) -> Ticks:
        """The same, summed by component, shape (n_steps, components)."""


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
        self._skew = skew if len(collectives) else None

    def service(self, step: int, batch: Batch) -> Service:
        """Durations and components of this stage for one step."""
        components, ops = self._played(step, batch)
        ticks = sum(components)
        decode_components = components
        if batch.prefill_tokens and batch.decode_tokens:
            decode_components = list(self._played(step, batch.decode_only())[0])
            decode_components[COMPONENT["prefill_interference"]] = ticks - sum(decode_components)
        return Service(ticks, components, decode_components, ops)

    def run(self, step: int, batch: Batch, n_steps: int) -> Ticks:
        """Components of successive decode steps of one batch, shape (n_steps, components)."""
        if self._jitter is None and self._skew is None:
            return self._nominal.run_components(batch, n_steps)
        return self._charge(self._in_this_world(step, n_steps, self._nominal.run_ops(batch, n_steps)))

    def _played(self, step: int, batch: Batch) -> tuple[list[int], Callable[[], OpTicks]]:
        """Components in this world, and how to get the ops."""
        if self._jitter is None and self._skew is None:
            return self._nominal.components(batch), lambda: self._nominal.ops(batch)
        ops = self._in_this_world(step, 1, self._nominal.ops(batch))
        return self._charge(ops)[0].tolist(), lambda: OpTicks(*(part.reshape(-1) for part in ops))

    def _in_this_world(self, step: int, n_steps: int, ops: OpTicks) -> OpTicks:
        """
        The durations with the noise of successive steps, shape (n_steps, ops): factors on every op's work, delays at
        every collective.
        """
        launch, compute, fetch, wait, exchange = (np.broadcast_to(part, (n_steps, part.shape[-1])) for part in ops)
        if self._jitter is not None:
            factors = self._jitter.factors(step, n_steps)
            launch, compute, fetch = (np.rint(d * factors).astype(np.int64) for d in (launch, compute, fetch))
        if self._skew is not None:
            own, waited = self._skew.delays(step, n_steps)
            active = exchange[:, self._collectives] > 0
            launch, wait = launch.copy(), wait.copy()
            launch[:, self._collectives] += own * active
            wait[:, self._collectives] += waited * active
        return OpTicks(launch, compute, fetch, wait, exchange)
