"""Fit the wafer model to WaferLLM's 8B, and the crossing of a wafer's edge to two published speeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from simcluster.accuracy.wafer import POINTS, Published, tokens_per_s
from simcluster.calibration.wafer import WaferCalibration
from simcluster.fitting.search import rounded, search

HOST_NOTE = "A token leaves the last wafer and comes back to the first: one crossing."
CROSSING_NOTE = (
    "The crossing, as long on every edge, that leaves Cerebras' two published speeds of August 2024 (Llama-3.1-8B "
    "on one wafer, 70B on four) with errors of equal size; links and their latency count besides. Without it 8B is "
    "exact and 70B 57 % too fast. Two points, one constant: an explanation, no measurement; what crosses an edge "
    "passes a host or an adapter, and a network stack takes tens of microseconds."
)
SERVICE = {"title": "Cerebras Inference: Llama-3.1-8B at 1,800 and 70B at 450 tokens/s per user",
           "url": "https://cerebras.ai/blog/introducing-cerebras-inference-ai-at-instant-speed"}  # fmt: skip
METHOD_WSE_3 = (
    "Same overheads in cycles as the WSE-2, twice its SIMD lanes. The clock (1.0 GHz) is not published. What happens "
    "inside a wafer was not fitted to a WSE-3; the crossing of its edge was, to two published speeds."
)
FITTED_MODEL = "llama-3.1-8b"
START = {"matvec_overhead_cycles": 1000.0, "matmul_flop_per_cycle": 2.0, "matmul_step_overhead_cycles": 500.0}


def fit(
    shipped: WaferCalibration, served: WaferCalibration
) -> tuple[dict[str, float], dict[str, tuple[int, float, float]]]:
    """
    Constants of the WSE-2, and the crossing of a WSE-3.

    Args:
        shipped: of the WSE-2, for the constant that is scaled and not fitted.
        served: of the WSE-3; its overheads are set to those found.

    Returns:
        The constants, and for each what it leaves: points, median and 90th percentile of the errors.
    """
    found: dict[str, float] = {}
    left: dict[str, tuple[int, float, float]] = {}
    for what, names in (("decode", ("matvec_overhead_cycles",)),
                        ("prefill", ("matmul_flop_per_cycle", "matmul_step_overhead_cycles"))):  # fmt: skip
        points = [point for point in POINTS if point.what == what and point.model == FITTED_MODEL]
        values = _searched(points, {"wse-2": shipped}, {name: START[name] for name in names})
        found |= values
        left |= dict.fromkeys(names, _left(points, {"wse-2": shipped.model_copy(update=values)}))
    scaled = {name: found[name] for name in ("matvec_overhead_cycles", "matmul_step_overhead_cycles")}
    scaled["matmul_flop_per_cycle"] = rounded(2 * found["matmul_flop_per_cycle"])
    served = served.model_copy(update=scaled)
    points = [point for point in POINTS if point.what == "served"]
    crossing_s = _least_worst(points, served)
    found["crossing_s"] = crossing_s
    left["crossing_s"] = _left(points, {"wse-3": _with_crossing(served, crossing_s)})
    return found, left


def _with_crossing(constants: WaferCalibration, crossing_s: float) -> WaferCalibration:
    """A token leaves the wafers and comes back once, and crosses from wafer to wafer."""
    return constants.model_copy(update={"host_step_s": crossing_s, "crossing_s": crossing_s})


def _least_worst(points: Sequence[Published], constants: WaferCalibration) -> float:
    """The crossing that leaves the least largest error: with two points, equal ones."""
    from scipy.optimize import minimize_scalar

    def worst(crossing_s: float) -> float:
        moved = _with_crossing(constants, crossing_s)
        return max(abs(float(np.log(tokens_per_s(point, moved) / point.tokens_per_s))) for point in points)

    return rounded(float(minimize_scalar(worst, bounds=(0.0, 1e-3), method="bounded", options={"xatol": 1e-9}).x), 2)


def _searched(
    points: Sequence[Published], constants: Mapping[str, WaferCalibration], start: Mapping[str, float]
) -> dict[str, float]:
    measured_s = np.array([1 / point.tokens_per_s for point in points])

    def predicted_s(values: dict[str, float]) -> Any:
        changed = {name: of.model_copy(update=values) for name, of in constants.items()}
        return np.array([1 / tokens_per_s(point, changed[point.device]) for point in points])

    return search(predicted_s, measured_s, start, {})


def _left(points: Sequence[Published], constants: Mapping[str, WaferCalibration]) -> tuple[int, float, float]:
    sizes = [abs(tokens_per_s(point, constants[point.device]) / point.tokens_per_s - 1) for point in points]
    return len(sizes), float(np.median(sizes)), float(np.quantile(sizes, 0.9))
