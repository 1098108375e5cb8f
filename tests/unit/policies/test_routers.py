"""Routers: which replica an arriving request goes to."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from simcluster.policies.routers import ROUTERS, least_loaded, round_robin
from simcluster.policies.views import ReplicaView, RouterView


def view(number: int, loads: list[int], down: frozenset[int] = frozenset()) -> RouterView:
    """A request that finds replicas with these loads."""
    replicas = (ReplicaView(replica, "pool", load, replica not in down) for replica, load in enumerate(loads))
    return RouterView(number, 1, tuple(replicas))


@st.composite
def views(draw: st.DrawFn) -> RouterView:
    loads = draw(st.lists(st.integers(0, 50), min_size=1, max_size=9))
    down = draw(st.frozensets(st.integers(0, len(loads) - 1), max_size=len(loads) - 1))
    return view(draw(st.integers(0, 10**6)), loads, down)


@given(views())
def test_every_router_names_a_replica_that_accepts(seen: RouterView) -> None:
    """Every request is sent to a replica that is up and can hold it."""
    for router in ROUTERS.values():
        assert router(seen) in {replica.replica for replica in seen.accepting}


@given(st.integers(1, 9), st.integers(0, 1000))
def test_turns_are_even(n_replicas: int, first: int) -> None:
    """Any n requests in a row go to n different replicas."""
    chosen = [round_robin(view(number, [0] * n_replicas)) for number in range(first, first + n_replicas)]

    assert set(range(n_replicas)) == set(chosen)


@given(views())
def test_the_least_loaded_is_the_first_of_those_with_fewest(seen: RouterView) -> None:
    """No accepting replica has fewer requests than the chosen one, and none before it as few."""
    chosen = least_loaded(seen)
    loads = {replica.replica: replica.in_system for replica in seen.accepting}

    assert min(loads.values()) == loads[chosen]
    assert all(load > loads[chosen] for replica, load in loads.items() if replica < chosen)
