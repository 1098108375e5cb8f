"""Noise of routing in stages and runs: what it changes and what not, and that its mean is that of the costs."""

from __future__ import annotations

import runpy
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_runs import loaded

from simcluster.catalog.shapes import Moe
from simcluster.noise.experts import MAX_EXPERTS, routings
from simcluster.noise.sources import Noise
from simcluster.plans.planner import Planner
from simcluster.plans.prices import Prices
from simcluster.results.run import simulate
from simcluster.scenario.crosscheck import crosscheck
from simcluster.scenario.drawn import devices_drawn, drawn_sources
from simcluster.scenario.load import load
from simcluster.scenario.resolved import Scenario
from simcluster.stages.routing import KNOTS, ExpertFactors
from simcluster.trace.columns import COMPONENT
from simcluster.variance.what_if import what_if
from simcluster.work.batch import Batch

MIXTRAL = """
model: mixtral-8x7b
topology: h100-8
deployment: {tensor_parallel_size: 2}
workload:
  arrivals: {kind: closed, concurrency: 4}
  prompt_tokens: {kind: fixed, value: 16}
  output_tokens: {kind: fixed, value: 40}
  requests: 8
noise: {preset: none, moe_routing: {sigma: 40 %}}
"""
ONE = 2**16
DOCS = Path(__file__).resolve().parents[3] / "docs"


def mixtral(folder: Path, *settings: str, seed: int = 1) -> Scenario:
    return loaded(folder, MIXTRAL, *settings, seed=seed)


def stage(scenario: Scenario, number: int = 0) -> Any:
    plan = Planner(scenario).plan(0)
    assert not isinstance(plan, str)
    return plan.pipeline.stages[number]


def decode(n_tokens: int, context: int = 100) -> Batch:
    return Batch(n_tokens, n_tokens * context, 0, 0, 0, n_tokens, n_tokens)


def component(scenario: Scenario, name: str) -> np.ndarray:
    return np.asarray(simulate(scenario).tokens()[f"{name}_ticks"])


def without(scenario: Scenario) -> Scenario:
    return scenario.model_copy(update={"noise": scenario.noise.changed({}, ("moe_routing",))})


def test_the_fetch_of_the_experts_follows_the_touched_ones(tmp_path: Path) -> None:
    """By hand: each layer's experts take the costs' time for the touched ones over its mean, times the even time."""
    scenario = mixtral(tmp_path)
    noisy, quiet = stage(scenario), stage(without(scenario))
    prices, step, batch = Prices(scenario, scenario.pools[0]), 3, decode(4)
    costs = prices.timed_blocks(None).costs
    place = [op.name for op in costs.ops("moe")].index("experts")
    ops = [index for index, op in enumerate(prices.as_built(scenario.replicas[0].stages[0].layers).all_ops)
           if op.name == "experts"]  # fmt: skip
    assert scenario.pools[0].model.moe is not None
    touched = routings(scenario.pools[0].model.name, scenario.pools[0].model.moe, 0.4, tuple(range(32))).touched(4)
    drawn = noisy._noise.routing.slices.at(step)[0].astype(int) >> 10
    took = noisy.service(step, batch, 0).ops()
    even = quiet.service(step, batch, 0).ops()
    for layer, op in enumerate(ops):
        times = [costs.seconds("moe", batch.without_contexts(), float(n))[place].fetch for n in touched[layer]]
        ratio = times[drawn[layer]] / np.mean(times)
        assert took.fetch[op] == pytest.approx(even.fetch[op] * ratio, rel=2e-5)
        assert took.compute[op] <= took.fetch[op]
    others = np.setdiff1d(np.arange(len(took.fetch)), ops)
    for part, expected in zip(took, even, strict=True):
        assert np.abs(part[others] - expected[others]).max() <= 1


def test_only_the_fetch_of_weights_changes(tmp_path: Path) -> None:
    """In decode steps of four tokens the weight fetch varies and every other component is as without the source."""
    batch = decode(4)
    noisy, quiet = (stage(scenario) for scenario in (mixtral(tmp_path), without(mixtral(tmp_path))))
    runs = [model.components(0, batch, 200) for model in (noisy, quiet)]
    others = [place for name, place in COMPONENT.items() if name != "weight_fetch"]
    assert runs[0][:, others].tolist() == runs[1][:, others].tolist()
    fetch = [rows[:, COMPONENT["weight_fetch"]] for rows in runs]
    assert fetch[0].std() > 0.01 * fetch[0].mean()
    assert fetch[1].std() == 0


def test_a_run_is_its_steps_and_a_step_its_ops(tmp_path: Path) -> None:
    """With jitter too, and across blocks of draws, a run, each step alone, and its ops have the same ticks."""
    scenario = mixtral(tmp_path, "noise={preset: none, moe_routing: {sigma: 80 %}, op_jitter: {cv: 90 %}}")
    model = stage(scenario)
    first, batch = 240, decode(3)
    run = model.run(first, batch, 40, 0)
    for n in range(len(run.ticks)):
        alone = model.service(first + n, decode(3, 100 + n), 0)
        assert alone.components == run.components[n].tolist()
        assert alone.ops().total() == alone.ticks == run.ticks[n]
        assert min(part.min() for part in alone.ops()) >= 0


def test_routing_multiplies_the_jitter(tmp_path: Path) -> None:
    """An op of experts has its jitter's factor times its routing's, within their rounding, in steps of any block."""
    settings = ("noise={preset: none, moe_routing: {sigma: 80 %}, op_jitter: {cv: 50 %}}",)
    noise, batch = stage(mixtral(tmp_path, *settings))._noise, decode(3)
    factors = noise.routing.factors.of(batch)
    for step in (0, 255, 256, 700):
        jitter = noise.ops(step).factors[list(noise.routing.ops)]
        drawn = noise.routing.slices.at(step)[0].astype(int) >> 10
        product = jitter * factors[np.arange(32), drawn] / ONE
        assert np.abs(jitter + noise.routed(step, 1, batch)[0] - product).max() <= 0.5


def test_the_same_uniform_whatever_the_batch(tmp_path: Path) -> None:
    """
    Steps of four and of five tokens read the same uniforms: how their fetches go together is as that makes it.

    Were they drawn apart, the correlation over 500 steps would be none within 0.18; the tables, read at the same
    places, say 0.8 or so, and it is that within 4 standard errors.
    """
    scenario = mixtral(tmp_path)
    model = stage(scenario)
    fetch = [model.components(0, decode(n), 500)[:, COMPONENT["weight_fetch"]] for n in (4, 5)]
    found = model._noise.routing.factors
    four, five = (found.of(decode(n)) - found.of(decode(n)).mean(axis=1, keepdims=True) for n in (4, 5))
    expected = (four * five).sum() / np.sqrt((four**2).sum() * (five**2).sum())

    assert expected > 0.5
    assert abs(np.corrcoef(fetch)[0, 1] - expected) < 4 * (1 - expected**2) / np.sqrt(500)


@pytest.mark.parametrize("sigma", ["0 %", "80 %"])
def test_the_mean_stays_that_of_the_costs(tmp_path: Path, sigma: str) -> None:
    """The mean fetch over 4,000 decode steps is that without the source within 4 standard errors, however uneven."""
    scenario = mixtral(tmp_path, f"noise.moe_routing.sigma={sigma}")
    fetch, quiet = (
        np.concatenate([
            s.components(start, decode(4), 500)[:, COMPONENT["weight_fetch"]] for start in range(0, 4000, 500)
        ])
        for s in (stage(scenario), stage(without(scenario)))
    )  # fmt: skip

    assert abs(fetch.mean() - quiet.mean()) < 4 * fetch.std() / np.sqrt(len(fetch))


@pytest.mark.parametrize("n_tokens", [2, 5, 32, 100, 3000])
@pytest.mark.parametrize("has_prefill", [False, True])
def test_factors_have_mean_one_in_every_layer(tmp_path: Path, n_tokens: int, has_prefill: bool) -> None:
    """Over its routings the factor of each layer is 1 within its rounding, never negative, and ascending."""
    scenario = mixtral(tmp_path)
    assert scenario.pools[0].model.moe is not None
    costs = Prices(scenario, scenario.pools[0]).timed_blocks(None).costs
    found = ExpertFactors(costs, routings("x", scenario.pools[0].model.moe, 0.8, (0, 1, 2)))
    factors = found.of(Batch(0, 0, n_tokens) if has_prefill else Batch(n_tokens))

    assert np.abs(factors.mean(axis=1) / ONE - 1).max() < 1 / ONE
    assert factors.min() >= 0
    assert (np.diff(factors, axis=1) >= 0).all()


def test_knots_are_a_sixteenth_apart() -> None:
    """Up to 32 each number of tokens has its own factors; no knot is more than a sixteenth above the one before."""
    assert list(range(1, 33)) == [knot for knot in KNOTS if knot <= 32]
    assert max((b - a) * 16 / a for a, b in pairwise(KNOTS) if a >= 16) <= 1
    assert KNOTS[-1] > 10**6


def test_the_draws_of_other_sources_stay(tmp_path: Path) -> None:
    """With all sources of a preset: jitter, skew, short exchanges and pace are those of the world without routing."""
    scenario = mixtral(tmp_path, "noise=noisy")
    with_it, without_it = stage(scenario), stage(without(scenario))
    assert with_it._stage._noise.routing is not None
    assert without_it._stage._noise.routing is None
    for step in (0, 5, 300):
        one, other = (model._stage._noise.ops(step) for model in (with_it, without_it))
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
        assert with_it._pace.at(step * 10**10) == without_it._pace.at(step * 10**10)
        assert with_it._pace.next_stall(step * 10**10) == without_it._pace.next_stall(step * 10**10)


def test_a_replica_more_leaves_the_routing(tmp_path: Path) -> None:
    """The first replica serves its request in the same ticks with or without a second one."""
    settings = ["workload.requests=1", "workload.output_tokens.value=30"]
    one, two = (
        simulate(mixtral(tmp_path, *settings, f"deployment.replicas={n}")).summary["trace_digest"] for n in (1, 2)
    )

    assert one == two


ROUTED_ONLY = "{preset: none, moe_routing: {sigma: 40 %}}"


@pytest.mark.parametrize("stages", [1, 2])
@pytest.mark.parametrize("noise", [ROUTED_ONLY, "noisy"])
def test_op_and_auto_give_the_same_trace(tmp_path: Path, stages: int, noise: str) -> None:
    """Op by op and whole steps give the same bytes, with one stage or two."""
    settings = [f"deployment.pipeline_parallel_size={stages}", f"noise={noise}"]
    digests = {
        simulate(mixtral(tmp_path, *settings, f"fidelity={fidelity}")).summary["trace_digest"]
        for fidelity in ("auto", "op")
    }  # fmt: skip

    assert len(digests) == 1


@pytest.mark.parametrize("stages", [1, 2])
def test_message_by_message_the_experts_take_as_long(tmp_path: Path, stages: int) -> None:
    """Message by message, tokens have the same arithmetic and fetches; exchanges are rounded on their own."""
    settings = [f"deployment.pipeline_parallel_size={stages}", f"noise={ROUTED_ONLY}"]
    auto, message = (
        simulate(mixtral(tmp_path, *settings, f"fidelity={fidelity}")).tokens() for fidelity in ("auto", "message")
    )

    for name in ("request", "step", "compute_ticks", "weight_fetch_ticks", "kv_fetch_ticks", "launch_host_ticks"):
        assert auto[name].tolist() == message[name].tolist()


@pytest.mark.parametrize("preset", ["datacenter", "noisy", "workstation", "shared-network"])
def test_a_model_without_experts_has_none_of_it(preset: str) -> None:
    """A dense model has the trace that it has without the source, and does not mention it."""
    changes = ["workload.requests=4", "workload.output_tokens={kind: fixed, value: 10}"]
    full = load("chat-70b-8xh100", [*changes, f"noise={preset}"])
    less = load("chat-70b-8xh100", [*changes, f"noise={{preset: {preset}, without: [moe_routing]}}"])

    assert simulate(full).summary["trace_digest"] == simulate(less).summary["trace_digest"]
    assert full.assumptions == less.assumptions
    assert "moe_routing" not in drawn_sources(full)
    noise = Noise(name="x", rows=tuple(row for row in full.noise.rows if row.source == "moe_routing"))
    assert stage(full.model_copy(update={"noise": noise}))._noise is None


def with_moe(scenario: Scenario, moe: Moe) -> Scenario:
    """The scenario with other experts in its model."""
    (pool,) = scenario.pools
    model = pool.model.model_copy(update={"moe": moe})
    return scenario.model_copy(update={"pools": (pool.model_copy(update={"model": model}),)})


def test_tokens_that_choose_all_experts_do_not_vary(tmp_path: Path) -> None:
    """If a token chooses all experts, nothing is drawn, and the trace is that without the source."""
    scenario = mixtral(tmp_path)
    assert scenario.pools[0].model.moe is not None
    scenario = with_moe(scenario, scenario.pools[0].model.moe.model_copy(update={"top_k": 8}))

    assert [] == drawn_sources(scenario)
    digests = {simulate(one).summary["trace_digest"] for one in (scenario, without(scenario))}
    assert len(digests) == 1


def test_one_token_at_a_time_does_not_vary(tmp_path: Path) -> None:
    """A request alone, with a prompt of a token, touches k experts in every layer and step: the trace is the same."""
    scenario = mixtral(tmp_path, "workload.requests=1", "workload.prompt_tokens.value=1")

    assert simulate(scenario).summary["trace_digest"] == simulate(without(scenario)).summary["trace_digest"]


def test_on_a_wafer_it_is_streamed_experts_that_vary() -> None:
    """A wafer with its weights at hand has the same trace with and without; one that streams them has not."""
    stated = "noise={preset: none, moe_routing: {sigma: 40 %}}"
    workload = ["workload.arrivals={kind: closed, concurrency: 2}", "workload.requests=2",
                "workload.output_tokens={kind: fixed, value: 6}"]  # fmt: skip
    resident = load("gpt4-1.8t-60xwse3-w8", [*workload, stated])
    streamed = load("gpt3-175b-memoryx-streaming", [*workload, stated, "model=mixtral-8x7b"])

    assert ["moe_routing"] == drawn_sources(streamed)
    assert [] == drawn_sources(resident)
    digests = [[simulate(s).summary["trace_digest"] for s in (one, without(one))] for one in (resident, streamed)]
    assert digests[0][0] == digests[0][1]
    assert digests[1][0] != digests[1][1]


def test_it_can_be_redrawn_and_explains_all_variance(tmp_path: Path) -> None:
    """In a world with nothing else drawn the source has the whole variance, total and first order."""
    scenario = mixtral(tmp_path)
    found = what_if(scenario, 3, jobs=1)
    effect = found.figures["mean_itl_ms"].sources["moe_routing"]

    assert ["moe_routing"] == drawn_sources(scenario)
    assert ["gpu0"] == devices_drawn(scenario, "moe_routing")
    assert effect.total.value == pytest.approx(1)
    assert effect.first.value == pytest.approx(1)


def test_a_redrawn_world_routes_differently(tmp_path: Path) -> None:
    """Another seed of the source changes weight fetches only; the seed of the run changes nothing then."""
    scenario = mixtral(tmp_path)
    other = scenario.model_copy(update={"source_seeds": {"moe_routing": 9}})
    held = [
        s.model_copy(update={"source_seeds": {"moe_routing": 9}, "seed": n})
        for n, s in ((3, scenario), (4, scenario))
    ]

    assert simulate(scenario).summary["trace_digest"] != simulate(other).summary["trace_digest"]
    assert len({simulate(s).summary["trace_digest"] for s in held}) == 1


def test_too_many_experts_are_refused(tmp_path: Path) -> None:
    """More experts than are sampled is a fault of the scenario, unless the source is left out."""
    scenario = mixtral(tmp_path)
    assert scenario.pools[0].model.moe is not None
    moe = scenario.pools[0].model.moe.model_copy(update={"experts": MAX_EXPERTS + 1})
    many = with_moe(scenario, moe)

    assert [("noise",)] == [path for path, *_ in crosscheck(many)]
    assert [] == list(crosscheck(without(many)))


def test_the_page_has_the_spread_of_today() -> None:
    """The table of docs/noise.md is what `docs/examples/routing.py` prints now."""
    page = (DOCS / "noise.md").read_text(encoding="utf-8").splitlines()
    rows = runpy.run_path(str(DOCS / "examples" / "routing.py"))["table"]()

    assert [] == [row for row in rows if row not in page]
