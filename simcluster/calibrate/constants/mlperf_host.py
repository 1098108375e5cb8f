"""Fit the host time of MLPerf's servers for a request in a step to half of the submissions."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from simcluster.calibrate.constants.points import is_fitted
from simcluster.calibrate.runs.mlperf import (
    MAX_NUM_SEQS_OFFLINE,
    REPLICAS,
    offline_tokens_per_s,
    percentiles_ms,
    runs,
)
from simcluster.calibrate.runs.simulated import in_parallel

TRIED_S = (17e-6, 18e-6, 19e-6, 20.7e-6)
"""Candidates: about the median of `left_s` over the fitted half, and less, since load fluctuates."""


def fit(file: Path, jobs: int = 1) -> dict[float, float]:
    """
    Find for each candidate the mean size of log(predicted / measured), over both percentiles of both times.

    Args:
        file: MLPerf's table.
        jobs: processes.
    """
    found = runs(file)
    chosen = is_fitted(list(found))
    half = [pair for pair, here in zip(found.values(), chosen, strict=True) if here]
    result = {}
    for value_s in TRIED_S:
        times_ms = in_parallel(percentiles_ms, [run._replace(host_per_request_s=value_s) for _, run in half], jobs)
        logs = [
            np.log(time_ms / float(row[f"{name}_ms"]))
            for (row, _), times in zip(half, times_ms, strict=True)
            for name, time_ms in times.items()
        ]
        result[value_s] = float(np.abs(logs).mean())
    return result


def left_s(file: Path) -> dict[str, float]:
    """
    Find the time that the measured time per token of every run leaves for a request, if its load did not fluctuate.

    By Little's law a replica has as many requests as tokens arrive in the time of a step, which is the time per
    token. A step takes a fixed time and a time for each request, both from Offline runs, at the submission's own
    speed, and as a server also the host's time for each request. Results are by title of the run.
    """
    few, many = MAX_NUM_SEQS_OFFLINE // 2, MAX_NUM_SEQS_OFFLINE
    few_s, many_s = (REPLICAS * n / offline_tokens_per_s(n) for n in (few, many))
    per_request_s = (many_s - few_s) / (many - few)
    fixed_s = many_s - many * per_request_s
    result = {}
    for title, (row, run) in runs(file).items():
        step_s = float(row["tpot_p50_ms"]) / 1e3
        n_requests = run.rate_req_per_s / REPLICAS * run.answer_tokens * step_s
        result[title] = (step_s - fixed_s / run.speed) / n_requests - per_request_s / run.speed
    return result
