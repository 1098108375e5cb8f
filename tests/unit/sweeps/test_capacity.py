"""The search for a capacity, on services whose capacity is known."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from simcluster.sweeps.capacity import Bracket, bracket, max_rates, n_met, next_rate
from simcluster.sweeps.spec import Capacity

ASKED = Capacity(low="1 req/s", high="100 req/s", attainment="90 %", precision="2 %")


def searched(asked: Capacity, attained: Callable[[float], float]) -> tuple[Bracket, int]:
    """What a search finds, and how many rates it tries."""
    tried: dict[float, float] = {}
    while (rate := next_rate(asked, tried)) is not None:
        assert rate not in tried
        tried[rate] = attained(rate)
    return bracket(asked, tried), len(tried)


@pytest.mark.parametrize("mu", [1.5, 7.0, 42.0, 95.0])
def test_a_queue_whose_capacity_is_known(mu: float) -> None:
    """M/M/1 with a limit t on the time in the system is met by 1 - exp(-(mu - rate) t) of the requests."""
    limit_s = 5.0
    found, n_tried = searched(ASKED, lambda rate: 1 - math.exp(-max(mu - rate, 0) * limit_s))
    exact = mu + math.log(0.1) / limit_s

    assert found.good is not None
    assert found.bad is not None
    assert found.good <= exact < found.bad <= found.good * 1.0201
    assert n_tried <= max_rates(ASKED)


def test_ends() -> None:
    """A service that is too slow at once takes one try, one that is never too slow takes two."""
    assert (Bracket(None, 1.0), 1) == searched(ASKED, lambda _: 0.5)
    assert (Bracket(100.0, None), 2) == searched(ASKED, lambda _: 0.95)


def test_a_share_that_goes_up_and_down() -> None:
    """Where the share is not monotone, the bracket still has a good rate below a bad one."""
    found, _ = searched(ASKED, lambda rate: 0.95 if rate < 3 or 8 < rate < 12 else 0.5)

    assert found.good is not None
    assert found.bad is not None
    assert found.good < found.bad <= found.good * 1.0201


def test_who_does_not_finish_does_not_meet_the_limits() -> None:
    """Of ten requests that arrived, six good ones are six tenths, whether the rest was late, failed or unfinished."""
    counts = {"completed": 7.0, "failed": 1.0, "unfinished": 2.0, "duration": 3.0}

    assert (6, 10) == n_met(counts | {"request_goodput": 2.0})
    assert n_met(counts | {"request_goodput": None}) is None
