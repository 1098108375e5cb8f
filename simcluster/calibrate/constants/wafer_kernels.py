"""Fit the wafer model to WaferLLM's 8B; nothing is fitted to the speeds that Cerebras publishes of its service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from simcluster.calibrate.constants.points import errors, median_and_p90
from simcluster.calibrate.constants.search import search
from simcluster.calibrate.runs.wafer_speeds import POINTS, Published, tokens_per_s
from simcluster.catalog.calibration.wafer import WaferCalibration

FITTED_MODEL = "llama-3.1-8b"
START = {"matvec_overhead_cycles": 1000.0, "matmul_flop_per_cycle": 2.0, "matmul_step_overhead_cycles": 500.0}


def fit(shipped: WaferCalibration) -> tuple[dict[str, float], dict[str, tuple[int, float, float]]]:
    """
    Fit the constants of the WSE-2.

    Args:
        shipped: for the constant that is scaled and not fitted.

    Returns:
        The constants, and for each its number of points, and median and 90th percentile of the errors.
    """
    found: dict[str, float] = {}
    left: dict[str, tuple[int, float, float]] = {}
    for what, names in (("decode", ("matvec_overhead_cycles",)),
                        ("prefill", ("matmul_flop_per_cycle", "matmul_step_overhead_cycles"))):  # fmt: skip
        points = [point for point in POINTS if point.what == what and point.model == FITTED_MODEL]
        values = _searched(points, shipped, {name: START[name] for name in names})
        found |= values
        left |= dict.fromkeys(names, _left(points, shipped.model_copy(update=values)))
    return found, left


def _searched(
    points: Sequence[Published], constants: WaferCalibration, start: Mapping[str, float]
) -> dict[str, float]:
    measured_s = np.array([1 / point.tokens_per_s for point in points])

    def predicted_s(values: dict[str, float]) -> Any:
        return np.array([1 / tokens_per_s(point, constants.model_copy(update=values)) for point in points])

    return search(predicted_s, measured_s, start, {})


def _left(points: Sequence[Published], constants: WaferCalibration) -> tuple[int, float, float]:
    predicted = np.array([tokens_per_s(point, constants) for point in points])
    relative = errors(predicted, np.array([point.tokens_per_s for point in points]))
    return len(relative), *median_and_p90(relative)
