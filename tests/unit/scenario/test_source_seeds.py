"""Seeds of single sources: what is redrawn changes, and everything else is drawn as before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_runs import loaded

import simcluster
from simcluster.plans.planner import Planner
from simcluster.scenario.drawn import devices_drawn, drawn_sources
from simcluster.scenario.resolved import Scenario
from simcluster.workload import materialise

SCENARIO = """
model: llama-3.1-8b
topology: h100-8
deployment: {tensor_parallel_size: 4}
workload:
  arrivals: {kind: poisson, rate: 40 req/s}
  prompt_tokens: {kind: lognormal, median: 64, p99: 256}
  output_tokens: {kind: uniform, low: 2, high: 9}
  requests: 30
noise: {preset: none, op_jitter: {cv: 1 %}, arrival_skew: {mean: 4 us}}
events:
  - {kind: device_slow, device: gpu1, times_slower: 2, mtbf: 200 ms, mttr: 20 ms}
"""


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Scenario:
    """A scenario that draws from nearly every source."""
    return loaded(tmp_path_factory.mktemp("scenario"), SCENARIO, seed=1)


def redrawn(scenario: Scenario, **seeds: int) -> Scenario:
    return scenario.model_copy(
        update={"source_seeds": {name.replace("__", "/"): seed for name, seed in seeds.items()}}
    )


def draws(scenario: Scenario) -> dict[str, Any]:
    """What each source draws, as far as it can be seen from outside."""
    requests = materialise(scenario.requests_spec(), scenario.seeds, Path())
    planner = Planner(scenario)
    world = planner.event_plan()
    assert world is not None
    events = world.events[0].times()
    plan = planner.plan(0)
    assert not isinstance(plan, str)
    noise = plan.pipeline.stages[0]._noise  # type: ignore[attr-defined]
    drawn = noise.ops(5)
    return {
        "arrivals": requests.arrival_ticks,
        "prompt_tokens": requests.prompt_tokens,
        "output_tokens": requests.output_tokens,
        "events": np.array([next(events) for _ in range(5)]),
        "op_jitter": drawn.factors,
        "arrival_skew": np.concatenate([drawn.own, drawn.waited]),
    }


def test_sources_of_a_scenario(scenario: Scenario) -> None:
    """All that is drawn is listed, and what is not is not."""
    assert ["arrivals", "prompt_tokens", "output_tokens", "events", "op_jitter", "arrival_skew"] == drawn_sources(
        scenario
    )
    assert ["gpu0"] == devices_drawn(scenario, "op_jitter")
    assert ["gpu0", "gpu1", "gpu2", "gpu3"] == devices_drawn(scenario, "arrival_skew")


@pytest.mark.parametrize(
    "source", ["arrivals", "prompt_tokens", "output_tokens", "events", "op_jitter", "arrival_skew"]
)
def test_one_source_is_redrawn_alone(scenario: Scenario, source: str) -> None:
    """Redrawing a source changes its draws and no others."""
    before, after = draws(scenario), draws(redrawn(scenario, **{source: 99}))

    assert [source] == [name for name in before if not np.array_equal(before[name], after[name])]


def test_the_seed_of_all_is_the_seed_of_each(scenario: Scenario) -> None:
    """A source drawn from another seed has what a run of that seed has."""
    other, all_redrawn = draws(scenario.model_copy(update={"seed": 99})), draws(scenario)
    for source in drawn_sources(scenario):
        mixed = draws(redrawn(scenario, **{source: 99}))
        assert np.array_equal(other[source], mixed[source])
        assert not np.array_equal(all_redrawn[source], mixed[source])


def test_one_device_is_redrawn_alone(scenario: Scenario) -> None:
    """Redrawing the skew of a rank that is not the first leaves the delays of the first as they were."""
    before, after = draws(scenario), draws(redrawn(scenario, arrival_skew__gpu2=99))
    own, waited = np.split(before["arrival_skew"], 2)
    own_after, waited_after = np.split(after["arrival_skew"], 2)

    assert np.array_equal(own, own_after)
    assert not np.array_equal(waited, waited_after)


def test_a_run_records_its_seeds(scenario: Scenario) -> None:
    """Another seed of a source is another scenario: its digest and its trace differ."""
    other = redrawn(scenario, arrivals=99)

    assert scenario.digest() != other.digest()
    assert simcluster.simulate(scenario).summary["trace_digest"] != simcluster.simulate(other).summary["trace_digest"]
