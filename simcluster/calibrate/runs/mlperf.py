"""
MLPerf Inference v4.1 server runs of Llama-2-70B on eight H100: percentiles at the submitted rate.

All submitters but the open ones run NVIDIA's code, whose settings are published with the results: on GitHub, in
mlcommons/inference_results_v4.1, closed/NVIDIA/configs/llama2-70b/Server and Offline, code/llama2-70b/tensorrt/
builder.py and code/harness/harness_llm/main_llm.cc. fp8, two ranks and one stage a replica, so four replicas; at most
1,024 requests in each, 896 offline; up to 16,384 tokens a step; prompts are not cut; no sorting; a request goes to
the replica that has the fewest; the runtime decides a step when the previous one has ended, so there is no lag. The
cache has 0.90, HPE's 0.97, of the memory that is free once weights are loaded. A device's 80 GB are 80 GiB, and the
difference is assumed to be used by the runtime's buffers. Devices keep their clocks under load: `vboost_slider = 1`.

The machine and load of a submission follow from its own rows:

* speed: the rate at which its devices complete offline between the median and the 90th percentile of the run, as a
  factor on the data sheet's rates. The rate of the whole run includes its end, when replicas run empty one by one;
* load: the arrivals that LoadGen makes of the submitted rate, see `loadgen.py`. The rate of the completed requests is
  lower, since it counts the time until the last has its answer;
* answers: tokens for each request. They differ by 0.7 % from one quantisation to another.

A server reports tokens as they come, and the C++ runtime of 2024 that does so is not the one of TensorRT-LLM's served
runs. Its time for a request in a step is one number for all, found by `calibrate/constants/mlperf_host.py` from times
per token of half of the submissions. Offline nothing is reported before the end, and the host needs no such time.

Lengths of OpenOrca's 24,576 samples are not in the tables. Answers: latency over time per token in NVIDIA's own run
has median 248, p99 926 and maximum 1,024. Prompts: a row has 1,697 bytes of system prompt, question and a
reference answer (huggingface.co/datasets/ctuning/MLPerf-OpenOrca); with a third of them in the answer, four bytes a
token and the chat template the mean is some 294. Both lognormal; mean and spread of the prompts are assumed.

Runs are simulated in full, forty minutes and more from an empty start: near its limit a replica fills in ten minutes.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from simcluster.calibrate.runs.loadgen import N_SAMPLES, Tokens, arrivals_s, passes, write
from simcluster.calibrate.runs.simulated import in_parallel, resolved
from simcluster.files.source import read_text
from simcluster.kernel.simulate import run_scenario
from simcluster.numerics.arrays import Floats
from simcluster.numerics.ticks import TICKS_PER_S
from simcluster.results.metrics import latencies_ms

Row = dict[str, str]

RANKS, REPLICAS = 2, 4
MAX_NUM_SEQS = 1024
MAX_NUM_SEQS_OFFLINE = 896
MAX_TOKENS = 1024
"""Longest prompt, and longest answer."""
CACHE_SHARE = 0.90
CACHE_SHARES = {"HPE": 0.97}
"""Shares of the free memory by submitter, if not NVIDIA's 0.90: closed/HPE/configs/llama2-70b/Server/custom.py."""
WEIGHTS = 34.5 / 80
"""Share of a device's memory."""
HOST_PER_REQUEST_S = 18e-6
"""Host time of a request in every step of a server; see `calibrate/constants/mlperf_host.py`."""
PERCENTILES = ("p50", "p99")


class Run(NamedTuple):
    """The inputs of a simulated server run."""

    rate_req_per_s: float
    """Submitted rate."""
    answer_tokens: float
    """Mean tokens of an answer."""
    speed: float
    """Speed of the submission's devices, from its Offline run, relative to the calibration."""
    cache_share: float
    """Share of the memory that weights leave."""
    host_per_request_s: float = HOST_PER_REQUEST_S


def judge(file: Path, jobs: int = 1) -> Iterator[dict[str, Any]]:
    """Judge every server run of one node with TensorRT-LLM; others are reported with the reason."""
    rows, _ = _tables(file)
    found = runs(file)
    simulated_ms = in_parallel(percentiles_ms, [run for _, run in found.values()], jobs)
    times_ms = dict(zip(found, simulated_ms, strict=True))
    for row in rows:
        title, reason = title_of(row), why_not(row)
        yield {"run": title, "skipped": reason} if reason else {
            "run": title, **_compared(row, found[title][1].speed, times_ms[title]),
        }  # fmt: skip


def runs(file: Path) -> dict[str, tuple[Row, Run]]:
    """Collect the rows of a table that can be simulated, and their inputs, by title."""
    rows, offline = _tables(file)
    nominal = offline_tokens_per_s()
    return {title_of(row): (row, _run(row, offline[title_of(row)], nominal)) for row in rows if not why_not(row)}


def _tables(file: Path) -> tuple[list[Row], dict[str, Row]]:
    """Read the server runs, and Offline runs by title."""
    table = list(csv.DictReader(read_text(file).splitlines()))
    offline = {title_of(row): row for row in table if row["scenario"] == "Offline"}
    return [row for row in table if row["scenario"] == "Server"], offline


def _run(row: Row, offline: Row, nominal_tokens_per_s: float) -> Run:
    speed = steady_tokens_per_s(offline) / nominal_tokens_per_s
    share = CACHE_SHARES.get(row["submitter"], CACHE_SHARE)
    return Run(float(row["target_qps"]), answer_tokens(row), speed, share)


def answer_tokens(row: Row) -> float:
    """Find the mean tokens of an answer."""
    return float(row["completed_tokens_per_s"]) / float(row["completed_samples_per_s"])


def steady_tokens_per_s(offline: Row) -> float:
    """Find the tokens per second of a measured Offline run."""
    n_samples = float(offline["completed_samples_per_s"]) * float(offline["lat_max_ms"]) / 1e3
    ends_s = float(offline["lat_p50_ms"]) / 1e3, float(offline["lat_p90_ms"]) / 1e3
    return _steady(n_samples, ends_s) * answer_tokens(offline)


def _steady(n_samples: float, ends_s: tuple[float, float]) -> float:
    """Find the samples per second between median and 90th percentile of latencies, from the start of the run."""
    return (0.9 - 0.5) * n_samples / (ends_s[1] - ends_s[0])


def title_of(row: Row) -> str:
    """Make the title that an Offline and a Server run share."""
    return f"{row['submitter']} {row['system']} {row['benchmark']}"


def why_not(row: Row) -> str:
    """Say why a run cannot be simulated; empty if it can."""
    if row["division"] != "closed":
        return "an open submission with an engine and settings of its own"
    if int(float(row["nodes"])) > 1:
        return "several nodes behind one load generator: the network between them is not known"
    if int(float(row["accel_total"])) != 8:
        return "a board of four without a switch, two GPUs on a third of the links each"
    return ""


def _compared(row: Row, speed: float, found: dict[str, float]) -> dict[str, Any]:
    """Make the row of a run: measured, simulated, relative error."""
    result: dict[str, Any] = {
        "rate_req_per_s": float(row["target_qps"]), "tensor_parallel": RANKS, "speed": round(speed, 4),
    }  # fmt: skip
    for name, value in found.items():
        measured = float(row[f"{name}_ms"])
        result |= {f"{name}_ms": measured, f"predicted_{name}_ms": round(value, 3),
                   f"{name}_err_pct": round(100 * (value / measured - 1), 2)}  # fmt: skip
    return result


@lru_cache(maxsize=4)
def offline_tokens_per_s(max_num_seqs: int = MAX_NUM_SEQS_OFFLINE) -> float:
    """
    Simulate the tokens per second of an Offline run on devices of the calibration's speed.

    All requests are there from the start, in enough passes over the samples for the 90th percentile to come before
    replicas run empty.
    """
    lengths = passes(samples(), 3 * N_SAMPLES)
    requests = _requests(np.zeros(len(lengths)), lengths, max_num_seqs, CACHE_SHARE, 1.0, 0.0)
    half, most = np.percentile(requests["last_token_at_ticks"] / TICKS_PER_S, (50, 90))
    return _steady(len(lengths), (half, most)) * float(lengths[:, 1].mean())


def percentiles_ms(run: Run) -> dict[str, float]:
    """Simulate a run and find percentiles of both latencies, `ttft_p50` and so on."""
    times_s = arrivals_s(run.rate_req_per_s)
    lengths = passes(samples(run.answer_tokens), len(times_s))
    requests = _requests(times_s, lengths, MAX_NUM_SEQS, run.cache_share, run.speed, run.host_per_request_s)
    latencies = latencies_ms(requests)
    return {
        f"{key}_{name}": float(np.percentile(latencies[key], int(name[1:])))
        for key in ("ttft", "tpot")
        for name in PERCENTILES
    }


def samples(answer_tokens: float | None = None) -> Tokens:
    """Draw prompt and answer of every sample, answers scaled to a mean; shape (samples, 2)."""
    from scipy.special import ndtri

    normal = ndtri((np.arange(N_SAMPLES) + 0.5) / N_SAMPLES)
    answers = _lognormal(normal, 248.0, math.log(926 / 248) / ndtri(0.99))
    if answer_tokens is not None:
        answers = np.minimum(answers * (answer_tokens / answers.mean()), MAX_TOKENS)
    prompts = _lognormal(normal, 294.0 / math.exp(0.8**2 / 2), 0.8)
    shuffled = np.random.Generator(np.random.PCG64(0)).permutation(prompts)
    lengths: Tokens = np.rint(np.maximum(np.column_stack([shuffled, answers]), 1)).astype(np.int64)
    return lengths


def _lognormal(normal: Floats, median: float, sigma: float) -> Floats:
    return np.asarray(np.minimum(median * np.exp(sigma * normal), MAX_TOKENS))


def _requests(
    times_s: Floats, lengths: Tokens, max_num_seqs: int, cache_share: float, speed: float, host_per_request_s: float
) -> Any:
    """Simulate a load on devices of a given speed and return the table of requests."""
    memory_share = WEIGHTS + cache_share * (1 - WEIGHTS)
    with TemporaryDirectory() as folder:
        trace = Path(folder) / "requests.csv"
        write(trace, times_s, lengths)
        scenario = resolved({
            "model": "llama-2-70b",
            "topology": "h100-8",
            "deployment": {
                "engine": "trtllm", "tensor_parallel_size": RANKS, "replicas": REPLICAS, "router": "least_loaded",
                "weights": "8 bit", "kv_cache": "8 bit", "gpu_memory_utilization": f"{100 * memory_share:.2f} %",
                "max_num_seqs": max_num_seqs, "max_num_batched_tokens": 16384, "admission_lag": 0,
            },
            "workload": {"trace": str(trace), "trace_format": "lengths"},
        }, "mlperf")  # fmt: skip
        (pool,) = scenario.pools
        device = pool.device.model_copy(update={
            "memory_bytes_per_s": pool.device.memory_bytes_per_s * speed,
            "peak_flop_per_s": {name: peak * speed for name, peak in pool.device.peak_flop_per_s.items()},
        })  # fmt: skip
        engine = pool.engine.model_copy(update={"host_per_sequence_s": host_per_request_s})
        assert pool.gpu is not None
        gpu = pool.gpu.model_copy(update={"sustained_slowdown": 0.0})
        changed = pool.model_copy(update={"device": device, "engine": engine, "gpu": gpu})
        return run_scenario(scenario.model_copy(update={"pools": (changed,)}), []).requests


def within(rows: Sequence[dict[str, Any]], percent: float) -> dict[str, int]:
    """Count the runs with each percentile within `percent`, by its name, and with all of them."""
    names = [f"{key}_{name}" for key in ("ttft", "tpot") for name in PERCENTILES]
    simulated = [row for row in rows if "skipped" not in row]
    close = [{name: abs(row[f"{name}_err_pct"]) <= percent for name in names} for row in simulated]
    return {name: sum(row[name] for row in close) for name in names} | {"all": sum(all(r.values()) for r in close)}
