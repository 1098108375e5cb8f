"""
MLPerf Inference v4.1 server runs of Llama-2-70B on eight H100: percentiles at the submitted rate.

All submitters but the open ones run NVIDIA's code, whose settings are published with the results: on GitHub, in
mlcommons/inference_results_v4.1, closed/NVIDIA/configs/llama2-70b/Server and Offline, and code/llama2-70b/tensorrt/
builder.py. fp8, two ranks and one stage a replica, so four replicas; at most 1,024 requests in each, 896 offline; up
to 16,384 tokens a step; prompts are not cut; 0.90 of the free memory for the cache, in HPE's 0.97; no sorting. That a
request goes to the replica with the fewest is assumed: its harness has one queue for all. The C++ runtime of 2024
decides a step when the one before is over, so there is no lag.

Two facts make a submission's machine and load:

* its own Offline throughput says how fast its devices are, as a factor on the data sheet's rates;
* a server reports tokens as they come, so its host needs the time for every request in a step that was fitted to
  TensorRT-LLM's served runs; offline nothing is reported before the end, and its host needs none.

Lengths of OpenOrca's 24,576 rows are not in the tables. Answers: latency over time per token in NVIDIA's own run is
248 in the median and 926 at p99, 1,024 the most. Prompts: a row has 1,697 bytes of system prompt, question and a
reference answer (huggingface.co/datasets/ctuning/MLPerf-OpenOrca); with a third of them in the answer, four bytes a
token and the chat template that is some 294 in the mean. Both lognormal; mean and spread of the prompts are assumed.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from simcluster.accuracy.play import in_parallel, resolved
from simcluster.calibration.engines import shipped
from simcluster.kernel.simulate import play
from simcluster.metrics import latencies_ms
from simcluster.source import read_text
from simcluster.ticks import TICKS_PER_S

RANKS, REPLICAS = 2, 4
MOST_AT_ONCE = 1024
MOST_AT_ONCE_OFFLINE = 896
CACHE_SHARES = {"HPE": "97 %"}
"""Of the free memory, where it is not NVIDIA's 90 %: closed/HPE/configs/llama2-70b/Server/custom.py."""
N_REQUESTS = 30_000
COUNTED = slice(12_000, -2_000)
"""MLPerf's forty minutes are long against the start and the end, the seven played ones are not: near its limit a
replica takes minutes to fill."""
PERCENTILES = ("p50", "p99")


class Run(NamedTuple):
    """What a server run is simulated from."""

    rate_req_per_s: float
    """Of the requests that were completed."""
    speed: float
    """Of the submission's devices, by its Offline throughput; 1 is what the calibration says."""
    cache_share: str


def judge(file: Path, jobs: int = 1) -> Iterator[dict[str, Any]]:
    """Every server run of one node with TensorRT-LLM; others are told with the reason."""
    table = list(csv.DictReader(read_text(file).splitlines()))
    rows = [row for row in table if row["scenario"] == "Server"]
    offline = {_entry(row): float(row["completed_samples_per_s"]) for row in table if row["scenario"] == "Offline"}
    reasons = [_why_not(row) for row in rows]
    nominal_req_per_s = offline_req_per_s()
    runs = {
        _entry(row): Run(round(float(row["completed_samples_per_s"]), 2), offline[_entry(row)] / nominal_req_per_s,
                         CACHE_SHARES.get(row["submitter"], "90 %"))
        for row, reason in zip(rows, reasons, strict=True) if not reason
    }  # fmt: skip
    found = dict(zip(runs, in_parallel(played, list(runs.values()), jobs), strict=True))
    for row, reason in zip(rows, reasons, strict=True):
        title = f"{row['submitter']} {row['system']} {row['benchmark']}"
        key = _entry(row)
        yield {"run": title, "skipped": reason} if reason else {
            "run": title, **_beside(row, runs[key].speed, found[key]),
        }  # fmt: skip


def _entry(row: dict[str, str]) -> tuple[str, str, str]:
    """What an Offline and a Server run have in common."""
    return row["submitter"], row["system"], row["benchmark"]


def _why_not(row: dict[str, str]) -> str:
    """Why a run is not played; nothing if it is."""
    if row["division"] != "closed":
        return "an open submission with an engine and settings of its own"
    if int(float(row["nodes"])) > 1:
        return "several nodes behind one load generator: what lies between is not known"
    if int(float(row["accel_total"])) != 8:
        return "a board of four without a switch, two GPUs on a third of the links each"
    return ""


def _beside(row: dict[str, str], speed: float, found: dict[str, float]) -> dict[str, Any]:
    """Measured, simulated, off by."""
    result: dict[str, Any] = {
        "rate_req_per_s": float(row["target_qps"]), "tensor_parallel": RANKS, "speed": round(speed, 4),
    }  # fmt: skip
    for name, value in found.items():
        measured = float(row[f"{name}_ms"])
        result |= {f"{name}_ms": measured, f"predicted_{name}_ms": round(value, 3),
                   f"{name}_err_pct": round(100 * (value / measured - 1), 2)}  # fmt: skip
    return result


def offline_req_per_s() -> float:
    """Requests a second of devices as fast as the calibration says when all requests are there from the start."""
    at_once = MOST_AT_ONCE_OFFLINE * REPLICAS
    host = {"host_time_per_step": f"{shipped('trtllm').host_fixed_s * 1e6:.0f} us"}
    data = _scenario({"kind": "closed", "concurrency": at_once}, 5 * at_once, MOST_AT_ONCE_OFFLINE, "90 %", host)
    ends = np.sort(play(resolved(data, "mlperf"), []).requests["last_token_at_ticks"])[2 * at_once : 4 * at_once]
    return float((len(ends) - 1) / (ends[-1] - ends[0]) * TICKS_PER_S)


def played(run: Run) -> dict[str, float]:
    """Percentiles of both latencies in ms, `ttft_p50` and so on."""
    arrivals = {"kind": "poisson", "rate": f"{run.rate_req_per_s} req/s"}
    scenario = resolved(_scenario(arrivals, N_REQUESTS, MOST_AT_ONCE, run.cache_share, {}), "mlperf")
    device = scenario.device.model_copy(update={
        "memory_bytes_per_s": scenario.device.memory_bytes_per_s * run.speed,
        "peak_flop_per_s": {name: peak * run.speed for name, peak in scenario.device.peak_flop_per_s.items()},
    })  # fmt: skip
    latencies = latencies_ms(play(scenario.model_copy(update={"device": device}), []).requests)
    return {
        f"{key}_{name}": float(np.percentile(latencies[key][COUNTED], int(name[1:])))
        for key in ("ttft", "tpot")
        for name in PERCENTILES
    }


def _scenario(
    arrivals: dict[str, Any], n_requests: int, at_once: int, cache_share: str, host: dict[str, str]
) -> dict[str, Any]:
    """The deployment under some load, as data of a scenario file."""
    return {
        "model": "llama-2-70b",
        "topology": "h100-8",
        "deployment": {
            "engine": "trtllm", "tensor_parallel_size": RANKS, "replicas": REPLICAS, "router": "least_loaded",
            "weights": "8 bit", "kv_cache": "8 bit", "gpu_memory_utilization": cache_share,
            "max_num_seqs": at_once, "max_num_batched_tokens": 16384, "admission_lag": 0, **host,
        },
        "workload": {
            "arrivals": arrivals,
            "prompt_tokens": lognormal(294.0, 0.8, 1024),
            "output_tokens": {"kind": "lognormal", "median": 248, "p99": 926, "max": 1024},
            "requests": n_requests,
        },
    }  # fmt: skip


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
