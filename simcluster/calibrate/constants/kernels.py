"""Fit the classes of op of an H100 to measured kernel tables, and judge them on the shapes that were not fitted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simcluster.calibrate.constants.op_classes import BYTES_PER_S, CLASSES, FAMILIES, PEAK_FLOP_PER_S, Class, Family
from simcluster.calibrate.constants.points import Points, errors, judged, median_and_p90
from simcluster.calibrate.constants.search import Constants, search
from simcluster.catalog.calibration.gpu import GpuCalibration, OpFit
from simcluster.costs.gpu import op_s
from simcluster.numerics.arrays import Floats

SHARES = ("memory", "arithmetic", "passes", "quantising", "gathering", "activations", "outputs")
"""Ends of the names of constants that are shares of a data sheet's value, so at most 1."""


@dataclass(frozen=True)
class Fitted:
    """A class with all constants that were found, and their errors on the shapes that were not fitted."""

    of: Class
    constants: Constants
    n_points: int
    median_error: float
    p90_error: float


def predicted_s(points: Points, fit: OpFit) -> Floats:
    """Predict the durations of all points."""
    fixed_s, compute_s, fetch_s = op_s(points.work, fit, PEAK_FLOP_PER_S[fit.compute_bits], BYTES_PER_S)
    return np.asarray(fixed_s + np.maximum(compute_s, fetch_s))


def fit_all(kernels: Path) -> list[Fitted]:
    """Fit every family, in order, each on its half of the points, and judge its classes on the other."""
    found: Constants = {}
    results = []
    for family in FAMILIES:
        points = [of.points(kernels, of.bits) for of in family.classes]
        found |= fit_family(family, [some.half(True) for some in points], found)
        for of, some in zip(family.classes, points, strict=True):
            other = some.half(False)
            median, p90 = median_and_p90(errors(predicted_s(other, of.fit(found)), other.seconds))
            results.append(Fitted(of, dict(found), len(some.seconds) - len(other.seconds), median, p90))
    return results


def fit_family(family: Family, points: list[Points], known: Constants) -> Constants:
    """Find the free constants of a family with the least error; all classes weigh the same."""
    weights = np.concatenate([np.full(len(some.seconds), 1 / len(some.seconds)) for some in points])
    measured_s = np.concatenate([some.seconds for some in points])

    def durations_s(found: Constants) -> Floats:
        fits = [of.fit({**known, **found}) for of in family.classes]
        return np.concatenate([predicted_s(some, fit) for some, fit in zip(points, fits, strict=True)])

    upper_bounds = {name: 1.0 for name in family.free if name.endswith(SHARES)}
    return search(durations_s, measured_s, family.free, upper_bounds, weights=weights)


def judge(calibration: GpuCalibration, kernels: Path) -> Iterator[dict[str, Any]]:
    """Judge the shipped constants on the halves that were not fitted: a row for each class and width."""
    for of in CLASSES:
        fit = calibration.ops[of.op][of.bits]  # type: ignore[index]
        points = of.points(kernels, of.bits).half(False)
        yield {"op": of.op, "bits": of.bits, **judged(errors(predicted_s(points, fit), points.seconds))}
