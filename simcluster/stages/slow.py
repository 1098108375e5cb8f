"""Stages that take longer: some ranks are slow and the others wait for them, or every op is stretched."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from simcluster.stages.timed import NominalStage, OpRow
from simcluster.work.batch import Batch


class _OpByOp(ABC):
    """A stage each op of which is another one changed."""

    def __init__(self, nominal: NominalStage) -> None:
        self._nominal = nominal
        self.kind_of_op = nominal.kind_of_op
        self.fetch_components = nominal.fetch_components

    def rows(self, tokens: Batch) -> list[OpRow]:
        """Durations of each kind of op for so many tokens, as far as they do not depend on contexts."""
        return [self._changed(row) for row in self._nominal.rows(tokens)]

    def context_rows(self, batch: Batch) -> Sequence[tuple[int, OpRow]]:
        """What comes on top for a batch, with the kinds of ops that depend on contexts."""
        return [(kind, self._changed(row)) for kind, row in self._nominal.context_rows(batch)]

    def run_rows(self, batch: Batch, n_steps: int) -> Sequence[tuple[int, OpRow]]:
        """The same in successive decode steps of one batch."""
        return [(kind, self._changed(row)) for kind, row in self._nominal.run_rows(batch, n_steps)]

    @abstractmethod
    def _changed(self, row: OpRow) -> OpRow:
        """What becomes of an op."""


class SlowStage(_OpByOp):
    """
    Ops of rank 0, which makes the token, and its wait for the slowest rank.

    Every op waits, as each is followed by another of all ranks or by an exchange sooner or later. The host's part and
    launches do not slow down.

    Args:
        nominal: the stage when nobody is slow.
        own: how many times as long rank 0 takes.
        slowest: how many times as long the slowest rank takes.
    """

    def __init__(self, nominal: NominalStage, own: float, slowest: float) -> None:
        super().__init__(nominal)
        self._own = own
        self._slowest = slowest

    def _changed(self, row: OpRow) -> OpRow:
        """One op and its wait."""
        launch, compute, fetch, wait, exchange = row
        own_compute, own_fetch = _times(self._own, compute), _times(self._own, fetch)
        last = _times(self._slowest, _longer(compute, fetch))
        return OpRow(launch, own_compute, own_fetch, wait + last - _longer(own_compute, own_fetch), exchange)


class StretchedStage(_OpByOp):
    """
    A stage every op of which takes longer by one factor: launches, arithmetic, fetches, exchanges within a device.

    Exchanges over links take as long as the links allow.

    Args:
        nominal: the stage as it would be.
        factor: how many times as long its ops take.
        is_one_device: whether its exchanges are within a device.
    """

    def __init__(self, nominal: NominalStage, factor: float, is_one_device: bool) -> None:
        super().__init__(nominal)
        self._factor = factor
        self._of_exchange = factor if is_one_device else 1.0

    def _changed(self, row: OpRow) -> OpRow:
        """One op, stretched."""
        launch, compute, fetch, wait, exchange = row
        launch, compute, fetch = (_times(self._factor, ticks) for ticks in (launch, compute, fetch))
        return OpRow(launch, compute, fetch, wait, _times(self._of_exchange, exchange))


def _times(factor: float, ticks: Any) -> Any:
    """Rounded once, half to even, as a number or as an array."""
    return round(factor * ticks) if isinstance(ticks, int) else np.rint(factor * ticks).astype(np.int64)


def _longer(one: Any, other: Any) -> Any:
    return max(one, other) if isinstance(one, int) and isinstance(other, int) else np.maximum(one, other)
