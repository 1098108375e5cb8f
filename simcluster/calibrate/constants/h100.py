"""The calibration file of the H100 SXM: fitted constants, rules and assumptions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from simcluster.calibrate.constants.kernels import Fitted
from simcluster.calibrate.constants.op_classes import N_FREE
from simcluster.calibrate.constants.yaml_text import microseconds, percent

DATE = "2026-11-26"
"""Date of the forms and of the choice of points, from which, with the tables, the fit follows."""

METHOD = (
    "Written by `simcluster fit`. An op lasts fixed + max(compute, fetch) with the data sheet's 989 TFLOP/s at 16 "
    "bit, 1978 at 8 bit and 3.35 TB/s; docs/model.md says what each constant does to the two. Constants minimise "
    "the mean |log of predicted over measured| (Nelder-Mead, best of three starts) on half of the points, rounded "
    "to three digits; errors are of the other half. Similar kernels were fitted together and share constants: "
    f"{N_FREE} were free in all, from which the numbers here follow. The halves are cut by shape, not by point, "
    "since neighbours of one shape are nearly the same measurement. The form and the ranges of shapes were chosen "
    "with all points in view, so only the constants are blind to the judged half: the errors are a little "
    "optimistic, and hold inside the ranges that the notes state."
)

FALLBACKS: list[dict[str, Any]] = [
    {"ops": ["gemm"], "bits": "4", "like": "16", "compute_bits": 16,
     "why": "Weights of 4 bit are widened on the way to 16-bit arithmetic; the bytes are those of 4 bit. No table of "
            "such a product."},
    {"ops": ["attention_prefill"], "bits": "4", "like": "8", "compute_bits": 8,
     "why": "A 4-bit cache is widened to 8 bit; not measured."},
    {"ops": ["attention_decode"], "bits": "4", "like": "8", "compute_bits": 16,
     "why": "A 4-bit cache is widened as an 8-bit one is; not measured."},
    {"ops": ["elementwise", "embedding"], "bits": "8", "like": "16", "compute_bits": 16,
     "why": "Bound by bytes, which follow the width; activations stay at 16 bit."},
    {"ops": ["elementwise", "embedding"], "bits": "4", "like": "16", "compute_bits": 16,
     "why": "Bound by bytes, which follow the width; activations stay at 16 bit."},
]  # fmt: skip

SOURCES = {
    "aiconfigurator": {"title": "NVIDIA aiconfigurator-core 0.12.0, measured tables of H100 SXM (Apache-2.0)",
                       "url": "https://github.com/ai-dynamo/aiconfigurator"},
    "vidur": {"title": "microsoft/vidur, profiling data of H100 at commit 7d47513 (MIT)",
              "url": "https://github.com/microsoft/vidur"},
    "splitwise": {"title": "Patel et al., Splitwise, ISCA 2024: measured Llama-2-70B runs of splitwise-sim",
                  "url": "https://github.com/Mutinifni/splitwise-sim"},
    "served": {"title": "InferenceMAX public runs and NVIDIA aiconfigurator gap-analysis runs on H100 SXM",
               "url": "https://github.com/ai-dynamo/aiconfigurator"},
}  # fmt: skip

GRAPH = {"value": "0 us", "status": "assumed", "source": "aiconfigurator",
         "note": "The tables are of replayed CUDA graphs, so their fixed costs hold what a node of a graph "
                 "costs."}  # fmt: skip
EAGER = (
    "Llama-2-70B fp16, one sequence, two H100s and two A100s: what is left of a token's time for each of 644 ops; "
    "the mean of both."
)
EAGER_HOST = (
    "The same on four and eight devices, where the host is the slower one: time of a token over 644 launches. A "
    "layer lasts at least as long as its launches."
)
SUSTAINED = (
    "The slowdown was found together with the host times of serving engines (engine-*.yaml), of which the errors "
    "are; the onset is a choice. Kernel tables are bursts; served prompts on one device are up to 15 % slower than "
    "these, on four they are not."
)
HOST = {
    "fixed": {"value": "650 us", "status": "assumed", "source": "served",
              "note": "Where no serving engine is named: about what the fits of engines give (engine-*.yaml)."},
    "per_sequence": {"value": "5 us", "status": "assumed", "source": "served",
                     "note": "As above; between vLLM's and TensorRT-LLM's."},
}  # fmt: skip


PASSES = (
    "Prompts of 1024 tokens of the same runs, two to eight devices, median: norms and activation functions of an "
    "eager engine are many small kernels, each of which reads and writes its values."
)


def launch(extra_s: float, host_s: float, passes: float) -> dict[str, Any]:
    """Write the times of launches: in a graph, one by one, and on the host."""
    return {
        "graph": dict(GRAPH),
        "eager": {"value": microseconds(extra_s), "status": "fitted", "points": 2, "source": "splitwise",
                  "note": EAGER},
        "eager_host": {"value": microseconds(host_s), "status": "fitted", "points": 1, "source": "splitwise",
                       "note": EAGER_HOST},
        "eager_passes": {"value": f"{passes:.3g} x", "status": "fitted", "points": 5, "source": "splitwise",
                         "note": PASSES},
    }  # fmt: skip


def power(launched: Mapping[str, Any] | None) -> dict[str, Any]:
    """Write average power of an idle and of a busy device."""
    shares = (launched["idle"], launched["busy"]) if launched else (1.0, 0.0)
    points = launched["power_points"] if launched else 0
    note = "Llama-2-70B fp16 on two, four and eight A100s, one request; taken over for all devices."
    return {
        name: {"value": percent(share), "status": "fitted", "points": points, "source": "splitwise", "note": note}
        for name, share in zip(("idle", "busy"), shares, strict=True)
    }


def file(
    fitted: Sequence[Fitted], launching: dict[str, Any], drawn: dict[str, Any], sustained: dict[str, Any] | None
) -> dict[str, Any]:
    """Make the file as data."""
    ops: dict[str, dict[str, Any]] = {}
    for found in fitted:
        ops.setdefault(found.of.op, {})[str(found.of.bits)] = entry(found)
    data = {
        "title": "NVIDIA H100 SXM 80 GB", "status": "fitted", "date": DATE, "method": METHOD, "ops": ops,
        "fallbacks": FALLBACKS, "launch": launching, "host": HOST, "power": drawn,
    }  # fmt: skip
    return data | ({"sustained": sustained} if sustained else {}) | {"sources": SOURCES}


def entry(found: Fitted) -> dict[str, Any]:
    """Write one class of op: constants with units, and their evidence."""
    fit = found.of.fit(found.constants)
    data: dict[str, Any] = {
        "fixed": microseconds(fit.fixed_s),
        "memory_efficiency": percent(fit.memory_efficiency),
        "compute_efficiency": percent(fit.compute_efficiency),
    }
    if fit.activation_efficiency is not None:
        data["activation_efficiency"] = percent(fit.activation_efficiency)
    if fit.output_efficiency is not None:
        data["output_efficiency"] = percent(fit.output_efficiency)
    if fit.ramp_bytes:
        data["ramp"] = f"{fit.ramp_bytes / 1e6:.3g} MB"
        data["ramp_slowdown"] = percent(fit.ramp_slowdown)
    if fit.passage:
        data["passage"] = fit.passage
    if fit.wave_columns:
        data["wave_columns"] = fit.wave_columns
    if fit.key_s:
        data["per_key"] = f"{fit.key_s * 1e9:.3g} ns"
    return data | {
        "compute_bits": fit.compute_bits, "status": "fitted", "points": found.n_points,
        "median_error": percent(found.median_error), "p90_error": percent(found.p90_error),
        "source": found.of.source, "note": found.of.note,
    }  # fmt: skip
