"""Measured points of one class of op: the work of each and how long it took, cut into a fitted and a judged half."""

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
    """Which shape each point belongs to: neighbours of one shape are nearly the same measurement."""
    work: Work[Floats]
    seconds: Floats

    def half(self, fitted: bool) -> Points:
        """The points that are fitted, or the others; whole shapes, by a checksum of their names."""
        chosen = is_fitted(self.shapes) == fitted
        shapes = [shape for shape, here in zip(self.shapes, chosen, strict=True) if here]
        return Points(shapes, Work(*(part[chosen] for part in self.work)), self.seconds[chosen])


def is_fitted(names: Sequence[str]) -> Bools:
    """Which of these shapes (or cases) fall into the fitted half: a fixed coin for each name."""
    return np.array([zlib.crc32(name.encode()) % 2 == 1 for name in names], dtype=bool)


def errors(predicted: Floats, measured: Floats) -> Floats:
    """Relative errors, signed."""
    return predicted / measured - 1


def median_and_p90(relative: Floats) -> tuple[float, float]:
    """Of the sizes of relative errors."""
    sizes = np.abs(relative)
    return float(np.median(sizes)), float(np.quantile(sizes, 0.9))


def judged(relative: Floats) -> dict[str, Any]:
    """What relative errors leave, in percent: of their sizes median and 90th percentile, and the median with sign."""
    median, p90 = median_and_p90(relative)
    return {
        "points": len(relative), "median_abs_err_pct": 100 * median, "p90_abs_err_pct": 100 * p90,
        "bias_pct": 100 * float(np.median(relative)),
    }  # fmt: skip
