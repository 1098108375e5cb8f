"""Shares of components: sums to one are identities of every trace, and they are what their definitions say."""

from __future__ import annotations

from fractions import Fraction
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simcluster.variance.moments import N_PARTS, Moments, pooled, whole_of
from simcluster.variance.tail import Worst

VALUE = st.one_of(st.integers(0, 4), st.integers(0, 10**14))
TRACES = st.lists(st.lists(VALUE, min_size=N_PARTS, max_size=N_PARTS), min_size=1, max_size=40)


def as_parts(rows: list[list[int]]) -> np.ndarray:
    """Rows as components, shape (components, n)."""
    return np.array(rows, np.int64).T.copy()


def moments_of(parts: np.ndarray) -> Moments:
    found = Moments()
    found.add(parts, whole_of(parts))
    return found


@given(TRACES)
def test_variance_shares_sum_to_one(rows: list[list[int]]) -> None:
    """They are covariances with the whole over its variance, and sum to one without any tolerance."""
    shares = moments_of(as_parts(rows)).shares()
    n, whole = len(rows), [sum(row) for row in rows]
    mean = Fraction(sum(whole), n)
    variance = sum((value - mean) ** 2 for value in whole) / n
    if not variance:
        assert shares is None
        return
    means = [Fraction(sum(row[part] for row in rows), n) for part in range(N_PARTS)]
    off = [value - mean for value in whole]
    expected = [
        sum((row[part] - means[part]) * t for row, t in zip(rows, off, strict=True)) / n / variance
        for part in range(N_PARTS)
    ]

    assert expected == shares
    assert sum(shares) == 1
    assert sum(map(float, shares)) == pytest.approx(1, abs=1e-12 * max(1.0, max(map(abs, map(float, shares)))))


@given(TRACES, st.integers(1, 40))
def test_pooling_is_counting_together(rows: list[list[int]], cut: int) -> None:
    """Moments of two parts of a trace, pooled, are those of the whole."""
    parts = as_parts(rows)
    halves = [moments_of(parts[:, :cut]), moments_of(parts[:, cut:])]

    assert moments_of(parts) == pooled(halves)


def test_shares_are_the_shapley_values_of_the_variance() -> None:
    """For three components, averaging what each adds over all orders gives the covariance shares."""
    rows = [[3, 1, 4], [1, 5, 9], [2, 6, 5], [3, 5, 8], [9, 7, 9]]
    shares = moments_of(as_parts([[*row, *[0] * (N_PARTS - 3)] for row in rows])).shares()

    def variance(chosen: tuple[int, ...]) -> Fraction:
        values = [Fraction(sum(row[part] for part in chosen)) for row in rows]
        mean = sum(values) / len(values)
        return sum(((value - mean) ** 2 for value in values), Fraction(0)) / len(values)

    orders = list(permutations(range(3)))
    added = [
        sum(variance(order[: order.index(part) + 1]) - variance(order[: order.index(part)]) for order in orders)
        for part in range(3)
    ]
    assert shares is not None
    assert [value / len(orders) / variance((0, 1, 2)) for value in added] == shares[:3]


def test_a_component_that_shrinks_has_a_negative_share() -> None:
    """What is small when the whole is large takes away from the spread, and its share says so."""
    rows = [[10 * k, 20 - k, *[0] * (N_PARTS - 2)] for k in range(10)]
    shares = moments_of(as_parts(rows)).shares()

    assert shares is not None
    assert shares[:2] == [Fraction(10, 9), Fraction(-1, 9)]


def test_standard_deviation() -> None:
    """It is numpy's, also of large values that hardly differ."""
    rows = [[10**15 + k, *[0] * (N_PARTS - 1)] for k in range(100)]

    assert moments_of(as_parts(rows)).std() == pytest.approx(np.std(np.arange(100)), rel=1e-12)


@given(TRACES, st.fractions(Fraction(1, 200), 1), st.integers(1, 7))
def test_tail_shares_are_of_exactly_the_worst(rows: list[list[int]], part: Fraction, block: int) -> None:
    """They are differences of means over the worst part, ties by fraction, and sum to one, however blocks are cut."""
    parts, n_worst = as_parts(rows), part * len(rows)
    worst, of_all = Worst(int(n_worst) + 1), moments_of(parts)
    for start in range(0, len(rows), block):
        some = parts[:, start : start + block]
        worst.add(some, whole_of(some))
    shares = worst.tail(n_worst).shares(of_all)

    left, sums = n_worst, [Fraction(0)] * N_PARTS
    for value in sorted({sum(row) for row in rows}, reverse=True):
        equal = [row for row in rows if sum(row) == value]
        weight = min(Fraction(1), left / len(equal))
        left -= weight * len(equal)
        sums = [old + weight * sum(row[place] for row in equal) for place, old in enumerate(sums)]
    excess = [s / n_worst - Fraction(sum(row[p] for row in rows), len(rows)) for p, s in enumerate(sums)]
    if not sum(excess):
        assert shares is None
        return
    assert [one / sum(excess) for one in excess] == shares
    assert sum(shares) == 1


def test_worst_of_several_traces() -> None:
    """Merged, the worst of two traces are the worst of both together."""
    parts = as_parts([[k * 37 % 101, k % 3, *[0] * (N_PARTS - 2)] for k in range(300)])
    together, first, second = Worst(4), Worst(4), Worst(4)
    together.add(parts, whole_of(parts))
    first.add(parts[:, :100], whole_of(parts[:, :100]))
    second.add(parts[:, 100:], whole_of(parts[:, 100:]))
    first.merge(second)

    assert together.tail(Fraction(3)) == first.tail(Fraction(3))


def test_memory_is_bounded() -> None:
    """Of a hundred thousand different values, hardly more than the few that are asked for are kept."""
    worst = Worst(10)
    for start in range(0, 10**6, 10**5):
        parts = np.zeros((N_PARTS, 10**5), np.int64)
        parts[0] = np.arange(start, start + 10**5)
        worst.add(parts, parts[0])

    assert worst.tail(Fraction(10)).border == 10**6 - 10
    assert worst._rows.shape[1] == 10
