"""
Fit launching without CUDA graphs, and power, to Splitwise's runs of Llama-2-70B at one request at a time.

The time of a token is bound by the device on two devices and by the host on four and eight: the first gives the cost
of a launch on the device, the others the speed of the host. `validate` judges half of the table's settings.
"""

from __future__ import annotations

from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from simcluster.calibrate.constants.search import rounded
from simcluster.calibrate.runs.splitwise import TOPOLOGIES, Setting, scenario, settings_of
from simcluster.catalog.calibration.gpu import GpuCalibration
from simcluster.results.run import simulate

HOST_BOUND = {"h100-80gb": (4,), "a100-80gb": (4, 8)}
PROMPT, LONG_PROMPT, TOKENS = 512, 1024, 128
N_OPS = 644
"""Ops launched for a token of Llama-2-70B: eight for each of 80 layers, and four around them."""


def fit(file: Path, gpus: dict[str, GpuCalibration]) -> dict[str, Any]:
    """
    Fit the extra time of every eager launch, host time of a launch by hardware, shares of idle and busy power.

    Args:
        file: of the runs.
        gpus: constants, without eager launching, by the hardware names of the table.
    """
    runs = settings_of(file)
    host = {
        hardware: rounded(
            mean(runs[hardware, ranks, PROMPT, 1, TOKENS]["token_time"] for ranks in bound) / N_OPS / 1e3
        )
        for hardware, bound in HOST_BOUND.items()
    }
    extras = []
    for hardware in TOPOLOGIES:
        bare = _token_ms(hardware, gpus[hardware])
        extras.append((runs[hardware, 2, PROMPT, 1, TOKENS]["token_time"] - bare) / N_OPS / 1e3)
    extra = rounded(max(mean(extras), 0.0))
    passes = _passes(runs, gpus, extra, host)
    measured, busy = [], []
    for (hardware, ranks, prompt, batch, tokens), row in runs.items():
        if row["average_power"] > 0 and batch == 1 and prompt <= 1024 and tokens == TOKENS:
            gpu = _launching(gpus[hardware], extra, host[hardware])
            gpu = gpu.model_copy(update={"idle_power_share": 0.0, "busy_power_share": 1.0})
            measured.append(row["average_power"])
            busy.append(_summary(hardware, ranks, prompt, batch, tokens, gpu)["average_power_share"])
    slope, idle = np.polyfit(busy, measured, 1)
    shares = {"idle": rounded(float(idle)), "busy": rounded(float(slope)), "power_points": len(measured)}
    return {"passes": passes, "eager_s": extra, "host_s": host, **shares}


def _passes(
    runs: dict[Setting, dict[str, float]], gpus: dict[str, GpuCalibration], extra_s: float, host: dict[str, float]
) -> float:
    """Fit the passes of unfused norms and activation functions over their values, from prompts of 1024 tokens."""
    ratios = []
    for hardware, ranks, prompt, batch, tokens in runs:
        if (prompt, batch, tokens) == (LONG_PROMPT, 1, TOKENS):
            launched = _launching(gpus[hardware], extra_s, host[hardware])
            times_ms = []
            for passes in (1.0, 2.0):
                gpu = launched.model_copy(update={"eager_passes": passes})
                times_ms.append(_summary(hardware, ranks, prompt, batch, tokens, gpu)["mean_ttft_ms"])
            missing_ms = runs[hardware, ranks, prompt, batch, tokens]["prompt_time"] - times_ms[0]
            ratios.append(1 + missing_ms / (times_ms[1] - times_ms[0]))
    return rounded(max(float(np.median(ratios)), 1.0))


def _token_ms(hardware: str, gpu: GpuCalibration) -> float:
    bare = _launching(gpu, 0.0, 0.0)
    return float(_summary(hardware, 2, PROMPT, 1, TOKENS, bare)["mean_itl_ms"])


def _launching(gpu: GpuCalibration, extra_s: float, host_s: float) -> GpuCalibration:
    """Set the two times of an eager launch."""
    return gpu.model_copy(update={"launch_s": {"graph": 0.0, "eager": extra_s}, "eager_host_s": host_s})


def _summary(hardware: str, ranks: int, prompt: int, batch: int, tokens: int, gpu: GpuCalibration) -> dict[str, Any]:
    one = scenario(TOPOLOGIES[hardware], ranks, prompt, batch, tokens).model_copy(update={"gpu": gpu})
    return simulate(one).summary
