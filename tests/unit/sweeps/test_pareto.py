"""The Pareto front against its definition."""

from __future__ import annotations

import numpy as np
import pytest

from simcluster.sweeps.pareto import front


def test_a_front_by_hand() -> None:
    """Of these, (2, 2) is beaten by (1, 2); equal rows stay together; a row without a value is out."""
    rows = np.array([[1, 2], [2, 1], [2, 2], [1, 2], [0, np.nan]], np.float64)

    assert [True, True, False, True, False] == front(rows).tolist()


@pytest.mark.parametrize("n_columns", [1, 2, 3, 4])
def test_random_rows(n_columns: int) -> None:
    """A row is on the front exactly when no other row is as good everywhere and better somewhere."""
    rows = np.random.default_rng(n_columns).integers(0, 6, (60, n_columns)).astype(np.float64)
    beaten = [any((a <= b).all() and (a < b).any() for a in rows) for b in rows]

    assert [not one for one in beaten] == front(rows).tolist()
