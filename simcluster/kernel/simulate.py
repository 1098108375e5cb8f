"""Simulate a resolved scenario."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from simcluster.kernel.engine import Engine, Surroundings
from simcluster.kernel.infrequent_gc import infrequent_gc
from simcluster.kernel.watch import Watch
from simcluster.numerics.ticks import to_ticks
from simcluster.plans.planner import Planner
from simcluster.plans.replica_plan import ReplicaPlan
from simcluster.policies.chosen import AS_IN_SCENARIO, Policies
from simcluster.policies.routers import ROUTERS
from simcluster.scenario.requests import requests_of
from simcluster.scenario.resolved import Scenario
from simcluster.trace.columns import Block


@dataclass(frozen=True)
class Outcome:
    """Results of a run in addition to its token rows."""

    requests: dict[str, Any]
    """The request table: columns of `trace.REQUEST_COLUMNS` as int64 arrays, `status` and `reason` as lists."""
    duration_ticks: int
    dropped: tuple[tuple[str, int], ...]
    """Unusable rows of the request trace: reason and count."""
    notes: tuple[str, ...]
    """Remarks on the requests, for the reader of a result."""


def run_scenario(
    scenario: Scenario,
    sinks: Iterable[Callable[[Block], None]],
    watch: Watch | None = None,
    policies: Policies = AS_IN_SCENARIO,
) -> Outcome:
    """
    Simulate a scenario; token rows are passed to the sinks in blocks.

    Args:
        scenario: resolved.
        sinks: called with every block of rows.
        watch: called whenever a stage has served a step; it disables fused runs, so the run takes longer.
        policies: replace those that the scenario names.

    Raises:
        InputError: the workload's files are not usable.
        PolicyError: one of the given policies makes an impossible decision.
    """
    horizon_s, requests = scenario.requests_spec().horizon_s, requests_of(scenario)
    planner = Planner(scenario)
    plans = []
    for number in range(len(scenario.replicas)):
        plan = planner.plan(number)
        assert isinstance(plan, ReplicaPlan)  # a replica can only be down after an event
        plans.append(replace(plan, scheduler=policies.scheduler_of(plan.pool) or plan.scheduler))
    engine = Engine(
        plans,
        policies.chosen_router() or ROUTERS[scenario.router],
        requests,
        scenario.fidelity,
        sinks,
        Surroundings(planner.event_plan(), planner.capacities_bytes_per_s, planner.pauses()),
        watch,
    )
    with infrequent_gc():
        duration_ticks = engine.run(None if horizon_s is None else to_ticks(horizon_s))
    return Outcome(engine.table(), duration_ticks, requests.dropped, requests.notes)
