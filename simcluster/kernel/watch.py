"""Reports of a watched pipeline: when each stage served each step, and for how long."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from simcluster.kernel.stage import Arrived
from simcluster.trace.columns import COMPONENT
from simcluster.work.batch import Batch

_WAIT = COMPONENT["pipeline_wait"]


class Served(NamedTuple):
    """The service of a step by a stage."""

    replica: int
    stage: int
    step: int
    arrived: int
    """Tick at which the step came to the stage."""
    began: int
    """Tick at which the stage began to serve it."""
    ended: int
    parts: tuple[int, ...]
    """Ticks by component, as a request with a prompt in it sees them; they sum to the time served."""
    batch: Batch
    decoding: tuple[int, ...]
    """Numbers of the requests that only decode."""
    finishing: tuple[int, ...]
    """Numbers of the requests whose prompt ends in this step."""
    chunked: tuple[int, ...]
    """Numbers of the requests whose prompt continues in a later step."""


Watch = Callable[[Served], None]


def served(replica: int, stage: int, arrived: Arrived, ended: int) -> Served:
    """Report a step that a stage has served, from its state at arrival and the time charged since."""
    step = arrived.step
    parts = [after - before for after, before in zip(step.for_prefill, arrived.before, strict=True)]
    began = arrived.tick + parts[_WAIT]
    parts[_WAIT] = 0
    numbers = (tuple(r.number for r in requests) for requests in (step.decoding, step.finishing, step.chunked))
    return Served(replica, stage, step.number, arrived.tick, began, ended, tuple(parts), step.batch, *numbers)
