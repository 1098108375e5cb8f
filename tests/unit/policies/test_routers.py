"""Which replica an arriving request goes to."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from simcluster.policies.routers import ROUTERS, least_loaded, round_robin
from simcluster.policies.views import RouterView

arrivals = st.builds(
    RouterView,
    number=st.integers(0, 10**6),
    prompt_tokens=st.integers(1, 10**5),
    in_system=st.lists(st.integers(0, 50), min_size=1, max_size=9).map(tuple),
)


@given(arrivals)
def test_every_router_names_a_replica(arrival: RouterView) -> None:
    """Whatever arrives, it is sent to a replica that exists."""
    for router in ROUTERS.values():
        assert router(arrival) in range(len(arrival.in_system))


@given(st.integers(1, 9), st.integers(0, 1000))
def test_turns_are_even(n_replicas: int, first: int) -> None:
    """Any n requests in a row go to n different replicas."""
    load = (0,) * n_replicas
    chosen = [round_robin(RouterView(number, 1, load)) for number in range(first, first + n_replicas)]

    assert set(range(n_replicas)) == set(chosen)


@given(arrivals)
def test_the_least_loaded_is_the_first_of_those_with_fewest(arrival: RouterView) -> None:
    """Nobody has fewer requests than the chosen one, and nobody before it as few."""
    chosen = least_loaded(arrival)

    assert min(arrival.in_system) == arrival.in_system[chosen]
    assert all(n > arrival.in_system[chosen] for n in arrival.in_system[:chosen])
