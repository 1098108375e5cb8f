"""
Make all calibration files from a data folder: read its tables, fit, and state the remaining errors.

What is in no table (rules for other precisions, assumed constants, prose) is taken from the shipped files; fitted
numbers never are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from simcluster.calibrate.constants import collectives, eager, engines, h100, kernels, wafer_kernels
from simcluster.calibrate.constants.collective_tables import SYSTEMS
from simcluster.calibrate.constants.points import median_and_p90
from simcluster.calibrate.constants.yaml_text import dump, microseconds, percent
from simcluster.calibrate.runs.cases import Case, read, tables
from simcluster.calibrate.runs.deploy import model
from simcluster.calibrate.runs.simulated import Outcome, not_skipped, simulate_all
from simcluster.catalog.calibration import collectives as links
from simcluster.catalog.calibration import gpu, wafer
from simcluster.files import source

Files = dict[str, str]
"""Text of each calibration file, by name."""
Say = Callable[[str], None]

TITLES = {"vllm": "vLLM V1", "trtllm": "TensorRT-LLM", "sglang": "SGLang"}
SCHEDULERS = {
    "vllm": ("fcfs", "Chunked prefill, running requests first."),
    "trtllm": ("whole_prompts", "In-flight batching without chunked prefill, its default."),
    "sglang": ("prefill_first", "Prompts before decoding, no mixed chunks, its default."),
}
SLOPE_LAG = {"vllm": 0, "trtllm": 2, "sglang": 0}
"""Admission lag while slopes are measured: it hardly affects time per output token, except with one prompt a step."""
SERVED = {"served": h100.SOURCES["served"]}
ENGINE_METHOD = (
    "Written by `simcluster fit`. One host time of a step, three of a request, one skew of ranks and the slowdown "
    "under load "
    "minimise the mean |log of predicted over measured| time per output token of half of the served runs; the "
    "admission lag minimises the mean square of those of the time to first token. Errors are of the other half. "
    "`left_out` says what is left on a model when it takes no part in the fit."
)


def fit(data: Path, jobs: int, say: Say) -> Files:
    """
    Fit everything.

    Raises:
        InputError: a table of the data folder is missing or invalid.
    """
    measured = tables(data)
    say("kernels")
    fitted = kernels.fit_all(measured / "kernels")
    say("collectives")
    fabrics = _collectives(collectives.measured(measured / "collectives"))
    say("launching and power")
    unlaunched = _gpu_file(fitted, None, None)
    gpus = {"h100-80gb": _read_gpu(unlaunched), "a100-80gb": _scaled_gpu("a100-sxm-80", unlaunched)}
    launched = eager.fit(measured / "end_to_end" / "splitwise_llama2_70b.csv", gpus)
    say("serving engines")
    bare = _read_gpu(_gpu_file(fitted, launched, None))
    base = engines.Base(bare, links.read(source.parse(fabrics["collectives-nvlink4"], "nvlink4")))
    cases = read(measured / "end_to_end" / "silicon_h100.csv")
    half, other = engines.fitted_half(cases), engines.usable(engines.fitted_half(cases, fitted=False))
    found, last = engines.fit(half, SLOPE_LAG, base, jobs)
    found = engines.fit_lag(half, found, jobs)
    say("the other half of the served runs")
    judged = simulate_all(other, jobs, engines.With(found))
    left_out = engines.left_out(last)
    files = {"h100-sxm": dump(_gpu_file(fitted, launched, (found, len(last.cases), judged)))}
    files |= {"a100-sxm-80": _a100(launched)} | fabrics
    files |= {f"engine-{name}": _engine(name, found, half, judged, left_out) for name in engines.ENGINES}
    say("wafers")
    return files | _wafers()


def _collectives(points: collectives.Points) -> Files:
    found = collectives.fit(points)
    return {f"collectives-{link}": dump(collectives.file(link, found, points)) for link in SYSTEMS}


def _gpu_file(
    fitted: Sequence[kernels.Fitted],
    launched: Mapping[str, Any] | None,
    served: tuple[engines.Constants, int, Sequence[Outcome]] | None,
) -> dict[str, Any]:
    """Make the file of the H100, with neutral entries for constants that are not fitted yet."""
    extra_s = launched["eager_s"] if launched else 0.0
    host_s = launched["host_s"]["h100-80gb"] if launched else 0.0
    sustained = None
    if served is not None:
        found, n_points, judged = served
        median, p90 = _errors(judged, "tpot_error")
        sustained = {
            "slowdown": percent(found.common["sustained_slowdown"]),
            "from_share": percent(engines.SUSTAINED_FROM), "status": "fitted", "points": n_points,
            "median_error": percent(median), "p90_error": percent(p90), "source": "served",
            "note": h100.SUSTAINED,
        }  # fmt: skip
    launching = h100.launch(extra_s, host_s, launched["passes"] if launched else 1.0)
    return h100.file(fitted, launching, h100.power(launched), sustained)


def _read_gpu(data: dict[str, Any]) -> gpu.GpuCalibration:
    return gpu.read(source.parse(dump(data), "h100-sxm"), gpu.shipped_file)


def _scaled_gpu(name: str, base: dict[str, Any]) -> gpu.GpuCalibration:
    document = source.parse(dump(base), "h100-sxm")
    return gpu.read(gpu.shipped_file(name), lambda _: document)


def _a100(launched: Mapping[str, Any]) -> str:
    """Make the A100's file: the H100's constants, and the host time of its own runs."""
    data = _shipped("a100-sxm-80")
    data["date"] = h100.DATE
    data["launch"] = h100.launch(launched["eager_s"], launched["host_s"]["a100-80gb"], launched["passes"])
    data["launch"]["graph"]["source"] = "splitwise"
    return dump(data)


def _engine(
    name: str, found: engines.Constants, half: Sequence[Case], judged: Sequence[Outcome],
    left_out: Mapping[str, tuple[int, float]],
) -> str:  # fmt: skip
    """Make the file of one engine."""
    own = [case for case in engines.usable(half) if engines.engine_of(case) == name]
    others = [outcome for outcome in not_skipped(judged) if engines.engine_of(outcome.case) == name]
    scheduler, note = SCHEDULERS[name]
    host = found.host[name]

    def time(value_s: float, note: str) -> dict[str, Any]:
        return {"value": microseconds(value_s), "status": "fitted", "source": "served", "note": note}

    def span(values: Sequence[int]) -> list[int]:
        return [min(values), max(values)]

    models = sorted({case.model for case in own})
    return dump({
        "title": TITLES[name], "date": h100.DATE, "method": ENGINE_METHOD, "scheduler": scheduler,
        "scheduler_note": note, "admission_lag": found.lag[name],
        "host_fixed": time(found.common["host_fixed_s"], "Of every step; one for all engines."),
        "host_per_sequence": time(host["host_per_sequence_s"], "Of every request in a step."),
        "collective_skew": time(found.common["collective_skew_s"], "One for all engines."),
        "points": len(own),
        "tpot": _error(others, "tpot_error"), "ttft": _error(others, "ttft_error"),
        "left_out": {model(key).name: {"points": left_out[key][0], "median": percent(left_out[key][1])}
                     for key in models if key in left_out},
        "fitted_range": {
            "devices": ["h100-sxm"], "models": sorted({model(key).name for key in models}),
            "tensor_parallel": sorted({case.tp_size for case in own}),
            "concurrency": span([case.concurrency or 1 for case in own]),
            "prompt_tokens": span([case.isl for case in own]), "output_tokens": span([case.osl for case in own]),
        },
        "sources": SERVED,
    })  # fmt: skip


def _error(outcomes: Sequence[Outcome], key: str) -> dict[str, Any]:
    median, p90 = _errors(outcomes, key)
    return {"points": len(outcomes), "median": percent(median), "p90": percent(p90)}


def _errors(outcomes: Sequence[Outcome], key: str) -> tuple[float, float]:
    return median_and_p90(np.array([getattr(outcome, key) for outcome in not_skipped(outcomes)]))


def _wafers() -> Files:
    """Make the files of the three generations: the second is fitted, the others are scaled from it."""
    values, left = wafer_kernels.fit(wafer.shipped("wse-2"))
    files = {}
    for name, flop_share in (("wse-1", 1.0), ("wse-2", 1.0), ("wse-3", 2.0)):
        data = _shipped(name)
        data["date"] = str(data["date"])
        for key in ("matvec_overhead_cycles", "matmul_step_overhead_cycles", "matmul_flop_per_cycle"):
            share = flop_share if key == "matmul_flop_per_cycle" else 1.0
            data[key]["value"] = float(f"{values[key] * share:.3g}")
            if data[key]["status"] == "fitted":
                n_points, median, p90 = left[key]
                data[key]["residual"] = {"points": n_points, "median_error": percent(median),
                                         "p90_error": percent(p90)}  # fmt: skip
        files[name] = dump(data)
    return files


def _shipped(name: str) -> dict[str, Any]:
    """Read a shipped file as plain data."""
    text = (source.shipped("calibration") / f"{name}.yaml").read_text(encoding="utf-8")
    data: dict[str, Any] = yaml.safe_load(text)
    return data
