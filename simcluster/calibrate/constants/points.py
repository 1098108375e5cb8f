"""Measured points of one class of op: work and duration of each, split into a fitted and a judged half."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from simcluster.costs.gpu import Work
from simcluster.numerics.arrays import Floats

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Points:
    """Measurements of one class of op at one width."""

    shapes: Sequence[str]
    """Shape of each point: neighbours of one shape are nearly the same measurement."""
    work: Work[Floats]
    seconds: Floats

    def half(self, fitted: bool) -> Points:
        """Select the points to fit, or the others; whole shapes, by a checksum of their names."""
        chosen = is_fitted(self.shapes) == fitted
        shapes = [shape for shape, here in zip(self.shapes, chosen, strict=True) if here]
        return Points(shapes, Work(*(part[chosen] for part in self.work)), self.seconds[chosen])


def is_fitted(names: Sequence[str]) -> Bools:
    """Select the shapes (or cases) of the fitted half: a pseudo-random bit for each name."""
    return np.array([zlib.crc32(name.encode()) % 2 == 1 for name in names], dtype=bool)


def errors(predicted: Floats, measured: Floats) -> Floats:
    """Find relative errors, with sign."""
    return predicted / measured - 1


def median_and_p90(relative: Floats) -> tuple[float, float]:
    """Find median and 90th percentile of the sizes of relative errors."""
    sizes = np.abs(relative)
    return float(np.median(sizes)), float(np.quantile(sizes, 0.9))


def judged(relative: Floats) -> dict[str, Any]:
    """Summarise relative errors in percent: median and 90th percentile of their sizes, and the median with sign."""
    median, p90 = median_and_p90(relative)
    return {
        "points": len(relative), "median_abs_err_pct": 100 * median, "p90_abs_err_pct": 100 * p90,
        "bias_pct": 100 * float(np.median(relative)),
    }  # fmt: skip
