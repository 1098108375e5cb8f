"""
MLPerf Inference v4.1 server runs of Llama-2-70B on eight H100: percentiles at the submitted rate.

All submitters but the open ones run NVIDIA's code, whose settings are published with the results: on GitHub, in
mlcommons/inference_results_v4.1, closed/NVIDIA/configs/llama2-70b/Server and Offline, code/llama2-70b/tensorrt/
builder.py and code/harness/harness_llm/main_llm.cc. fp8, two ranks and one stage a replica, so four replicas; at most
1,024 requests in each, 896 offline; up to 16,384 tokens a step; prompts are not cut; no sorting; a request goes to
the replica that has the fewest; the runtime decides a step when the one before is over, so there is no lag. The cache
has 0.90, HPE's 0.97, of the memory that is free once weights are loaded. A device's 80 GB are 80 GiB, and what they
are more is assumed to be what the runtime's buffers take. Devices keep their clocks under load: `vboost_slider = 1`.

What makes a submission's machine and load stands in its own rows:

* speed: what its devices complete offline between the median and the 90th percentile of the run, as a factor on the
  data sheet's rates. The rate of the whole run also holds the end, when replicas run empty one after the other;
* load: the arrivals that LoadGen makes of the submitted rate, see `loadgen.py`. The rate of the completed requests is
  lower, since it counts the time until the last has its answer;
* answers: tokens for each request. They differ by 0.7 % from one quantisation to another.

A server reports tokens as they come, and the C++ runtime of 2024 that does so is not the one of TensorRT-LLM's served
runs. What it takes for a request in a step is one number for all, found by `simcluster/fitting/mlperf.py` from times
per token of half of the submissions. Offline nothing is reported before the end, and the host needs no such time.

Lengths of OpenOrca's 24,576 samples are not in the tables. Answers: latency over time per token in NVIDIA's own run
is 248 in the median and 926 at p99, 1,024 the most. Prompts: a row has 1,697 bytes of system prompt, question and a
reference answer (huggingface.co/datasets/ctuning/MLPerf-OpenOrca); with a third of them in the answer, four bytes a
token and the chat template that is some 294 in the mean. Both lognormal; mean and spread of the prompts are assumed.

Runs are played whole, forty minutes and more from an empty start: near its limit a replica takes ten minutes to fill.
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
MOST_AT_ONCE = 1024
MOST_AT_ONCE_OFFLINE = 896
MOST_TOKENS = 1024
"""Of a prompt, and of an answer."""
CACHE_SHARE = 0.90
CACHE_SHARES = {"HPE": 0.97}
"""Of the free memory, where it is not NVIDIA's 0.90: closed/HPE/configs/llama2-70b/Server/custom.py."""
WEIGHTS = 34.5 / 80
"""Share of a device's memory."""
HOST_PER_REQUEST_S = 18e-6
"""Of every step, in a server; see `simcluster/fitting/mlperf.py`."""
PERCENTILES = ("p50", "p99")


class Run(NamedTuple):
    """What a server run is simulated from."""

    rate_req_per_s: float
    """As submitted."""
    answer_tokens: float
    """Mean."""
    speed: float
    """Of the submission's devices, by its Offline run; 1 is what the calibration says."""
    cache_share: float
    """Of the memory that weights leave."""
    host_per_request_s: float = HOST_PER_REQUEST_S


def judge(file: Path, jobs: int = 1) -> Iterator[dict[str, Any]]:
    """Every server run of one node with TensorRT-LLM; others are told with the reason."""
    rows, _ = _tables(file)
    found = runs(file)
    played_ms = in_parallel(played, [run for _, run in found.values()], jobs)
    times_ms = dict(zip(found, played_ms, strict=True))
    for row in rows:
        title, reason = title_of(row), why_not(row)
        yield {"run": title, "skipped": reason} if reason else {
            "run": title, **_beside(row, found[title][1].speed, times_ms[title]),
        }  # fmt: skip


def runs(file: Path) -> dict[str, tuple[Row, Run]]:
    """Rows of a table that can be played, and how, by title."""
    rows, offline = _tables(file)
    nominal = offline_tokens_per_s()
    return {title_of(row): (row, _run(row, offline[title_of(row)], nominal)) for row in rows if not why_not(row)}


def _tables(file: Path) -> tuple[list[Row], dict[str, Row]]:
    """The server runs, and Offline runs by title."""
    table = list(csv.DictReader(read_text(file).splitlines()))
    offline = {title_of(row): row for row in table if row["scenario"] == "Offline"}
    return [row for row in table if row["scenario"] == "Server"], offline


def _run(row: Row, offline: Row, nominal_tokens_per_s: float) -> Run:
    speed = steady_tokens_per_s(offline) / nominal_tokens_per_s
    share = CACHE_SHARES.get(row["submitter"], CACHE_SHARE)
    return Run(float(row["target_qps"]), answer_tokens(row), speed, share)


def answer_tokens(row: Row) -> float:
    """Tokens of an answer in the mean."""
    return float(row["completed_tokens_per_s"]) / float(row["completed_samples_per_s"])


def steady_tokens_per_s(offline: Row) -> float:
    """Tokens a second of an Offline run that was measured."""
    n_samples = float(offline["completed_samples_per_s"]) * float(offline["lat_max_ms"]) / 1e3
    ends_s = float(offline["lat_p50_ms"]) / 1e3, float(offline["lat_p90_ms"]) / 1e3
    return _steady(n_samples, ends_s) * answer_tokens(offline)


def _steady(n_samples: float, ends_s: tuple[float, float]) -> float:
    """Samples a second between median and 90th percentile of latencies, which count from the start of the run."""
    return (0.9 - 0.5) * n_samples / (ends_s[1] - ends_s[0])


def title_of(row: Row) -> str:
    """What an Offline and a Server run have in common."""
    return f"{row['submitter']} {row['system']} {row['benchmark']}"


def why_not(row: Row) -> str:
    """Why a run is not played; nothing if it is."""
    if row["division"] != "closed":
        return "an open submission with an engine and settings of its own"
    if int(float(row["nodes"])) > 1:
        return "several nodes behind one load generator: what lies between is not known"
    if int(float(row["accel_total"])) != 8:
        return "a board of four without a switch, two GPUs on a third of the links each"
    return ""


def _beside(row: Row, speed: float, found: dict[str, float]) -> dict[str, Any]:
    """Measured, simulated, off by."""
    result: dict[str, Any] = {
        "rate_req_per_s": float(row["target_qps"]), "tensor_parallel": RANKS, "speed": round(speed, 4),
    }  # fmt: skip
    for name, value in found.items():
        measured = float(row[f"{name}_ms"])
        result |= {f"{name}_ms": measured, f"predicted_{name}_ms": round(value, 3),
                   f"{name}_err_pct": round(100 * (value / measured - 1), 2)}  # fmt: skip
    return result


@lru_cache(maxsize=4)
def offline_tokens_per_s(at_once: int = MOST_AT_ONCE_OFFLINE) -> float:
    """The same of devices as fast as the calibration says, so many requests at once in every replica: all are there
    from the start, in so many passes over the samples that the 90th percentile is before replicas run empty."""
    lengths = passes(samples(), 3 * N_SAMPLES)
    requests = _requests(np.zeros(len(lengths)), lengths, at_once, CACHE_SHARE, 1.0, 0.0)
    half, most = np.percentile(requests["last_token_at_ticks"] / TICKS_PER_S, (50, 90))
    return _steady(len(lengths), (half, most)) * float(lengths[:, 1].mean())


def played(run: Run) -> dict[str, float]:
    """Percentiles of both latencies in ms, `ttft_p50` and so on."""
    times_s = arrivals_s(run.rate_req_per_s)
    lengths = passes(samples(run.answer_tokens), len(times_s))
    requests = _requests(times_s, lengths, MOST_AT_ONCE, run.cache_share, run.speed, run.host_per_request_s)
    latencies = latencies_ms(requests)
    return {
        f"{key}_{name}": float(np.percentile(latencies[key], int(name[1:])))
        for key in ("ttft", "tpot")
        for name in PERCENTILES
    }


def samples(answer_tokens: float | None = None) -> Tokens:
    """Prompt and answer of every sample, answers stretched to a mean; (samples, 2)."""
    from scipy.special import ndtri

    normal = ndtri((np.arange(N_SAMPLES) + 0.5) / N_SAMPLES)
    answers = _lognormal(normal, 248.0, math.log(926 / 248) / ndtri(0.99))
    if answer_tokens is not None:
        answers = np.minimum(answers * (answer_tokens / answers.mean()), MOST_TOKENS)
    prompts = _lognormal(normal, 294.0 / math.exp(0.8**2 / 2), 0.8)
    shuffled = np.random.Generator(np.random.PCG64(0)).permutation(prompts)
    lengths: Tokens = np.rint(np.maximum(np.column_stack([shuffled, answers]), 1)).astype(np.int64)
    return lengths


def _lognormal(normal: Floats, median: float, sigma: float) -> Floats:
    return np.asarray(np.minimum(median * np.exp(sigma * normal), MOST_TOKENS))


def _requests(
    times_s: Floats, lengths: Tokens, at_once: int, cache_share: float, speed: float, host_per_request_s: float
) -> Any:
    """The table of requests when such a load is played on devices of such a speed."""
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
                "max_num_seqs": at_once, "max_num_batched_tokens": 16384, "admission_lag": 0,
            },
            "workload": {"trace": str(trace), "trace_format": "lengths"},
        }, "mlperf")  # fmt: skip
        device = scenario.device.model_copy(update={
            "memory_bytes_per_s": scenario.device.memory_bytes_per_s * speed,
            "peak_flop_per_s": {name: peak * speed for name, peak in scenario.device.peak_flop_per_s.items()},
        })  # fmt: skip
        engine = scenario.engine.model_copy(update={"host_per_sequence_s": host_per_request_s})
        assert scenario.gpu is not None
        gpu = scenario.gpu.model_copy(update={"sustained_slowdown": 0.0})
        return run_scenario(scenario.model_copy(update={"device": device, "engine": engine, "gpu": gpu}), []).requests


def within(rows: Sequence[dict[str, Any]], percent: float) -> dict[str, int]:
    """How many runs have each percentile within so many percent, by its name, and all of them."""
    names = [f"{key}_{name}" for key in ("ttft", "tpot") for name in PERCENTILES]
    played_rows = [row for row in rows if "skipped" not in row]
    close = [{name: abs(row[f"{name}_err_pct"]) <= percent for name in names} for row in played_rows]
    return {name: sum(row[name] for row in close) for name in names} | {"all": sum(all(r.values()) for r in close)}
