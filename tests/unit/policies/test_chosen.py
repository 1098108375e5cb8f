"""Policies that a caller passes: what they may do, what is refused, and what a run records."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from support import GivenService, Played, linear_stage, load, plan, play

import simcluster
from simcluster.policies.admission import chunks
from simcluster.policies.checks import PolicyError
from simcluster.policies.chosen import Policies, source_sha256
from simcluster.policies.routers import least_loaded
from simcluster.policies.schedulers import fcfs, steady_decode
from simcluster.policies.views import Decision, RequestView, Room, RouterView, SchedulerView
from simcluster.results.replications import read_all, replicate

ONE = ["workload.requests=6", "workload.output_tokens.value=5", "noise=none"]


def last_come_first(view: SchedulerView) -> Decision:
    """Admit the youngest waiting request first."""
    return fcfs(view._replace(waiting=sorted(view.waiting, key=lambda request: -request.request)))


def youngest(waiting: list[RequestView], room: Room) -> list[tuple[int, int]]:
    """Admit the youngest first."""
    return chunks(sorted(waiting, key=lambda request: -request.request), room)


@steady_decode(admit=youngest)
def last_come_first_together(view: SchedulerView) -> Decision:
    """As `last_come_first`, with fused decode steps."""
    return last_come_first(view)


@pytest.mark.parametrize("scheduler", [last_come_first, last_come_first_together])
def test_requests_are_admitted_in_any_order(scheduler: Callable[[SchedulerView], Decision]) -> None:
    """A scheduler that admits the youngest first does so in both fidelities, to the byte."""
    runs = [with_scheduler(scheduler, fidelity) for fidelity in ("auto", "op")]
    first = runs[0].requests["first_token_at_ticks"].tolist()

    assert [0, 3, 2, 1] == sorted(range(4), key=first.__getitem__)
    assert runs[0].digest == runs[1].digest


def with_scheduler(scheduler: Callable[[SchedulerView], Decision], fidelity: str = "auto") -> Played:
    """Simulate four requests that arrive while the first one occupies the only place."""
    ops = [{"compute": (30, 1, 2)}, {"wait": (1, 0, 0)}]
    one = replace(plan([linear_stage(ops)], max_running=1, block_size=4, n_blocks=20), scheduler=scheduler)
    return play([one], load([0, 1, 2, 3], [3, 2, 4, 1], [3, 2, 2, 3]), fidelity=fidelity)


def deciding(decide: Callable[[SchedulerView], Decision]) -> Callable[[SchedulerView], Decision]:
    """Make a scheduler that makes this wrong decision once."""

    def wrong(view: SchedulerView) -> Decision:
        return decide(view)

    return wrong


@pytest.mark.parametrize(
    ("decide", "rule"),
    [
        (lambda view: Decision([(99, 1)], []), "request 99: it grants tokens to a request that can take no part"),
        (lambda view: Decision([(0, 1), (0, 1)], []), "request 0: it grants tokens to a request twice"),
        (lambda view: Decision([(0, 0)], []), "request 0: it grants 0 tokens to a request with 3 pending"),
        (lambda view: Decision([(0, 4)], []), "request 0: it grants 4 tokens to a request with 3 pending"),
        (lambda view: Decision([], [0]), "request 0: it preempts a request that is not running"),
    ],
)
def test_a_wrong_decision_names_policy_request_and_rule(
    decide: Callable[[SchedulerView], Decision], rule: str
) -> None:
    """A decision that is not possible ends the run with what was wrong, whichever way it is simulated."""
    for fidelity in ("auto", "op"):
        with pytest.raises(PolicyError) as error:
            with_scheduler(deciding(decide), fidelity)
        assert str(error.value).startswith(f"policy 'wrong', {rule}")


def test_a_wrong_declaration_is_found() -> None:
    """A scheduler that decides otherwise than its `steady_decode` says is reported."""
    wrong = steady_decode(admit=chunks)(deciding(last_come_first))
    with pytest.raises(PolicyError, match=r"policy 'wrong', request \d: it declares by steady_decode that this step"):
        with_scheduler(wrong)
    lazy = steady_decode(admit=lambda waiting, room: [])(deciding(fcfs))
    with pytest.raises(PolicyError, match="request 0: it declares by steady_decode that this step computes 0 of"):
        with_scheduler(lazy)


@pytest.mark.parametrize("fidelity", ["auto", "op"])
def test_requests_that_are_never_served_are_reported(fidelity: str) -> None:
    """A scheduler that grants nothing does not end a run as if nothing were amiss."""
    idle = deciding(lambda view: Decision([], []))
    with pytest.raises(PolicyError, match="policy 'wrong', request 0: it leaves it without tokens, and 4 requests"):
        with_scheduler(idle, fidelity)


def test_what_is_no_decision_is_reported() -> None:
    """A scheduler that returns something else, or tokens that are not whole, is reported by name."""
    with pytest.raises(PolicyError, match="policy 'wrong' returned None; expected a Decision"):
        with_scheduler(deciding(lambda view: None))
    with pytest.raises(PolicyError, match=r"request 0: it grants 1\.0 tokens"):
        with_scheduler(deciding(lambda view: Decision([(0, 1.0)], [])))


def test_more_tokens_or_blocks_than_there_are() -> None:
    """The token budget of a step and the free KV blocks are limits of every decision."""
    everything = deciding(lambda view: Decision([(r.request, r.pending) for r in view.waiting], []))
    stage = GivenService(lambda step, batch: 5)
    requests = load([0, 0], [6, 6], [1, 1])
    tight = plan([stage], max_tokens=10)
    with pytest.raises(PolicyError, match="request 1: it grants more than the 10 tokens of a step"):
        play([replace(tight, scheduler=everything)], requests)
    full = plan([stage], n_blocks=10)
    with pytest.raises(PolicyError, match="request 1: it grants tokens that need 2 KV blocks more than are free"):
        play([replace(full, scheduler=everything)], requests)
    crowded = plan([stage], max_running=1)
    with pytest.raises(PolicyError, match="request 1: it grants to more than 1 requests of a step"):
        play([replace(crowded, scheduler=everything)], requests)


def test_a_router_must_choose_a_replica_that_accepts() -> None:
    """A router that names no replica is reported with those it could have named."""

    def lost(view: RouterView) -> int:
        return 7

    two = [plan([GivenService(lambda step, batch: 5)])] * 2
    with pytest.raises(PolicyError, match=r"policy 'lost', request 0: it chose replica 7; .* accepts it: 0, 1"):
        play(two, load([0], [1], [1]), lost)


def test_names_and_pools() -> None:
    """Policies may be named, and schedulers given by pool; unknown names are refused with the nearest known one."""
    named = Policies(scheduler="prefill_first", router="least_loaded")
    assert "prefill_first" == named.scheduler_of("any").__name__
    assert named.chosen_router() is least_loaded
    by_pool = Policies(scheduler={"gpus": last_come_first})
    assert (last_come_first, None) == (by_pool.scheduler_of("gpus"), by_pool.scheduler_of("wafers"))
    with pytest.raises(PolicyError, match="unknown scheduler 'fcsf'; did you mean 'fcfs'"):
        Policies(scheduler="fcsf").scheduler_of("any")


def test_the_source_is_part_of_the_digest() -> None:
    """A run under another policy of the same effect has another digest, and names it; else none is named."""
    scenario = simcluster.load("llama-3.1-8b-1xwse3", ONE[1:])
    plain = simcluster.simulate(scenario).summary
    given = simcluster.simulate(scenario, policies=Policies(scheduler=last_come_first)).summary

    assert plain["mean_itl_ms"] == given["mean_itl_ms"]
    assert plain["trace_digest"] != given["trace_digest"]
    assert "policies" not in plain
    known = {"name": "last_come_first", "sha256": source_sha256(last_come_first)}
    assert {"scheduler": known} == given["policies"]


def test_values_of_a_closure_are_hashed() -> None:
    """The same source with other closure values has another hash; with equal values the same."""

    def ordered(by: dict[int, int]) -> Callable[[SchedulerView], Decision]:
        return lambda view: fcfs(view._replace(running=sorted(view.running, key=lambda r: by.get(r.request, 0))))

    assert source_sha256(ordered({1: 2})) == source_sha256(ordered({1: 2}))
    assert source_sha256(ordered({1: 2})) != source_sha256(ordered({1: 3}))


@pytest.mark.parametrize("jobs", [1, 2])
def test_policies_travel_to_workers(tmp_path: Path, jobs: int) -> None:
    """Replications under a policy are the runs of `simulate` under it, in this process and in others."""
    scenario = simcluster.load("chat-8b-8xh100-failures", ["workload.requests=20", "noise=none"])
    policies = Policies(scheduler=last_come_first, router=least_loaded)
    replicate(scenario, 2, tmp_path / "runs", jobs=jobs, policies=policies)
    made = [run.summary["trace_digest"] for run in read_all(tmp_path / "runs")]
    expected = [
        simcluster.simulate(scenario.model_copy(update={"seed": seed}), policies=policies).summary["trace_digest"]
        for seed in (scenario.seed, scenario.seed + 1)
    ]

    assert expected == made
