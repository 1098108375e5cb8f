"""A replica that serves one request at a time is a queue, and queueing theory gives its waits."""

from __future__ import annotations

import heapq
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from support import GivenService, Played, load, plan, play

from simcluster.numerics.streams import stream, uniforms
from simcluster.policies.routers import Router, least_loaded, round_robin
from simcluster.policies.views import RouterView
from simcluster.workload.materialise import Requests

Ticks = npt.NDArray[np.int64]


def poisson(n: int, mean_gap: float, *names: str) -> list[int]:
    """Arrivals of a Poisson process in whole ticks."""
    gaps = -mean_gap * np.log(uniforms(stream(0, *names), n))
    return np.rint(gaps.cumsum()).astype(np.int64).tolist()


def exponential(n: int, mean: float, *names: str) -> list[int]:
    """Services in whole ticks, 1 at least."""
    return np.maximum(1, np.rint(-mean * np.log(uniforms(stream(0, *names), n)))).astype(np.int64).tolist()


def one_at_a_time(n_replicas: int = 1) -> list:
    """Servers whose service takes one tick per prompt token."""
    return [plan([GivenService(lambda _, batch: batch.prefill_tokens)], max_running=1) for _ in range(n_replicas)]


def serve(arrivals: list[int], services: list[int], n: int = 1, router: Router = round_robin) -> Played:
    return play(one_at_a_time(n), load(arrivals, services, [1] * len(arrivals)), router)


def waits(run: Played) -> list[int]:
    """Time from arrival to the start of service."""
    return (run.requests["scheduled_at_ticks"] - run.requests["arrived_at_ticks"]).tolist()


def lindley(arrivals: list[int], services: list[int]) -> list[int]:
    """W[n+1] = max(0, W[n] + S[n] - A[n+1]), the waits in a single first-come first-served queue."""
    waits = [0]
    for previous, arrived, service in zip(arrivals, arrivals[1:], services, strict=False):
        waits.append(max(0, waits[-1] + service - (arrived - previous)))
    return waits


def kiefer_wolfowitz(arrivals: list[int], services: list[int], n_servers: int) -> list[int]:
    """Waits in one first-come first-served queue of several servers: each goes to the server that is free first."""
    free_at = [0] * n_servers
    waits = []
    for arrived, service in zip(arrivals, services, strict=True):
        start = max(arrived, heapq.heappop(free_at))
        heapq.heappush(free_at, start + service)
        waits.append(start - arrived)
    return waits


def least_work(requests: Requests, n_servers: int) -> Router:
    """Route to the replica that will be free first; unlike a policy of an engine it knows the services."""
    free_at = [0] * n_servers
    arrivals, services = requests.arrival_ticks.tolist(), requests.prompt_tokens.tolist()

    def route(arrival: RouterView) -> int:
        chosen = min(range(n_servers), key=free_at.__getitem__)
        free_at[chosen] = max(free_at[chosen], arrivals[arrival.number]) + services[arrival.number]
        return chosen

    return route


@pytest.mark.parametrize("load_ratio", [0.5, 0.9, 1.2])
def test_a_single_server_obeys_lindley(load_ratio: float) -> None:
    """Every wait in a queue with Poisson arrivals and exponential services is Lindley's, to the tick."""
    arrivals = poisson(2000, 1000 / load_ratio, "lindley", "arrivals")
    services = exponential(2000, 1000, "lindley", "services")
    run = serve(arrivals, services)

    assert lindley(arrivals, services) == waits(run)
    assert lindley(arrivals, services) == run.tokens["queue_ticks"].tolist()


def test_ties_of_arrivals_and_ends_obey_lindley() -> None:
    """Lindley holds to the tick when arrivals coincide with each other and with ends of services."""
    generator = np.random.default_rng(3)
    arrivals = np.sort(generator.integers(0, 600, 800)).tolist()
    services = generator.integers(1, 3, 800).tolist()

    assert lindley(arrivals, services) == waits(serve(arrivals, services))


@pytest.mark.parametrize("n", [2, 5])
def test_servers_in_turn_are_queues_of_their_own(n: int) -> None:
    """With requests dealt out in turn, every replica is a Lindley queue of its own share."""
    arrivals = poisson(1500, 1000 / n, "turn", "arrivals")
    services = exponential(1500, 900, "turn", "services")
    run = serve(arrivals, services, n, round_robin)

    actual = waits(run)
    for first in range(n):
        assert lindley(arrivals[first::n], services[first::n]) == actual[first::n]


@pytest.mark.parametrize("n", [2, 4])
def test_equal_services_in_turn_are_one_queue_of_several_servers(n: int) -> None:
    """With equal services the request n places earlier is done first, so turns give Kiefer-Wolfowitz waits."""
    arrivals = poisson(1500, 1000 / n, "equal", "arrivals")
    services = [900] * 1500

    assert kiefer_wolfowitz(arrivals, services, n) == waits(serve(arrivals, services, n, round_robin))


@pytest.mark.parametrize("n", [2, 4])
def test_least_work_routing_is_one_queue_of_several_servers(n: int) -> None:
    """Sent to the replica that is free first, requests wait as in one queue before several servers, to the tick."""
    arrivals = poisson(1500, 1000 / n, "work", "arrivals")
    services = exponential(1500, 900, "work", "services")
    requests = load(arrivals, services, [1] * 1500)
    run = play(one_at_a_time(n), requests, least_work(requests, n))

    assert kiefer_wolfowitz(arrivals, services, n) == waits(run)


def test_least_loaded_routing_joins_the_shortest_queue() -> None:
    """Sent to the fewest in system, ends of the same tick counted as gone, requests wait as the definition says."""
    arrivals = poisson(1000, 300, "short", "arrivals")
    services = exponential(1000, 900, "short", "services")
    departures: list[list[int]] = [[], [], []]
    expected = []
    for arrived, service in zip(arrivals, services, strict=True):
        present = [sum(left > arrived for left in queue) for queue in departures]
        queue = departures[present.index(min(present))]
        start = max([arrived, *queue[-1:]])
        queue.append(start + service)
        expected.append(start - arrived)

    assert expected == waits(serve(arrivals, services, 3, least_loaded))


def mean_wait(n_runs: int, n: int, mean_gap: float, services: Callable[[int], list[int]]) -> tuple[float, float]:
    """Mean wait over independent runs without their first requests, and its standard error."""
    means = []
    for number in range(n_runs):
        run = serve(poisson(n, mean_gap, "mean", str(number)), services(number))
        means.append(np.mean(waits(run)[n // 10 :]))
    return float(np.mean(means)), float(np.std(means, ddof=1) / np.sqrt(n_runs))


def test_mean_wait_with_equal_services() -> None:
    """M/D/1 at half load waits rho S / 2(1 - rho) = S/2 on average, within 4 standard errors of 20 runs."""
    mean, error = mean_wait(20, 1000, 2000, lambda number: [1000] * 1000)

    assert abs(mean - 500) < 4 * error
    assert error < 25  # the test can detect 10 % at four standard errors


def test_mean_wait_with_exponential_services() -> None:
    """M/M/1 at half load waits rho S / (1 - rho) = S on average, within 4 standard errors of 20 runs."""
    mean, error = mean_wait(20, 1000, 2000, lambda number: exponential(1000, 1000, "service", str(number)))

    assert abs(mean - 1000) < 4 * error
    assert error < 50


def test_later_never_hurts_those_before() -> None:
    """A first-come first-served queue is monotone: longer services make no request end earlier."""
    arrivals = poisson(500, 1000, "monotone", "arrivals")
    services = exponential(500, 900, "monotone", "services")
    longer = [ticks + index % 7 for index, ticks in enumerate(services)]
    before, after = (serve(arrivals, ticks).requests["last_token_at_ticks"] for ticks in (services, longer))

    assert (after >= before).all()


def test_an_idle_replica_changes_nothing() -> None:
    """A replica that is never chosen changes no byte of the trace."""
    arrivals = poisson(300, 1000, "idle", "arrivals")
    services = exponential(300, 900, "idle", "services")

    assert serve(arrivals, services).digest == serve(arrivals, services, 2, lambda _: 0).digest
