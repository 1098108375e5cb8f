"""What the runtime of MLPerf's servers takes for a request in a step, from half of the submissions."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from simcluster.calibrate.constants.points import is_fitted
from simcluster.calibrate.runs.mlperf import MOST_AT_ONCE_OFFLINE, REPLICAS, offline_tokens_per_s, played, runs
from simcluster.calibrate.runs.simulated import in_parallel

TRIED_S = (17e-6, 18e-6, 19e-6, 20.7e-6)
"""About what `left_s` is in the median of the fitted half, and less, since load does fluctuate."""


def fit(file: Path, jobs: int = 1) -> dict[float, float]:
    """
    Mean size of the logarithms of predicted over measured, of both percentiles of both times, for each value tried.

    Args:
        file: MLPerf's table.
        jobs: processes.
    """
    found = runs(file)
    chosen = is_fitted(list(found))
    half = [pair for pair, here in zip(found.values(), chosen, strict=True) if here]
    result = {}
    for value_s in TRIED_S:
        times_ms = in_parallel(played, [run._replace(host_per_request_s=value_s) for _, run in half], jobs)
        logs = [
            np.log(time_ms / float(row[f"{name}_ms"]))
            for (row, _), times in zip(half, times_ms, strict=True)
            for name, time_ms in times.items()
        ]
        result[value_s] = float(np.abs(logs).mean())
    return result


def left_s(file: Path) -> dict[str, float]:
    """
    What the measured time per token of every run leaves for a request, by title, if its load did not fluctuate.

    By Little's law a replica has as many requests as tokens arrive in the time of a step, which is the time per
    token. A step takes a fixed time and one for each request, both those of Offline runs, at the submission's own
    speed, and as a server the host's time for each request.
    """
    few, many = MOST_AT_ONCE_OFFLINE // 2, MOST_AT_ONCE_OFFLINE
    few_s, many_s = (REPLICAS * n / offline_tokens_per_s(n) for n in (few, many))
    per_request_s = (many_s - few_s) / (many - few)
    fixed_s = many_s - many * per_request_s
    result = {}
    for title, (row, run) in runs(file).items():
        step_s = float(row["tpot_p50_ms"]) / 1e3
        n_requests = run.rate_req_per_s / REPLICAS * run.answer_tokens * step_s
        result[title] = (step_s - fixed_s / run.speed) / n_requests - per_request_s / run.speed
    return result
