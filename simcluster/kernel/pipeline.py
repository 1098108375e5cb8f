"""What a replica asks of its pipeline, however that is simulated."""

from __future__ import annotations

from typing import Protocol

from simcluster.kernel.step import Step
from simcluster.plans.replica_plan import PipelinePlan


class Pipeline(Protocol):
    """Stages in a row; calls back when the first stage can take the next step, and when a step leaves the last."""

    @property
    def busy(self) -> bool:
        """Whether the first stage cannot take a step."""

    def enter(self, step: Step) -> None:
        """Let a step enter the first stage, which must be free."""

    def change(self, plan: PipelinePlan) -> None:
        """Let ops that start and steps that leave a stage from now on follow another plan."""

    def clear(self) -> None:
        """Lose all steps."""
