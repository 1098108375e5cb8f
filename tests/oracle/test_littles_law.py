"""Little's law as an identity of integers: on a path that begins and ends empty, time adds up either way."""

from __future__ import annotations

import numpy as np
import pytest
from support import Played, linear_stage, load, plan, play

from simcluster.policies.routers import ROUTERS

OPS = [{"launch": (3, 0, 0), "compute": (2, 1, 2), "fetch": (4, 2, 0), "exchange": (1, 0, 1)}]


def busy_run(n_stages: int, n_replicas: int, router: str, concurrency: int | None = None) -> Played:
    """Requests that queue, are chunked and are preempted."""
    generator = np.random.default_rng(n_stages)
    n = 120
    requests = load(
        np.sort(generator.integers(0, 4000, n)).tolist(),
        generator.integers(1, 20, n).tolist(),
        generator.integers(1, 12, n).tolist(),
        concurrency,
    )
    stages = [linear_stage(OPS) for _ in range(n_stages)]
    plans = [
        plan(stages, [5] * (n_stages - 1), 7 * (n_stages > 1), n_blocks=12, block_size=3, max_running=5, max_tokens=8)
        for _ in range(n_replicas)
    ]
    return play(plans, requests, ROUTERS[router])


def integral_of_number(begins: np.ndarray, ends: np.ndarray) -> int:
    """Integral over time of how many have begun and not ended, swept event by event."""
    events = sorted([(tick, 1) for tick in begins.tolist()] + [(tick, -1) for tick in ends.tolist()])
    area = number = last = 0
    for tick, change in events:
        area += number * (tick - last)
        number, last = number + change, tick
    return area


@pytest.mark.parametrize(("n_stages", "n_replicas"), [(1, 1), (1, 3), (4, 1), (3, 2)])
@pytest.mark.parametrize("router", sorted(ROUTERS))
def test_requests_in_system(n_stages: int, n_replicas: int, router: str) -> None:
    """The sum of all latencies, token by token, is the integral of the number of requests in the system."""
    run = busy_run(n_stages, n_replicas, router)
    sums = sum(
        int(run.tokens[name].sum()) for name in run.tokens if name.endswith("_ticks") and name != "emitted_at_ticks"
    )

    assert integral_of_number(run.requests["arrived_at_ticks"], run.requests["last_token_at_ticks"]) == sums
    assert run.requests["preemptions"].sum() > 0


@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_closed_loop_is_always_as_full_as_it_may_be(concurrency: int) -> None:
    """In a closed loop the number in system is the concurrency until the last request has arrived."""
    run = busy_run(1, 2, "least_loaded", concurrency)
    arrived, last = run.requests["arrived_at_ticks"], run.requests["last_token_at_ticks"]
    until = int(arrived.max())

    expected = concurrency * until
    assert expected == integral_of_number(np.minimum(arrived, until), np.minimum(last, until))


def test_tokens_on_their_way() -> None:
    """The sum of inter-token latencies is the integral of the number of requests between first and last token."""
    run = busy_run(2, 2, "round_robin")
    gaps = run.tokens["token"] > 0
    sums = sum(int(c[gaps].sum()) for n, c in run.tokens.items() if n.endswith("_ticks") and n != "emitted_at_ticks")

    assert integral_of_number(run.requests["first_token_at_ticks"], run.requests["last_token_at_ticks"]) == sums
