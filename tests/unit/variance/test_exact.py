"""Sums of products of ticks: those of Python's whole numbers, for any int64."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from simcluster.numerics.ticks import total, totals
from simcluster.variance import exact
from simcluster.variance.exact import products, squares_by, sums_by

TICKS = st.integers(-(2**62), 2**62)
COLUMNS = st.integers(1, 4).flatmap(
    lambda n_rows: st.lists(st.tuples(*[TICKS] * n_rows), min_size=1, max_size=40)
)  # fmt: skip


@given(COLUMNS)
def test_products_are_exact(rows: list[tuple[int, ...]]) -> None:
    """Each sum of products is the whole number that it is."""
    columns = [np.array(column, np.int64) for column in zip(*rows, strict=True)]
    expected = [sum(row[number] * row[0] for row in rows) for number in range(len(columns))]

    assert expected == products(columns, columns[0])


@given(st.lists(TICKS, max_size=50))
def test_total_is_exact(values: list[int]) -> None:
    """A sum beyond 64 bits is what it is."""
    assert sum(values) == total(np.array(values, np.int64))


@given(st.lists(st.tuples(*[st.integers(0, 2**62) | st.integers(0, 2**20)] * 3), max_size=50))
def test_totals_are_exact(columns: list[tuple[int, ...]]) -> None:
    """So are sums of rows, with numbers whose sums fit into 64 bits and with others."""
    rows = np.array(columns, np.int64).reshape(-1, 3).T

    assert [sum(row) for row in rows.tolist()] == totals(rows)


@given(st.lists(st.tuples(st.integers(0, 5), TICKS), max_size=60))
def test_squares_by_key_are_exact(pairs: list[tuple[int, int]]) -> None:
    """The squares of each key add up to the whole number that they are."""
    keys, values = (np.array([pair[place] for pair in pairs], np.int64) for place in (0, 1))
    expected = {key: sum(value**2 for other, value in pairs if other == key) for key in {key for key, _ in pairs}}

    assert expected == squares_by(keys, values)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(-(2**50), 2**50)), max_size=60))
def test_sums_by_key_are_exact(pairs: list[tuple[int, int]]) -> None:
    """The values of each key add up exactly, beyond what a float64 holds."""
    keys, values = (np.array([pair[place] for pair in pairs], np.int64) for place in (0, 1))
    expected = [sum(value for other, value in pairs if other == key) for key in range(6)]

    assert expected == sums_by(keys, values, 6).tolist()


def test_full_blocks_of_the_largest_limbs() -> None:
    """2^17 products of the largest limbs still add up exactly."""
    values = np.full(exact.MAX_ROWS + 3, 2**54 - 1, np.int64)

    assert [len(values) * (2**54 - 1) ** 2] == products([values], values)
