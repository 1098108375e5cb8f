"""Pareto front."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from simcluster.numerics.arrays import Floats


def front(costs: Floats) -> npt.NDArray[np.bool_]:
    """
    Find the rows on the Pareto front: no other row is as good in every column and better in one.

    Equal rows are on it together; rows with a NaN are not.

    Args:
        costs: shape (rows, columns), lower is better.

    Returns:
        Shape (rows,).

    Source:
        Kung, Luccio, Preparata, J. ACM 22 (1975), 469: maxima of a set of vectors.
    """
    on_front: npt.NDArray[np.bool_] = np.logical_not(np.isnan(costs).any(axis=1))
    for row in np.flatnonzero(on_front):
        others = costs[on_front]
        on_front[row] = not ((others <= costs[row]).all(axis=1) & (others < costs[row]).any(axis=1)).any()
    return on_front
