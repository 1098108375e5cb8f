"""
MLPerf Inference v4.1 server runs of Llama-2-70B on eight H100: percentiles at the submitted rate.

All submitters but the open ones run NVIDIA's code, whose settings are published with the results: on GitHub, in
mlcommons/inference_results_v4.1, closed/NVIDIA/configs/llama2-70b/Server. fp8, two ranks and one stage a replica, so
four replicas; at most 1,024 requests in each; 0.90 of the free memory for the cache; no sorting. That requests are
dealt out in turn, and up to 8,192 tokens a step, is assumed. The C++ runtime of 2024 decides a step when the one
before is over, so there is no lag; and the engine's host time of every request in a step, fitted to a runtime in
Python, is taken to be nothing in it.

Lengths of OpenOrca's 24,576 rows are not in the tables. Answers: latency over time per token in NVIDIA's own run is
248 in the median and 926 at p99, 1,024 the most. Prompts: a row has 1,697 bytes of system prompt, question and a
reference answer (huggingface.co/datasets/ctuning/MLPerf-OpenOrca); with a third of them in the answer, four bytes a
token and the chat template that is some 294 in the mean. Both lognormal; mean and spread of the prompts are assumed,
and matter much.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from simcluster.accuracy.play import in_parallel, resolved
from simcluster.calibration.engines import shipped
from simcluster.kernel.simulate import play
from simcluster.metrics import latencies_ms
from simcluster.source import read_text

RANKS = 2
MOST_AT_ONCE = 1024
N_REQUESTS = 30_000
COUNTED = slice(12_000, -2_000)
"""MLPerf's forty minutes are long against the start and the end, the seven played ones are not: near its limit a
replica takes minutes to fill."""
PERCENTILES = ("p50", "p99")


def judge(file: Path, jobs: int = 1) -> Iterator[dict[str, Any]]:
    """Every server run of one node with TensorRT-LLM; others are told with the reason."""
    rows = [row for row in csv.DictReader(read_text(file).splitlines()) if row["scenario"] == "Server"]
    reasons = [_why_not(row) for row in rows]
    rates = sorted({_rate(row) for row, reason in zip(rows, reasons, strict=True) if not reason})
    found = dict(zip(rates, in_parallel(played, rates, jobs), strict=True))
    for row, reason in zip(rows, reasons, strict=True):
        title = f"{row['submitter']} {row['system']} {row['benchmark']}"
        yield {"run": title, "skipped": reason} if reason else {"run": title, **_beside(row, found[_rate(row)])}


def _why_not(row: dict[str, str]) -> str:
    """Why a run is not played; nothing if it is."""
    if row["division"] != "closed":
        return "an open submission with an engine and settings of its own"
    if int(float(row["nodes"])) > 1:
        return "several nodes behind one load generator: what lies between is not known"
    if int(float(row["accel_total"])) != 8:
        return "a board of four without a switch, two GPUs on a third of the links each"
    return ""


def _rate(row: dict[str, str]) -> float:
    """Requests a second that were completed."""
    return round(float(row["completed_samples_per_s"]), 2)


def _beside(row: dict[str, str], found: dict[str, float]) -> dict[str, Any]:
    """Measured, simulated, off by."""
    result: dict[str, Any] = {"rate_req_per_s": float(row["target_qps"]), "tensor_parallel": RANKS}
    for name, value in found.items():
        measured = float(row[f"{name}_ms"])
        result |= {f"{name}_ms": measured, f"predicted_{name}_ms": round(value, 3),
                   f"{name}_err_pct": round(100 * (value / measured - 1), 2)}  # fmt: skip
    return result


def played(rate_req_per_s: float) -> dict[str, float]:
    """Percentiles of both latencies in ms, `ttft_p50` and so on."""
    data = {
        "model": "llama-2-70b",
        "topology": "h100-8",
        "deployment": {
            "engine": "trtllm", "tensor_parallel_size": RANKS, "replicas": 4, "router": "round_robin",
            "weights": "8 bit", "kv_cache": "8 bit", "gpu_memory_utilization": "90 %",
            "max_num_seqs": MOST_AT_ONCE, "max_num_batched_tokens": 8192, "admission_lag": 0,
            "host_time_per_step": f"{shipped('trtllm').host_fixed_s * 1e6:.0f} us",
        },
        "workload": {
            "arrivals": {"kind": "poisson", "rate": f"{rate_req_per_s} req/s"},
            "prompt_tokens": lognormal(294.0, 0.8, 1024),
            "output_tokens": {"kind": "lognormal", "median": 248, "p99": 926, "max": 1024},
            "requests": N_REQUESTS,
        },
    }  # fmt: skip
    latencies = latencies_ms(play(resolved(data, "mlperf"), []).requests)
    return {
        f"{key}_{name}": float(np.percentile(latencies[key][COUNTED], int(name[1:])))
        for key in ("ttft", "tpot")
        for name in PERCENTILES
    }


def lognormal(mean: float, sigma: float, most: int) -> dict[str, Any]:
    """A lognormal length of this mean, before what is above the most is cut."""
    median = mean / math.exp(sigma**2 / 2)
    return {"kind": "lognormal", "median": round(median), "p99": round(median * math.exp(2.326 * sigma)), "max": most}


def within(rows: Sequence[dict[str, Any]], percent: float) -> dict[str, int]:
    """How many runs have each percentile within so many percent, by its name, and all of them."""
    names = [f"{key}_{name}" for key in ("ttft", "tpot") for name in PERCENTILES]
    played_rows = [row for row in rows if "skipped" not in row]
    close = [{name: abs(row[f"{name}_err_pct"]) <= percent for name in names} for row in played_rows]
    return {name: sum(row[name] for row in close) for name in names} | {"all": sum(all(r.values()) for r in close)}
