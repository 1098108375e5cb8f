"""Play a resolved scenario."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from simcluster.kernel.engine import Engine
from simcluster.kernel.infrequent_gc import looked_for_seldom
from simcluster.kernel.watched import Watch
from simcluster.numerics.ticks import to_ticks
from simcluster.plans.planner import Planner
from simcluster.plans.replica_plan import ReplicaPlan
from simcluster.policies.routers import ROUTERS
from simcluster.scenario.requests import requests_of
from simcluster.scenario.resolved import Scenario
from simcluster.trace.columns import Block


@dataclass(frozen=True)
class Outcome:
    """What a run leaves besides its token rows."""

    requests: dict[str, Any]
    """The request table: columns of `trace.REQUEST_COLUMNS` as int64 arrays, `status` and `reason` as lists."""
    duration_ticks: int
    dropped: tuple[tuple[str, int], ...]
    """Rows of the request trace that could not be used: reason and count."""
    notes: tuple[str, ...]
    """What a reader should know about the requests."""


def play(scenario: Scenario, sinks: Iterable[Callable[[Block], None]], watch: Watch | None = None) -> Outcome:
    """
    Simulate a scenario; token rows go to the sinks in blocks as they arise.

    Args:
        scenario: resolved.
        sinks: called with every block of rows.
        watch: called whenever a stage has served a step; the same is played, in more events.

    Raises:
        InputError: the workload's files are not usable.
    """
    horizon_s, requests = scenario.requests_spec().horizon_s, requests_of(scenario)
    planner = Planner(scenario)
    plans = [planner.plan(number) for number in range(len(scenario.replicas))]
    engine = Engine(
        [plan for plan in plans if isinstance(plan, ReplicaPlan)],  # all of them, while nothing happens
        ROUTERS[scenario.engine.router],
        requests,
        scenario.engine.max_model_len,
        scenario.fidelity,
        sinks,
        world=planner.event_plan(),
        capacities_bytes_per_s=planner.capacities_bytes_per_s,
        pauses=planner.pauses(),
        watch=watch,
    )
    with looked_for_seldom():
        duration_ticks = engine.run(None if horizon_s is None else to_ticks(horizon_s))
    return Outcome(engine.table(), duration_ticks, requests.dropped, requests.notes)
