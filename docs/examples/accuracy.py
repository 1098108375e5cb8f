"""
Write docs/accuracy.md and its picture: the suites of `simcluster validate` on a data folder, and what they mean.

    python docs/examples/accuracy.py DATA
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from simcluster.calibrate.constants.collective_lines import FREE
from simcluster.calibrate.constants.mlperf_host import left_s
from simcluster.calibrate.constants.op_classes import CLASSES, N_FREE
from simcluster.calibrate.constants.points import is_fitted
from simcluster.calibrate.runs.cases import tables
from simcluster.calibrate.runs.mlperf import HOST_PER_REQUEST_S, within
from simcluster.cli.validate import SUITE
from simcluster.plots.predicted import predicted_against_measured

DOCS = Path(__file__).resolve().parents[1]
CALIBRATION = DOCS.parent / "simcluster" / "data" / "calibration"
ENGINES = {"vllm": "vLLM", "trtllm": "TensorRT-LLM", "sglang": "SGLang"}


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; numbers to the right."""
    lines = ["| " + " | ".join(header) + " |", "|---|" + "---:|" * (len(header) - 1)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def share(value: float | None) -> str:
    """A percentage with one decimal."""
    return "-" if value is None else f"{value:.1f}"


def shares(found: dict[str, Any], *names: str) -> list[str]:
    """Some of median, mean, p90 and bias."""
    return [share(found["bias_pct" if name == "bias" else f"{name}_abs_err_pct"]) for name in names]


def errors(found: dict[str, Any]) -> list[str]:
    """Cases, median, mean, 90th percentile and bias."""
    return [str(found["cases"]), *shares(found, "median", "mean", "p90", "bias")]


def files() -> dict[str, dict[str, Any]]:
    """All calibration files as data."""
    return {
        path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(CALIBRATION.glob("*.yaml"))
    }


def counted() -> list[tuple[str, int, str]]:
    """How many constants were free, and in which fit; one that several rows share counts once."""
    return [
        ("ops of the H100", N_FREE, f"for {len(CLASSES)} classes and widths"),
        ("collectives on three NVLink generations", len(FREE), "starts, rounds, shares of the rated bandwidth"),
        ("serving engines", 6, "host time of a step, of a request for each of three, skew, slowdown under load"),
        ("admission lag", 3, "whole steps"),
        ("MLPerf's servers", 1, "host time of a request"),
        ("launching one by one, power", 6, "extra, host of two devices, passes, idle and busy"),
        ("wafers", 3, "overheads of two kinds of op, FLOP a cycle"),
    ]


def write(data: Path) -> None:
    """The page and its picture."""
    measured = tables(data)
    suites = {name: suite(measured, 2) for name, suite in SUITE.items()}
    predicted_against_measured(suites["end-to-end"]["rows"], DOCS / "images" / "accuracy.svg")
    left_for_request_s = left_s(measured / "end_to_end" / "mlperf_llama2_70b_h100.csv")
    (DOCS / "accuracy.md").write_text(page(suites, files(), left_for_request_s), encoding="utf-8")


def mlperf_section(rows: Sequence[dict[str, Any]], left_for_request_s: dict[str, float]) -> str:
    """Server runs beside measurements, and why not all of them can be met."""
    simulated = [row for row in rows if "skipped" not in row]
    fitted = {
        row["run"]: half for row, half in zip(simulated, is_fitted([row["run"] for row in simulated]), strict=True)
    }
    close, close_judged = within(simulated, 20), within([row for row in simulated if not fitted[row["run"]]], 20)
    keys = ("ttft_p50", "ttft_p99", "tpot_p50", "tpot_p99")
    return f"""## MLPerf

Llama-2-70B on eight H100: the exact arrival times of MLPerf's load generator at the submitted rate, forty minutes and more from an empty start, on four replicas of two ranks with the settings that are published with the results; lengths and what is assumed are in `simcluster/calibrate/runs/mlperf.py`.
Speed is that of a submission's devices by its own Offline run between the median and the 90th percentile, relative to the calibration without its slowdown under load.
One number is fitted to server runs, on the half that is marked: the host's time for a request in a step, {
        1e6 * HOST_PER_REQUEST_S:.0f} us.
Beside it stands what the measured time per token of each run leaves for it, if load did not fluctuate.

{
        table(
            ("submission", "half", "req/s", "speed", "us a request", "TTFT p50", "TTFT p99", "TPOT p50", "TPOT p99"),
            [
                (
                    row["run"].replace("llama2-70b-", ""),
                    "fitted" if fitted[row["run"]] else "judged",
                    row["rate_req_per_s"],
                    f"{row['speed']:.3f}",
                    f"{1e6 * left_for_request_s[row['run']]:.1f}",
                    *(f"{row[f'{key}_err_pct']:+.0f}" for key in keys),
                )
                for row in simulated
            ],
        )
    }
Errors in percent, with sign. Within 20 %, of {len(simulated)} runs: {
        ", ".join(f"{key.replace('_', ' ').upper().replace(' P', ' p')} {close[key]}" for key in keys)
    }, all four {close["all"]}; of the {len(simulated) - sum(fitted.values())} judged ones all four {
        close_judged["all"]
    }.

At 75 requests a second nine tenths of a step grow with the load.
A microsecond more for a request is 4 to 6 % more time for a token, one percent more load up to 10 %, and at 1,024 requests a replica is full: then prompts wait for seconds.
All submitters aim at that edge. With 20.7 us, what the fitted half leaves in the median, Dell's node would stay full from some minute on and first tokens would wait for ten seconds; with 18 us it is never full, as measured, and times per token come out 9 to 18 % short where nothing waits, and 31 % at Sustainable Metal Cloud, whose own leave the most.
The four nodes of Supermicro do wait in the measurement, and how long follows from the last few parts in a thousand of the load.

No common number can match three runs: HPE's two and Supermicro's AS-4125GS leave 5 to 8 us for a request, the eight others 18 to 25.
With the same code, and offline within 2 % of the others, they complete 94 and 98 % of their Offline rate as servers, where NVIDIA's completes 88.
HPE's makes 80 requests a second at 128 ms a token where Google's makes 75 at 169: no machine is faster per token the more it has to do.
"""


def page(
    suites: dict[str, dict[str, Any]], found: dict[str, dict[str, Any]], left_for_request_s: dict[str, float]
) -> str:
    """The whole text."""
    served = suites["end-to-end"]
    groups = [(kind, name, of) for kind in ("engine", "model", "precision", "parallelism", "concurrency")
              for name, of in served["groups"][kind].items()]  # fmt: skip
    worst = sorted(served["rows"], key=lambda row: -abs(row["tpot_err_pct"]))[:6]
    left = {(engine, model): of for engine in ENGINES for model, of in found[f"engine-{engine}"]["left_out"].items()}
    constants = counted()
    return f"""# Accuracy

Errors are of the prediction, relative to the measurement, in percent, without sign unless called bias.
They refer to points and runs that were not used for the fits; halves are split by a checksum of shape, size or run.
This page was written by

```sh
python docs/examples/accuracy.py DATA
```

from a folder of public measurements (NVIDIA aiconfigurator, vidur, InferenceMAX, MLPerf, Splitwise; not part of simcluster).
The constants come from the same folder by `simcluster fit --data DATA`, and any file of runs can be judged:

```sh
simcluster validate --suite all --data DATA
simcluster validate --cases runs.csv --json
```

A file of runs has a row for each run in a closed loop, with the columns `system, backend, model, precision, tp_size, isl, osl, concurrency, ttft_ms, tpot_ms`, and optionally `pp_size, moe_ep_size, attention_dp_size, origin, queueing`; columns that are missing count as 1.
Settings that a row lacks are taken from published launch scripts, but for TensorRT-LLM's token budget, which no script states and which was inferred from the fitted half of the served runs (`simcluster/calibrate/runs/deploy.py`).
A row with an unknown model, system or parallelism is skipped and listed; if no row is left, the exit code is 2.
Unknown columns are reported, since they may be misspelt.

## Served runs

{len(served["rows"])} runs on H100 that were not fitted, {served["fitted_half"]["cases"]} that were.
Time to first token leaves out runs that waited for admission.

{
        table(
            ("", "runs", "median", "mean", "p90", "bias"),
            [
                ("TPOT, judged half", *errors(served["tpot"])),
                ("TPOT, fitted half", *errors(served["fitted_half"]["tpot"])),
                ("TTFT, judged half", *errors(served["ttft"])),
                ("TTFT, fitted half", *errors(served["fitted_half"]["ttft"])),
            ],
        )
    }
![Predicted against measured](images/accuracy.svg)

{
        table(
            ("", "runs", "TPOT median", "TPOT bias", "TTFT median", "TTFT bias"),
            [
                (
                    f"{kind} {name}",
                    of["tpot"]["cases"],
                    *shares(of["tpot"], "median", "bias"),
                    *shares(of["ttft"], "median", "bias"),
                )
                for kind, name, of in groups
            ],
        )
    }
Errors on a model that is excluded from the fit, next to those with it (TPOT, median):

{
        table(
            ("engine and model", "fitted runs", "left out", "judged half, fitted with it"),
            [
                (
                    f"{ENGINES[engine]}, {model}",
                    of["points"],
                    of["median"],
                    found[f"engine-{engine}"]["tpot"]["median"],
                )
                for (engine, model), of in left.items()
            ],
        )
    }
Left-out errors follow from the slopes of the last round of the fit.
A model that is an engine's only one leaves the engine's host times where the search begins when it is left out, so its figure is the error without any fit.

The worst runs:

{
        table(
            ("", "measured TPOT, ms", "predicted", "error"),
            [
                (
                    f"{row['backend']} {row['model']} tp{row['tp_size']} {row['isl']}/{row['osl']} c{row['concurrency']}",
                    f"{row['tpot_ms']:.2f}",
                    f"{row['predicted_tpot_ms']:.2f}",
                    share(row["tpot_err_pct"]),
                )
                for row in worst
            ],
        )
    }
* gpt-oss-120b at 512 requests at a time waits 20 s for its first token and then gets one every 5 ms, as at eight requests: the engine had far fewer places than the row says, and no row says how many.
* gpt-oss-120b at 32 requests (1024/1024) and at 16 (1024/8192) is slower in the table than at 64: not explained, neither here nor by its neighbours.
* Times to first token of gpt-oss-120b are a quarter too short: its kernels for 4-bit experts are measured in one engine, and routing and quantising in the others are not.
* With 128 requests on four GPUs TensorRT-LLM waits longer for a first token than simulated.

## Kernels

H100, points of shapes that were not fitted.

{
        table(
            ("class", "bits", "points", "median", "p90", "bias"),
            [
                (
                    row["op"],
                    row["bits"],
                    row["points"],
                    *shares(row, "median", "p90", "bias"),
                )
                for row in suites["kernels"]["rows"]
            ],
        )
    }
Worst are residual adds and norms, whose table has a resolution of 1 us, and long tails: experts on ranks that hold only one, products of few rows and short reductions, and decoding over a thousand and more very short caches, where a block of threads takes as long for 128 entries as for 256.

## Collectives

{
        table(
            ("link", "collective", "library", "launch", "points", "median", "p90", "bias"),
            [
                (
                    row["link"],
                    row["collective"],
                    row["library"],
                    row["launch"],
                    row["points"],
                    *shares(row, "median", "p90", "bias"),
                )
                for row in suites["collectives"]["rows"]
            ],
        )
    }
Worst are all-to-all of arrays between the two protocols of NCCL, which changes over at sizes of its own on each generation, and eager starts of B200, whose table has two values.
A100 sends attain 96 % of the rated bandwidth, H100's 80: one share for both is that of the H100.

{mlperf_section(suites["mlperf"]["rows"], left_for_request_s)}
## An engine without CUDA graphs

Splitwise, Llama-2-70B fp16 on H100 and A100; A100s are scaled from the H100 but for their host.

{
        table(
            ("", "settings", "median", "mean", "p90", "bias"),
            [
                (what, *errors(suites["splitwise"][key]))
                for key, what in (
                    ("prompt_time", "time of a prompt"),
                    ("token_time", "time of a token"),
                    ("average_power", "average power"),
                )
            ],
        )
    }
Worst are batches of 8 prompts and more on four and eight devices, up to 47 % too fast: the engine's all-reduces of large arrays were several times slower than today's.

## Wafers

{
        table(
            ("", "device", "published, tokens/s", "predicted", "error", ""),
            [
                (
                    f"{row['what']} {row['model']} on {row['cores']}",
                    row["device"],
                    row["published_tokens_per_s"],
                    row["predicted_tokens_per_s"],
                    f"{row['err_pct']:+.1f}",
                    row["role"],
                )
                for row in suites["wafer"]["rows"]
            ],
        )
    }
Decode slows down from 420² to 660² cores and prefill speeds up, as measured.
Nothing is fitted to the two served speeds: a strip of the wafer for each layer, and 5 us from wafer to wafer.
With all cores for each layer in turn the errors would be 0 and +55 % ([decision 4](decisions/0004-strips-of-a-wafer.md)).

## How many constants

{table(("", "constants", ""), constants)}
{
        sum(n for _, n, _ in constants)
    } in all: similar kernels share constants, and values of data sheets are used where they exist ([decision 20](decisions/0020-kin-share-constants.md)).
A constant stayed if some class or collective would lose about a point without it, or miss its target.
Every file of `simcluster show calibration` shows the source of each constant, the number of points, and the errors.
"""


if __name__ == "__main__":
    write(Path(sys.argv[1]))
