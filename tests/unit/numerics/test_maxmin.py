"""Max-min fair rates: cases solved by hand, and certificates on random flows."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simcluster.numerics.maxmin import Uses, alone_rate, rates


def way(*links: int) -> Uses:
    """A plain message over some links."""
    return tuple((link, 1.0) for link in links)


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[Uses], list[float]]:
    """Up to a dozen flows on up to eight links, with weights and capacities over six decades."""
    capacities = draw(st.lists(st.floats(1e3, 1e9), min_size=1, max_size=8))
    used = st.dictionaries(st.integers(0, len(capacities) - 1), st.floats(1e-3, 1e3), min_size=1)
    flows = draw(st.lists(used, min_size=1, max_size=12))
    return [tuple(flow.items()) for flow in flows], capacities


@pytest.mark.parametrize(
    ("flows", "capacities", "expected"),
    [
        ([], [9.0], []),
        ([way(0), way(0), way(0)], [9.0], [3.0, 3.0, 3.0]),
        ([way(0, 1), way(0), way(1)], [2.0, 6.0], [1.0, 1.0, 5.0]),
        ([way(0, 1, 2), way(0), way(1), way(1), way(2)], [10.0, 6.0, 5.0], [2.0, 8.0, 2.0, 2.0, 3.0]),
        ([((0, 2.0),), way(0)], [9.0], [3.0, 3.0]),
        ([((0, 2.0), (1, 1.0)), way(0), way(1)], [9.0, 4.0], [2.0, 5.0, 2.0]),
        ([way(0, 1), way(1)], [0.0, 6.0], [0.0, 6.0]),
        ([(), way(0)], [6.0], [math.inf, 6.0]),
    ],
    ids=["none", "equal", "chain", "three links", "weight", "weight, two links", "no capacity", "no link"],
)
def test_by_hand(flows: list[Uses], capacities: list[float], expected: list[float]) -> None:
    """Small cases have the rates that progressive filling gives on paper."""
    assert expected == rates(flows, capacities)


@given(problems())
def test_no_link_is_overloaded(problem: tuple[list[Uses], list[float]]) -> None:
    """No link carries more than its capacity, to 1e-9 of it."""
    flows, capacities = problem
    found = rates(flows, capacities)
    for link, capacity in enumerate(capacities):
        load = sum(
            weight * rate for uses, rate in zip(flows, found, strict=True) for at, weight in uses if at == link
        )
        assert load <= capacity * (1 + 1e-9)


@given(problems())
def test_every_flow_has_a_bottleneck(problem: tuple[list[Uses], list[float]]) -> None:
    """Each flow has a full link on which no flow is faster: the certificate of max-min fairness."""
    flows, capacities = problem
    found = rates(flows, capacities)
    loads, fastest = [0.0] * len(capacities), [0.0] * len(capacities)
    for uses, rate in zip(flows, found, strict=True):
        for link, weight in uses:
            loads[link] += weight * rate
            fastest[link] = max(fastest[link], rate)
    for uses, rate in zip(flows, found, strict=True):
        assert any(
            loads[link] >= capacities[link] * (1 - 1e-9) and rate >= fastest[link] * (1 - 1e-9) for link, _ in uses
        )


@given(problems(), st.randoms(use_true_random=False))
def test_the_order_of_flows_does_not_matter(problem: tuple[list[Uses], list[float]], shuffler: random.Random) -> None:
    """The same flows in another order have, bit for bit, the same rates."""
    flows, capacities = problem
    order = list(range(len(flows)))
    shuffler.shuffle(order)
    found = rates(flows, capacities)
    assert [found[number] for number in order] == rates([flows[number] for number in order], capacities)


@given(problems())
def test_a_flow_alone_gets_the_narrowest_of_its_links(problem: tuple[list[Uses], list[float]]) -> None:
    """Alone on its links, the rate is exactly the least capacity over weight."""
    flows, capacities = problem
    for uses in flows:
        least = min(capacities[link] / weight for link, weight in uses)
        assert [least] == rates([uses], capacities)
        assert least == alone_rate(uses, capacities)


@given(problems(), problems())
def test_flows_on_other_links_change_nothing(
    one: tuple[list[Uses], list[float]], two: tuple[list[Uses], list[float]]
) -> None:
    """Two sets of flows that share no link have the rates that each set has by itself, bit for bit."""
    shift = len(one[1])
    moved: list[Uses] = [tuple((link + shift, weight) for link, weight in uses) for uses in two[0]]
    assert rates(one[0], one[1]) + rates(*two) == rates(one[0] + moved, one[1] + two[1])
