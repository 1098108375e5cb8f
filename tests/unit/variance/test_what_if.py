"""What-if shares of scenarios: planted sources, a planted straggler and a planted slow link are found by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_runs import loaded

from simcluster.files.problems import InputError
from simcluster.plans.planner import Planner
from simcluster.plans.prices import Prices
from simcluster.scenario.resolved import Scenario
from simcluster.variance.critical_path import rank_skew
from simcluster.variance.what_if import n_runs, what_if
from simcluster.work.batch import Batch

LONE = """
model: llama-3.1-8b
topology: h100-8
deployment: {tensor_parallel_size: 8}
workload:
  arrivals: {kind: single}
  prompt_tokens: {kind: fixed, value: 16}
  output_tokens: {kind: fixed, value: 33}
"""
CHAT = """
model: llama-3.1-8b
topology: h100-8
deployment: {tensor_parallel_size: 8}
workload:
  arrivals: {kind: poisson, rate: 20 req/s}
  prompt_tokens: {kind: fixed, value: 64}
  output_tokens: {kind: uniform, low: 2, high: 20}
  requests: 20
noise: {preset: none, op_jitter: {cv: 1 %}, arrival_skew: {mean: 4 us}}
"""


def share_of_skew(scenario: Scenario, cv: float, mean_s: float) -> float:
    """
    Of the variance of a lone decode step, from first principles.

    The last of n exponential delays has variance mean² · (1 + 1/4 + … + 1/n²) at every collective; a factor with
    coefficient of variation cv on an op that lasts t, without its exchange, adds (cv · t)².
    """
    planner = Planner(scenario.model_copy(update={"noise": scenario.noise.model_copy(update={"rows": ()})}))
    plan = planner.plan(0)
    assert not isinstance(plan, str)
    ops = plan.pipeline.stages[0].service(0, Batch(1, 30), 0).ops()
    lasts_s = (ops.launch + np.maximum(ops.compute, ops.fetch)) / 1e12
    stage = scenario.replicas[0].stages[0]
    skew = rank_skew(scenario, scenario.pools[0], Prices(scenario, scenario.pools[0]), stage)
    assert skew is not None
    n_collectives = skew.ranks[0].at(0).shape[1]
    of_skew = n_collectives * mean_s**2 * sum(1 / k**2 for k in range(1, len(stage.devices) + 1))
    return float(of_skew / (of_skew + cv**2 * (lasts_s**2).sum()))


def test_a_spread_that_is_seventy_percent_skew(tmp_path: Path) -> None:
    """
    Noise is set so that by construction 70 % of the variance of the mean gap is arrival skew: it is found so.

    Both sources just add up, so what they do alone is all, and their shares sum to one.
    """
    mean_s, cv = 1e-6, 0.1
    first = loaded(tmp_path, LONE, "noise={preset: none, op_jitter: {cv: 10 %}, arrival_skew: {mean: 1 us}}")
    share = share_of_skew(first, cv, mean_s)
    factor = (0.7 / 0.3 * (1 - share) / share) ** 0.5
    mean_s *= factor
    assert share_of_skew(first, cv, mean_s) == pytest.approx(0.7, abs=1e-9)
    noise = f"noise={{preset: none, op_jitter: {{cv: 10 %}}, arrival_skew: {{mean: {mean_s * 1e9:.6f} ns}}}}"
    figure = what_if(loaded(tmp_path, LONE, noise), 24, jobs=1).figures["mean_itl_ms"]
    skew, jitter = figure.sources["arrival_skew"], figure.sources["op_jitter"]

    assert skew.first.low <= 0.7 <= skew.first.high
    assert jitter.first.low <= 0.3 <= jitter.first.high
    assert skew.first.high - skew.first.low < 0.6
    assert skew.interaction == pytest.approx(0, abs=1e-3)
    assert figure.interactions.low <= 0 <= figure.interactions.high


def test_a_planted_straggler_is_found(tmp_path: Path) -> None:
    """Among devices that things happen to, the one that is slow most adds most, and the others hardly anything."""
    events = """
events:
  - {kind: device_slow, device: gpu2, times_slower: 1.02, at: 0 s}
  - {kind: device_slow, device: gpu5, times_slower: 1.5, at: 0 s}
  - {kind: device_slow, device: gpu7, times_slower: 1.4, at: 0 s, lasts: 1 ms}
"""
    found = what_if(loaded(tmp_path, CHAT + events), 3, jobs=1)
    effects = {name: one.effect for name, one in found.figures["mean_itl_ms"].entities.items()}

    assert {"gpu2", "gpu5", "gpu7"} == set(effects)
    assert "gpu5" == max(effects, key=lambda name: abs(effects[name]))
    assert effects["gpu5"] > 20 * max(abs(effects["gpu2"]), abs(effects["gpu7"]))
    assert found.figures["mean_itl_ms"].entities["gpu5"].low > 0


def test_a_planted_slow_link_is_found(tmp_path: Path) -> None:
    """Among links that things happen to, the one with five microseconds more adds most."""
    events = """
events:
  - {kind: link_slow, link: [gpu1, nvswitch0], bandwidth: 95 %, at: 0 s}
  - {kind: link_slow, link: [gpu3, nvswitch0], extra_latency: 5 us, at: 0 s}
  - {kind: device_slow, device: gpu0, times_slower: 1.01, at: 0 s}
"""
    found = what_if(loaded(tmp_path, CHAT + events), 3, jobs=1)
    effects = {name: one.effect for name, one in found.figures["mean_itl_ms"].entities.items()}

    assert "gpu3 - nvswitch0" == max(effects, key=lambda name: abs(effects[name]))
    # 65 exchanges a token, at least one round each
    assert effects["gpu3 - nvswitch0"] >= 65 * 5e-3 * 0.99


def test_events_at_random_are_a_source(tmp_path: Path) -> None:
    """A device that slows down at random is a source of spread, and taking its events away leaves the rest."""
    events = "events: [{kind: device_slow, device: gpu0, times_slower: 5, mtbf: 300 ms, mttr: 200 ms}]\n"
    scenario = loaded(tmp_path, CHAT + events)
    found = what_if(scenario, 4, jobs=1)

    assert "events" in found.figures["mean_itl_ms"].sources
    assert found.figures["mean_itl_ms"].sources["events"].total.value > 0.5
    assert 4 * (2 + 2 * 5 + 1) == n_runs(scenario, 4) == found.runs


def test_devices_have_shares_of_their_noise(tmp_path: Path) -> None:
    """Exchanging the noise of one device at a time, each of eight alike has some, none has most."""
    scenario = loaded(tmp_path, LONE, "noise={preset: none, arrival_skew: {mean: 5 us}}")
    found = what_if(scenario, 12, by_device=True, jobs=1)
    devices = found.figures["mean_itl_ms"].devices

    assert [f"gpu{number}" for number in range(8)] == list(devices)
    totals = [one.total.value for one in devices.values()]
    assert 0.02 < min(totals)
    assert max(totals) < 0.4
    assert n_runs(scenario, 12, by_device=True) == found.runs


def test_workers_change_nothing(tmp_path: Path) -> None:
    """One process and two workers find the same."""
    scenario = loaded(tmp_path, LONE, "noise=datacenter")

    assert what_if(scenario, 2, jobs=1) == what_if(scenario, 2, jobs=2)


def test_nothing_is_drawn(tmp_path: Path) -> None:
    """A scenario without any randomness and any event has nothing to exchange."""
    with pytest.raises(InputError, match="a scenario in which nothing is drawn"):
        what_if(loaded(tmp_path, LONE), 2, jobs=1)


def test_one_source_explains_all(tmp_path: Path) -> None:
    """With a single source, its share is one in every figure that varies."""
    found = what_if(loaded(tmp_path, LONE, "noise={preset: none, op_jitter: {cv: 5 %}}"), 3, jobs=1)

    for figure in found.figures.values():
        if figure.sources:
            only = figure.sources["op_jitter"]
            assert (1, 1, 0) == pytest.approx((only.total.value, only.first.value, only.interaction))


def test_devices_that_differ_for_good(tmp_path: Path) -> None:
    """Within a world devices stay as they are, so their spread is all between worlds, and all of it is theirs."""
    noise = "noise={preset: none, device_spread: {compute: 0 %, memory: 3 %}, op_jitter: {cv: 0.1 %}}"
    found = what_if(loaded(tmp_path, LONE, noise), 10, jobs=1).figures["mean_itl_ms"].sources

    assert found["device_spread"].first.value > 0.95
    assert found["op_jitter"].total.value < 0.05


def test_failures_of_the_noise_are_a_source(tmp_path: Path) -> None:
    """Failures that a noise preset draws are exchanged as one source, and are not taken away device by device."""
    failures = "failures: {device_every: 1 s, device_repair: 100 ms, link_every: 1000 s, link_repair: 1 s}"
    scenario = loaded(tmp_path, CHAT, f"noise={{preset: none, {failures}}}")
    found = what_if(scenario, 2, jobs=1).figures["mean_e2el_ms"]

    assert ["arrivals", "output_tokens", "failures"] == list(found.sources)
    assert {} == found.entities
