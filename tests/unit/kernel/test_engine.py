"""Arrivals, refusals, closed loops and horizons."""

from __future__ import annotations

import numpy as np
import pytest
from support import GivenService, load, plan, play

from simcluster.policies.routers import least_loaded
from simcluster.policies.views import ReplicaView, RouterView

TEN = GivenService(lambda step, batch: 10)


def test_too_long_for_the_model_is_refused() -> None:
    """A request longer than max_model_len fails with its reason when it arrives, and the others go on."""
    run = play([plan([TEN])], load([0, 3, 4], [5, 50, 5], [2, 2, 2]), max_model_len=51)

    assert ["finished", "failed", "finished"] == run.requests["status"]
    assert ["", "longer than max_model_len (51 tokens)", ""] == run.requests["reason"]
    assert (3, -1, -1, -1) == tuple(
        run.requests[n][1] for n in ("arrived_at_ticks", "replica", "scheduled_at_ticks", "first_token_at_ticks")
    )


def test_exactly_as_long_as_the_limits_is_served() -> None:
    """A request of max_model_len tokens, all but the last of which fill the cache, is served."""
    run = play([plan([TEN], n_blocks=5, block_size=2)], load([0, 0], [8, 8], [3, 4]), max_model_len=11)

    assert ["finished", "failed"] == run.requests["status"]


def test_too_long_for_the_cache_is_refused() -> None:
    """A request that a replica could not even hold alone fails with its reason."""
    run = play([plan([TEN], n_blocks=5, block_size=2)], load([0, 0], [8, 8], [3, 4]))

    assert ["", "longer than the KV cache of a replica"] == run.requests["reason"]


@pytest.mark.parametrize("concurrency", [1, 2, 5])
def test_a_closed_loop_replaces_finished_requests(concurrency: int) -> None:
    """As many requests as the concurrency arrive at 0, and each later one when an earlier one ends."""
    run = play([plan([TEN], max_running=3)], load([0] * 9, [1] * 9, [2, 1, 3] * 3, concurrency))
    arrived, last = run.requests["arrived_at_ticks"], run.requests["last_token_at_ticks"]

    assert [0] * concurrency == arrived[:concurrency].tolist()
    assert np.sort(last)[: 9 - concurrency].tolist() == arrived[concurrency:].tolist()


def test_a_closed_loop_goes_on_after_a_refusal() -> None:
    """A refused request of a closed loop is replaced at once."""
    run = play([plan([TEN])], load([0] * 4, [1, 99, 99, 1], [1] * 4, 1), max_model_len=10)

    assert ["finished", "failed", "failed", "finished"] == run.requests["status"]
    assert [0, 10, 10, 10] == run.requests["arrived_at_ticks"].tolist()


def test_a_horizon_leaves_requests_unfinished() -> None:
    """At the horizon the run stops: events at or after it are not simulated, and the duration is the horizon."""
    run = play([plan([TEN])], load([0, 15, 99], [1, 1, 1], [3, 1, 1]), horizon_ticks=30)

    assert ["unfinished"] * 3 == run.requests["status"]
    assert [2, 0, 0] == run.requests["tokens_emitted"].tolist()
    assert [0, 15, 99] == run.requests["arrived_at_ticks"].tolist()
    assert 30 == run.duration_ticks


def test_a_horizon_after_the_end_does_nothing() -> None:
    """A run that ends before its horizon lasts until its last token."""
    run = play([plan([TEN])], load([0], [1], [3]), horizon_ticks=10**6)

    assert 30 == run.duration_ticks
    assert ["finished"] == run.requests["status"]


def test_a_closed_loop_at_its_horizon_has_requests_that_never_arrived() -> None:
    """Requests that had not arrived at the horizon of a closed loop have no time of arrival."""
    run = play([plan([TEN])], load([0] * 3, [1] * 3, [2] * 3, 1), horizon_ticks=25)

    assert [0, 20, -1] == run.requests["arrived_at_ticks"].tolist()
    assert [] == run.violations()


def test_routers_see_the_current_load() -> None:
    """A router sees prompt and load of every replica, ends of the same tick counted as gone."""
    seen: list[RouterView] = []

    def route(arrival: RouterView) -> int:
        seen.append(arrival)
        return least_loaded(arrival)

    play([plan([TEN], max_running=1)] * 2, load([0, 0, 5, 10], [3, 4, 5, 6], [1] * 4), route)

    loads = [(0, 0), (1, 0), (1, 1), (1, 0)]
    assert [
        RouterView(number, 3 + number, tuple(ReplicaView(r, "", load, True) for r, load in enumerate(both)), number)
        for number, both in enumerate(loads)
    ] == seen


def test_an_empty_run_is_a_run() -> None:
    """Without requests that can be served there is no token, no time, and no violation."""
    run = play([plan([TEN])], load([4], [9], [9]), max_model_len=5)

    assert 0 == run.duration_ticks
    assert 0 == len(run.tokens["token"])
    assert [] == run.violations()
