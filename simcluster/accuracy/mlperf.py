"""
MLPerf Inference server runs of Llama-2-70B on H100: percentiles at the submitted rate.

Played with TensorRT-LLM, fp8 weights and cache, two ranks a replica as in NVIDIA's submission, so that a replica gets
2 / n of the Poisson arrivals; one replica is played. The C++ runtime of 2024 decides a step when the one before is
over (no lag), over up to 2,048 requests and 8,192 tokens: assumed. The lengths of OpenOrca's 24,576 prompts and
answers are not in the tables: prompts of 294 tokens in the mean (MLCommons), answers such that the mean is the run's
tokens for each sample and 1,024 the most; both lognormal. So the lengths are assumed in shape.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from simcluster.accuracy.play import resolved
from simcluster.kernel.simulate import play
from simcluster.metrics import latencies_ms
from simcluster.source import read_text

RANKS = 2
N_REQUESTS = 6000
WARM_UP = 1500
"""Requests that are not counted: MLPerf's ten minutes are long against the start, the played ones are not."""
PERCENTILES = ("p50", "p99")


def judge(file: Path) -> Iterator[dict[str, Any]]:
    """Every server run of one node with TensorRT-LLM; others are told with the reason."""
    for row in csv.DictReader(read_text(file).splitlines()):
        if row["scenario"] != "Server":
            continue
        title = f"{row['submitter']} {row['system']} {row['benchmark']}"
        if row["division"] != "closed":
            yield {"run": title, "skipped": "an open submission with an engine and settings of its own"}
            continue
        if int(float(row["nodes"])) > 1:
            yield {"run": title, "skipped": "several nodes behind one load generator: what lies between is not known"}
            continue
        n_devices = int(float(row["accel_total"]))
        if n_devices < 8:
            yield {"run": title, "skipped": "a board of four without a switch, two GPUs on a third of the links each"}
            continue
        rate = float(row["completed_samples_per_s"]) / (n_devices / RANKS)
        output_mean = float(row["completed_tokens_per_s"]) / float(row["completed_samples_per_s"])
        found = _played(round(rate, 2), round(output_mean))
        result: dict[str, Any] = {"run": title, "rate_req_per_s": float(row["target_qps"]),
                                  "replicas": n_devices // RANKS, "tensor_parallel": RANKS}  # fmt: skip
        for key in ("ttft", "tpot"):
            for name in PERCENTILES:
                measured = float(row[f"{key}_{name}_ms"])
                value = found[f"{key}_{name}"]
                result[f"{key}_{name}_ms"] = measured
                result[f"predicted_{key}_{name}_ms"] = round(value, 3)
                result[f"{key}_{name}_err_pct"] = round(100 * (value / measured - 1), 2)
        yield result


@lru_cache(maxsize=64)
def _played(rate_req_per_s: float, output_mean: int) -> dict[str, float]:
    """Percentiles of one replica."""
    data = {
        "model": "llama-2-70b",
        "topology": "h100-8",
        "deployment": {
            "engine": "trtllm", "tensor_parallel_size": RANKS, "weights": "8 bit", "kv_cache": "8 bit",
            "max_num_seqs": 2048, "max_num_batched_tokens": 8192, "admission_lag": 0,
        },
        "workload": {
            "arrivals": {"kind": "poisson", "rate": f"{rate_req_per_s} req/s"},
            "prompt_tokens": lognormal(294.0, 0.8, 1024),
            "output_tokens": lognormal(float(output_mean), 0.75, 1024),
            "requests": N_REQUESTS,
        },
    }  # fmt: skip
    outcome = play(resolved(data, "mlperf"), [])
    latencies = latencies_ms(outcome.requests)
    found: dict[str, float] = {}
    for key in ("ttft", "tpot"):
        values = latencies[key][WARM_UP:-WARM_UP]
        found |= {f"{key}_{name}": float(np.percentile(values, int(name[1:]))) for name in PERCENTILES}
    return found


def lognormal(mean: float, sigma: float, most: int) -> dict[str, Any]:
    """A lognormal length of this mean, before what is above the most is cut."""
    median = mean / math.exp(sigma**2 / 2)
    return {"kind": "lognormal", "median": round(median), "p99": round(median * math.exp(2.326 * sigma)), "max": most}
