"""Parallel calls: the same results in the same order, in this process and in workers."""

from __future__ import annotations

import math
import os

import pytest

from simcluster.files.problems import InputError, Problem
from simcluster.workers.pool import Failure, each, flow


def refuse(number: float) -> float:
    """A task that fails for some items."""
    if number < 0:
        raise InputError([Problem("task", 3, "number", f"{number:g}", "must not be negative")])
    return math.sqrt(number)


def die(number: float) -> float:
    """A task that ends its process for some items."""
    if number < 0:
        os._exit(1)
    return number


def test_order_is_that_of_the_items() -> None:
    """Results come in the order of the items, from this process and from two workers alike."""
    numbers = [float(number) for number in range(9)]

    assert [math.sqrt(number) for number in numbers] == each(math.sqrt, numbers, jobs=1)
    assert each(math.sqrt, numbers, jobs=1) == each(math.sqrt, numbers, jobs=2)


def test_every_item_is_reported_once() -> None:
    """`done` is called once for each item."""
    for jobs in (1, 2, None):
        calls: list[None] = []
        each(math.sqrt, [1.0, 2.0, 3.0], jobs=jobs, done=lambda calls=calls: calls.append(None))
        assert 3 == len(calls)


def test_nothing_to_do() -> None:
    """No items need no workers."""
    assert [] == each(math.sqrt, [], jobs=2)


def test_problems_come_back_whole() -> None:
    """Errors of a task are reported as without workers."""
    with pytest.raises(InputError) as here:
        each(refuse, [1.0, -1.0, 4.0], jobs=1)
    with pytest.raises(InputError) as there:
        each(refuse, [1.0, -1.0, 4.0], jobs=2)

    assert here.value.problems == there.value.problems


def test_no_scheduler() -> None:
    """An address where no scheduler listens is an input error that names it."""
    with pytest.raises(InputError, match=r"no Dask scheduler at tcp://127\.0\.0\.1:1"):
        each(math.sqrt, [1.0], scheduler="tcp://127.0.0.1:1")


def test_a_scheduler_elsewhere() -> None:
    """Workers of a scheduler that runs already give the same answers."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster:
        assert [1.0, 2.0] == each(math.sqrt, [1.0, 4.0], scheduler=cluster.scheduler_address)


@pytest.mark.parametrize("jobs", [1, 2, None])
def test_what_follows_is_called_too(jobs: int | None) -> None:
    """Items that follow from outcomes are called too; one that fails is reported and does not stop the others."""
    found: dict[float, float | Failure] = {}

    def then(number: float, outcome: float | Failure) -> list[float]:
        found[number] = outcome
        return [number / 4] if number >= 4 else []

    flow(refuse, [64.0, -1.0, 9.0], then, jobs=jobs)

    assert {64.0: 8.0, 16.0: 4.0, 4.0: 2.0, 1.0: 1.0, 9.0: 3.0, 2.25: 1.5} == {
        number: root for number, root in found.items() if number > 0
    }
    assert Failure("task:3: number: -1; must not be negative") == found[-1.0]


def test_an_item_that_kills_workers_fails_alone() -> None:
    """An item whose worker dies each time is reported as failed; the rest of its batch succeeds."""
    found: dict[float, float | Failure] = {}

    def then(number: float, outcome: float | Failure) -> list[float]:
        found[number] = outcome
        return []

    flow(die, [1.0, 2.0, 3.0, 4.0, -1.0, *map(float, range(5, 60))], then, jobs=2)

    assert 60 == len(found)
    assert [-1.0] == [number for number, outcome in found.items() if isinstance(outcome, Failure)]
    assert "every worker that ran it died" in str(found[-1.0])
