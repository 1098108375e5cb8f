"""Stages that take longer: slow ranks that the others wait for, or every op stretched by one factor."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from simcluster.stages.timed import NominalStage, OpRow
from simcluster.work.batch import Batch


class _MappedStage(ABC):
    """A stage whose ops are those of another stage, each transformed alike."""

    def __init__(self, nominal: NominalStage) -> None:
        self._nominal = nominal
        self.kind_of_op = nominal.kind_of_op
        self.fetch_components = nominal.fetch_components

    def rows(self, tokens: Batch) -> list[OpRow]:
        """Transform the durations that depend on token counts only."""
        return [self._changed(row) for row in self._nominal.rows(tokens)]

    def context_rows(self, batch: Batch) -> Sequence[tuple[int, OpRow]]:
        """Transform the durations that depend on contexts."""
        return [(kind, self._changed(row)) for kind, row in self._nominal.context_rows(batch)]

    def run_rows(self, batch: Batch, n_steps: int) -> Sequence[tuple[int, OpRow]]:
        """Transform the durations that depend on contexts, over successive decode steps of one batch."""
        return [(kind, self._changed(row)) for kind, row in self._nominal.run_rows(batch, n_steps)]

    @abstractmethod
    def _changed(self, row: OpRow) -> OpRow:
        """Transform the durations of one op."""


class SlowStage(_MappedStage):
    """
    A stage with stragglers: ops of rank 0, which emits the token, and its wait for the slowest rank.

    The wait is charged at every op, since the ranks synchronise sooner or later after each. Launches and host work
    are not slowed.

    Args:
        nominal: the stage without stragglers.
        own: slowdown factor of rank 0.
        slowest: slowdown factor of the slowest rank.
    """

    def __init__(self, nominal: NominalStage, own: float, slowest: float) -> None:
        super().__init__(nominal)
        self._own = own
        self._slowest = slowest

    def _changed(self, row: OpRow) -> OpRow:
        """Slow one op and add the wait for the slowest rank."""
        launch, compute, fetch, wait, exchange = row
        own_compute, own_fetch = _times(self._own, compute), _times(self._own, fetch)
        last = _times(self._slowest, _longer(compute, fetch))
        return OpRow(launch, own_compute, own_fetch, wait + last - _longer(own_compute, own_fetch), exchange)


class StretchedStage(_MappedStage):
    """
    A stage whose launches, arithmetic, fetches and exchanges within a device take longer by one factor.

    Exchanges over links are not stretched.

    Args:
        nominal: the stage unstretched.
        factor: factor on the durations.
        is_one_device: whether its exchanges stay within a device.
    """

    def __init__(self, nominal: NominalStage, factor: float, is_one_device: bool) -> None:
        super().__init__(nominal)
        self._factor = factor
        self._exchange_factor = factor if is_one_device else 1.0

    def _changed(self, row: OpRow) -> OpRow:
        """Stretch one op."""
        launch, compute, fetch, wait, exchange = row
        launch, compute, fetch = (_times(self._factor, ticks) for ticks in (launch, compute, fetch))
        return OpRow(launch, compute, fetch, wait, _times(self._exchange_factor, exchange))


def _times(factor: float, ticks: Any) -> Any:
    """Multiply a number or an array of ticks, rounding half to even."""
    return round(factor * ticks) if isinstance(ticks, int) else np.rint(factor * ticks).astype(np.int64)


def _longer(one: Any, other: Any) -> Any:
    return max(one, other) if isinstance(one, int) and isinstance(other, int) else np.maximum(one, other)
