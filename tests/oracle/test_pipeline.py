"""Pipelines against the tandem recursion D[n,k] = max(D[n-1,k], D[n,k-1]) + S[n,k], exact to the tick."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import accumulate

import numpy as np
import numpy.typing as npt
import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st
from support import GivenService, Played, load, plan, play

from simcluster.kernel.chain import Chain
from simcluster.kernel.clock import DECIDE, after
from simcluster.kernel.pipeline import Pipeline
from simcluster.kernel.step import Step
from simcluster.kernel.tandem import Tandem
from simcluster.plans.replica_plan import FlowLoad, PipelinePlan, Wire
from simcluster.work.batch import Batch

Ticks = npt.NDArray[np.int64]


def stages(services: Ticks) -> list[GivenService]:
    """One stage per row of services, shape (stages, steps): what step k takes in it."""

    def ticks(row: list[int]) -> Callable[[int, Batch], int]:
        return lambda step, _: row[step]

    return [GivenService(ticks(row)) for row in services.tolist()]


def departures(arrivals: list[int], services: Ticks, hops: list[int]) -> list[int]:
    """When each step leaves the last stage of a first-in first-out tandem with hops of some ticks between stages."""
    ready = np.array(arrivals)
    for row, hop in zip(services, [0, *hops], strict=True):
        ready = ready + hop
        left = 0
        for step, (arrived, service) in enumerate(zip(ready.tolist(), row.tolist(), strict=True)):
            left = max(arrived, left) + service
            ready[step] = left
    return ready.tolist()


@pytest.mark.parametrize("fidelity", ["auto", "op"])
@pytest.mark.parametrize("n_stages", [1, 2, 3, 7])
def test_one_token_jobs_pass_as_through_a_tandem_of_queues(n_stages: int, fidelity: str) -> None:
    """Requests of one token, one a step, leave n stages when the recursion says so, wherever they wait."""
    generator = np.random.default_rng(n_stages)
    n_steps = 300
    services = generator.integers(1, 100, (n_stages, n_steps))
    arrivals = np.sort(generator.integers(0, 100 * n_steps // 2, n_steps)).tolist()
    hops = generator.integers(0, 40, n_stages - 1).tolist()

    run = play(
        [plan(stages(services), hops, max_tokens=1)],
        load(arrivals, [1] * n_steps, [1] * n_steps),
        fidelity=fidelity,
    )

    assert departures(arrivals, services, hops) == run.requests["last_token_at_ticks"].tolist()
    assert [] == run.violations()


def autoregressive(
    n_stages: int, n_requests: int, n_tokens: int, seed: int, return_ticks: int = 0
) -> tuple[Played, Ticks]:
    """Requests whose tokens follow one another through random services, one request a step."""
    generator = np.random.default_rng(seed)
    services = generator.integers(1, 100, (n_stages, n_requests * n_tokens))
    run = play(
        [plan(stages(services), return_ticks=return_ticks, max_tokens=1)],
        load([0] * n_requests, [1] * n_requests, [n_tokens] * n_requests),
    )
    return run, services


@pytest.mark.parametrize(("n_stages", "n_requests", "return_ticks"), [(2, 2, 0), (3, 5, 17), (6, 4, 30), (4, 12, 5)])
def test_tokens_of_many_requests_in_flight_pass_as_through_a_tandem(
    n_stages: int, n_requests: int, return_ticks: int
) -> None:
    """With a token of each of several requests in flight, every step leaves when the recursion says it can."""
    run, services = autoregressive(n_stages, n_requests, 40, n_stages, return_ticks)
    of_step = np.argsort(run.tokens["step"])
    request, token, emitted = (run.tokens[name][of_step] for name in ("request", "token", "emitted_at_ticks"))

    back: dict[int, int] = {}
    expected = []
    left = [0] * n_stages
    for step, (number, index) in enumerate(zip(request.tolist(), token.tolist(), strict=True)):
        ready = back[number] if index else 0
        for stage in range(n_stages):
            left[stage] = ready = max(ready, left[stage]) + int(services[stage, step])
        back[number] = ready + return_ticks
        expected.append(ready)

    assert list(range(n_requests * 40)) == run.tokens["step"][of_step].tolist()
    assert expected == emitted.tolist()
    assert [] == run.violations()


def test_a_lone_request_pays_every_stage_every_hop_and_the_way_back() -> None:
    """A token of a lone request takes the sum of services and hops, and but for the first the way back."""
    services = np.array([[7] * 5, [11] * 5, [2] * 5])
    run = play([plan(stages(services), [3, 4], return_ticks=6)], load([0], [1], [5]))

    assert [27, 27 + 33, 27 + 66, 27 + 99, 27 + 132] == run.emitted(0)


def test_as_many_requests_as_stages_keep_an_even_pipeline_full() -> None:
    """With n equal stages and n requests of one token a step, a token leaves every service time."""
    services = np.full((4, 400), 10)
    run = play([plan(stages(services), max_tokens=1)], load([0] * 4, [1] * 4, [100] * 4))

    assert [40 + 10 * step for step in range(400)] == run.tokens["emitted_at_ticks"].tolist()


def test_the_slowest_stage_sets_the_pace() -> None:
    """With many requests the time between tokens is the slowest stage's service, whatever the others take."""
    services = np.array([[3], [19], [8]]) * np.ones((1, 600), np.int64)
    run = play([plan(stages(services), max_tokens=1)], load([0] * 6, [1] * 6, [100] * 6))

    assert {19} == set(np.diff(run.tokens["emitted_at_ticks"]).tolist())


def test_two_stages_are_never_slower_than_both_in_one() -> None:
    """Splitting a stage in two never makes the last of many one-token requests later."""
    generator = np.random.default_rng(5)
    services = generator.integers(1, 50, (2, 200))
    requests = load([0] * 200, [1] * 200, [1] * 200)
    split = play([plan(stages(services), max_tokens=1)], requests)
    whole = play([plan(stages(services.sum(axis=0, keepdims=True)), max_tokens=1)], requests)

    assert (split.requests["last_token_at_ticks"] <= whole.requests["last_token_at_ticks"]).all()


def test_waiting_in_the_pipeline_is_reported_apart_from_work() -> None:
    """What a step waits for a busy later stage is pipeline wait, and only that."""
    services = np.array([[5, 5], [20, 20]])
    run = play([plan(stages(services), max_tokens=1)], load([0, 0], [1, 1], [1, 1]))

    # The second leaves the first stage at 10; the first leaves the second stage at 25.
    assert [0, 15] == (run.tokens["pipeline_wait_ticks"] + run.tokens["prefill_interference_ticks"]).tolist()
    assert [0, 5] == run.tokens["queue_ticks"].tolist()
    assert [25, 45] == run.tokens["emitted_at_ticks"].tolist()


def test_steps_do_not_overtake_between_stages() -> None:
    """A token of a prompt's second chunk is not made before the first chunk has reached the second stage."""
    two = plan([GivenService(lambda step, batch: batch.tokens), GivenService(lambda step, batch: 1)], max_tokens=10)
    wires = (Wire(lambda n_tokens: 100 * n_tokens, 0, lambda n_tokens: FlowLoad(0.0, ())),)
    two = replace(two, pipeline=replace(two.pipeline, wires=wires))
    run = play([two], load([0], [11], [1]))

    # Ten tokens leave the first stage at 10 and reach the second at 1010; the eleventh must come behind them.
    assert run.emitted(0)[0] > 1010


overlapping = st.tuples(st.integers(1, 20), st.floats(0, 1)).map(lambda one: (one[0], round(one[0] * one[1])))


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=8),
    st.lists(st.lists(overlapping, min_size=8, max_size=8), min_size=1, max_size=4),
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=3, max_size=3),
)
def test_stages_that_are_free_before_they_let_go_are_a_tandem(
    gaps: list[int], stages: list[list[tuple[int, int]]], wires: list[tuple[int, int]]
) -> None:
    """Steps leave when brute force says, in closed form, stage by stage and op by op; components sum to that."""
    arrivals = list(accumulate(gaps))
    expected = brute_force(arrivals, stages, wires)
    for pipeline_of in (
        lambda *given: Tandem(*given),
        lambda env, plan, *calls: Chain(env, plan, False, None, *calls),
        lambda env, plan, *calls: Chain(env, plan, True, None, *calls),
    ):
        left, steps = run_through(pipeline_of, arrivals, stages, wires)

        assert expected == left
        assert left == [step.entered + sum(step.for_prefill) for step in steps]
        assert left == [step.entered + sum(step.for_decode) for step in steps]


def brute_force(arrivals: list[int], stages: list[list[tuple[int, int]]], wires: list[tuple[int, int]]) -> list[int]:
    """When each step leaves the last of stages (service, occupied) and wires (busy, latency), one step at a time."""
    free_at, gone_at, on_wire_until = [0] * len(stages), [0] * len(stages), [0] * len(stages)
    left = []
    for number, at in enumerate(arrivals):
        for index, stage in enumerate(stages):
            service, occupied = stage[number]
            start = max(at, free_at[index])
            free_at[index] = start + occupied
            gone_at[index] = max(start + service, gone_at[index])
            at = gone_at[index]
            if index < len(stages) - 1:
                busy, latency = wires[index]
                on_wire_until[index] = max(at, on_wire_until[index]) + busy
                at = on_wire_until[index] + latency
        left.append(at)
    return left


def run_through(
    pipeline_of: Callable[..., Pipeline], arrivals: list[int], stages: list[list[tuple[int, int]]],
    wires: list[tuple[int, int]],
) -> tuple[list[int], list[Step]]:  # fmt: skip
    """Send steps through a pipeline as they come and as its first stage takes them; when each leaves."""
    env = simpy.Environment()
    left: list[int] = []
    waiting: list[int] = []
    steps: list[Step] = []
    services = [
        GivenService(lambda step, _, own=own: own[step][0], lambda step, _, own=own: own[step][1]) for own in stages
    ]

    def send() -> None:
        if waiting and not pipeline.busy:
            waiting.pop()
            step = Step(len(steps), int(env.now), Batch(1, 5, sequences=1), [], [], [])
            steps.append(step)
            pipeline.enter(step)

    def come() -> None:
        waiting.append(0)
        send()

    plan = PipelinePlan(
        tuple(services),
        tuple(
            Wire(lambda _, busy=busy: busy, latency, lambda _: FlowLoad(0.0, ()))
            for busy, latency in wires[: len(stages) - 1]
        ),
    )
    free = lambda step: after(env, 0, DECIDE, send)  # noqa: E731
    pipeline = pipeline_of(env, plan, free, lambda step: left.append(int(env.now)))
    for arrival in arrivals:
        after(env, arrival, DECIDE, come)
    env.run()
    return left, steps
