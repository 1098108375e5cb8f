"""The order of events at one tick."""

from __future__ import annotations

import itertools

import pytest
import simpy

from simcluster.kernel.clock import ARRIVE, DECIDE, NORMAL, after, now


@pytest.mark.parametrize("order", list(itertools.permutations([NORMAL, ARRIVE, DECIDE])))
def test_work_ends_then_requests_arrive_then_steps_are_formed(order: tuple[int, ...]) -> None:
    """At one tick events are ordered by kind, not by when they were scheduled."""
    env = simpy.Environment()
    happened: list[int] = []
    for priority in order:
        after(env, 5, priority, lambda priority=priority: happened.append(priority))
    env.run()

    assert [NORMAL, ARRIVE, DECIDE] == happened


def test_a_decision_waits_for_arrivals_of_the_same_tick() -> None:
    """A decision scheduled at a tick comes after arrivals that are scheduled later at the same tick."""
    env = simpy.Environment()
    happened: list[str] = []
    after(env, 1, NORMAL, lambda: after(env, 0, ARRIVE, lambda: happened.append("arrived")))
    after(env, 1, NORMAL, lambda: after(env, 0, DECIDE, lambda: happened.append("decided")))
    env.run()

    assert ["arrived", "decided"] == happened


def test_the_clock_stays_a_whole_number() -> None:
    """After 10^18 + 1 ticks the clock is exact, and an int."""
    env = simpy.Environment()
    seen: list[int] = []
    after(env, 10**18, NORMAL, lambda: after(env, 1, NORMAL, lambda: seen.append(now(env))))
    env.run()

    assert [10**18 + 1] == seen
    assert [int] == [type(tick) for tick in seen]
