"""Calls side by side: the same answers in the same order, wherever they are made."""

from __future__ import annotations

import math

import pytest

from simcluster.problems import InputError, Problem
from simcluster.workers import each


def refuse(number: float) -> float:
    """A task that cannot be done for some items."""
    if number < 0:
        raise InputError([Problem("task", 3, "number", f"{number:g}", "expected no negative one")])
    return math.sqrt(number)


def test_order_is_that_of_the_items() -> None:
    """Results come in the order of the items, from this process and from two workers alike."""
    numbers = [float(number) for number in range(9)]

    assert [math.sqrt(number) for number in numbers] == each(math.sqrt, numbers, jobs=1)
    assert each(math.sqrt, numbers, jobs=1) == each(math.sqrt, numbers, jobs=2)


def test_every_item_is_told_once() -> None:
    """`done` is called once for each item."""
    for jobs in (1, 2, None):
        calls: list[None] = []
        each(math.sqrt, [1.0, 2.0, 3.0], jobs=jobs, done=lambda calls=calls: calls.append(None))
        assert 3 == len(calls)


def test_nothing_to_do() -> None:
    """No items need no workers."""
    assert [] == each(math.sqrt, [], jobs=2)


def test_problems_come_back_whole() -> None:
    """What an item's task refuses is told as it would be without workers."""
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
