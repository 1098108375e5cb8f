"""Fit the constants of each class of op of the H100 to its kernel tables, and judge them on the shapes left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from simcluster.calibration.gpu import GpuCalibration, OpFit
from simcluster.costs.gpu import Floats, op_s
from simcluster.fitting import kernel_tables as tables
from simcluster.fitting.points import Points, errors, judged, median_and_p90
from simcluster.fitting.search import Constants, search

PEAK_FLOP_PER_S = {16: 989e12, 8: 1978e12}
"""Of an H100 SXM: NVIDIA's data sheet, dense."""
BYTES_PER_S = 3.35e12

EFFICIENCIES = ("memory_efficiency", "compute_efficiency", "activation_efficiency", "output_efficiency")
MOST = dict.fromkeys(EFFICIENCIES, 1.0)


@dataclass(frozen=True)
class Class:
    """One class of op at one width: its points, its free constants with a first guess, and those that are held."""

    op: str
    bits: int
    points: Callable[[Path, int], Points]
    start: Mapping[str, float]
    held: Mapping[str, float] = field(default_factory=dict)
    compute_bits: int = 16
    like: tuple[Any, ...] = ()
    """A class, its bits, and the constants taken over from it, where they are equal within the error of both."""
    source: str = "aiconfigurator"
    note: str = ""

    def fit(self, constants: Mapping[str, float]) -> OpFit:
        """Free and held constants together."""
        return OpFit(compute_bits=self.compute_bits, **{**self.held, **constants})


PASSAGE = {"passage": 3.0}
"""Of all that has one: free exponents were 2 to 8, and gained at most 0.3 points."""


def _without(start: Mapping[str, float], *names: str) -> dict[str, float]:
    """Without the constants that are taken over."""
    return {name: value for name, value in start.items() if name not in names}


_GEMM = {"fixed_s": 4e-6, "memory_efficiency": 0.8, "compute_efficiency": 0.75}
_TILED = {**_GEMM, "activation_efficiency": 0.3, "wave_columns": 6e3}
_PREFILL = {"fixed_s": 13e-6, "compute_efficiency": 0.58, "activation_efficiency": 0.25, "key_s": 7e-9}
_DECODE = {"fixed_s": 9e-6, "ramp_bytes": 1e7}
_LATENT = {"fixed_s": 12e-6, "memory_efficiency": 0.8, "compute_efficiency": 0.6, "activation_efficiency": 0.1}
_MOE = {"fixed_s": 28e-6, "memory_efficiency": 0.9, "activation_efficiency": 0.35}
_BYTES = {"fixed_s": 2e-6, "memory_efficiency": 0.5}
_ALL_OUT = {**PASSAGE, "output_efficiency": 0.9}
_NO_ARITHMETIC = {"compute_efficiency": 1.0}
_NO_FETCH = {"memory_efficiency": 1.0}
_CACHE = {"memory_efficiency": 1.0, "compute_efficiency": 0.591}
_CACHE_8 = {"memory_efficiency": 1.0, "compute_efficiency": 0.69}
_EXPERTS = {**PASSAGE, "compute_efficiency": 0.81}
"""Grouped products attain no more of the peak than plain ones; left free, the fit exceeds the data sheet."""
_MISSING = "Arithmetic does not bind in the fit; its share is that of latent attention."

NORMS = {"input_layernorm": "2 * n_embd", "post_attention_layernorm": "2 * n_embd"}
ACTIVATION = {"mlp_act": "(2 + gated) * n_ffn / tp"}
OTHERS = {"add": "3 * n_embd"}

CLASSES = (
    Class("gemm", 16, tables.gemm, _GEMM, PASSAGE,
          note="Median of the TensorRT-LLM, vLLM and SGLang tables; m 1 to 16384, n and k from 512."),
    Class("gemm", 8, tables.gemm, _TILED, _ALL_OUT, compute_bits=8,
          note="As at 16 bit, fp8 per tensor, quantising the activations included; the three stacks differ by more "
               "than the fit errs (TensorRT-LLM's table has twice the fixed cost)."),
    Class("gemm_block", 8, tables.gemm_block, _without(_TILED, "compute_efficiency"), _ALL_OUT, compute_bits=8,
          like=("gemm", 8, "compute_efficiency"),
          note="Fp8 with a scale for each block of 128 x 128: median of TensorRT-LLM and SGLang; vLLM's table is "
               "launching alone (54 to 59 us)."),
    Class("attention_prefill", 16, tables.attention_prefill(128), _PREFILL, _NO_FETCH,
          note="TensorRT-LLM, causal, head size 128, prompts of 16 to 16384. Reading the cache never binds."),
    Class("attention_prefill", 8, tables.attention_prefill(128), _without(_PREFILL, "key_s"), _NO_FETCH,
          compute_bits=8, like=("attention_prefill", 16, "key_s"),
          note="TensorRT-LLM, fp8 over an fp8 cache; bf16 arithmetic over an fp8 cache takes nearly the same time."),
    Class("attention_prefill_64", 16, tables.attention_prefill(64), _PREFILL, _NO_FETCH, note="Head size 64."),
    Class("attention_prefill_64", 8, tables.attention_prefill(64), _without(_PREFILL, "fixed_s", "key_s"), _NO_FETCH,
          compute_bits=8, like=("attention_prefill_64", 16, "fixed_s", "key_s"), note="Head size 64."),
    Class("attention_prefill_latent", 16, tables.latent_prefill, _PREFILL, _NO_FETCH,
          note="DeepSeek latent attention, keys and values expanded, bf16."),
    Class("attention_prefill_latent", 8, tables.latent_prefill, _without(_PREFILL, "key_s"), _NO_FETCH,
          like=("attention_prefill_latent", 16, "key_s"),
          note="DeepSeek latent attention over an fp8 cache, bf16 arithmetic."),
    Class("attention_decode", 16, tables.attention_decode(128), _DECODE, _CACHE,
          note="TensorRT-LLM, head size 128, 2 to 16 query heads per KV head, caches from 128 entries. " + _MISSING),
    Class("attention_decode", 8, tables.attention_decode(128), _DECODE, _CACHE_8,
          note="As at 16 bit, with an fp8 cache and bf16 arithmetic."),
    Class("attention_decode_64", 16, tables.attention_decode(64), {**_DECODE, "activation_efficiency": 0.06}, _CACHE,
          note="Head size 64."),
    Class("attention_decode_64", 8, tables.attention_decode(64), _DECODE, _CACHE_8, note="Head size 64."),
    Class("attention_decode_latent", 16, tables.latent_decode, _LATENT, PASSAGE, note="DeepSeek latent attention."),
    Class("attention_decode_latent", 8, tables.latent_decode, _without(_LATENT, "fixed_s", "compute_efficiency"),
          PASSAGE, like=("attention_decode_latent", 16, "fixed_s", "compute_efficiency"),
          note="DeepSeek latent attention over an fp8 cache, bf16 arithmetic."),
    Class("moe", 16, tables.moe(), _MOE, _EXPERTS,
          note="TensorRT-LLM fused gated experts (routing, gathering, both products, scattering), balanced routing, "
               "slices of at least 128 wide. Weights are those of the min(experts, tokens x top k) experts that "
               "balanced routing touches. The long tail is many tokens on ranks with one expert."),
    Class("moe", 8, tables.moe(), _without(_MOE, "fixed_s"), _EXPERTS, compute_bits=8, like=("moe", 16, "fixed_s"),
          note="As at 16 bit, fp8 per tensor."),
    Class("moe_block", 8, tables.moe("fp8_block"),
          {**_without(_MOE, "memory_efficiency"), "output_efficiency": 0.5}, _EXPERTS, compute_bits=8,
          like=("moe", 16, "memory_efficiency"), note="Fp8 with a scale for each block."),
    Class("moe", 4, tables.moe_4_bit, {"activation_efficiency": 0.3, "output_efficiency": 0.5}, _EXPERTS,
          like=("moe", 16, "fixed_s", "memory_efficiency"),
          note="Mxfp4 weights widened to 16-bit arithmetic (gpt-oss shapes), from 1024 tokens on. Fewer tokens are "
               "not in the fit: this table's fixed cost of 74 us contradicts served speeds, so fixed cost and memory "
               "efficiency are those of 16 bit."),
    Class("elementwise", 16, tables.per_token(OTHERS), {"fixed_s": 1e-6}, {**_NO_ARITHMETIC, **_NO_FETCH},
          source="vidur",
          note="Residual add, resolution 1 us: what only reads and writes."),
    Class("norm", 16, tables.per_token(NORMS), _BYTES, _NO_ARITHMETIC, source="vidur", note="Resolution 1 us."),
    Class("activation", 16, tables.per_token(ACTIVATION), _BYTES, _NO_ARITHMETIC, source="vidur",
          note="Gated and plain; resolution 1 us."),
    Class("embedding", 16, tables.per_token({"emb": "2 * n_embd"}), _BYTES, _NO_ARITHMETIC, source="vidur",
          note="Look-up of rows by token."),
)  # fmt: skip
"""What an H100 is fitted to; passed over are tables of other widths, and those that contradict served speeds."""


@dataclass(frozen=True)
class Fitted:
    """Constants of a class, and what they leave on the shapes that were not fitted."""

    of: Class
    constants: Constants
    n_points: int
    median_error: float
    p90_error: float


def predicted_s(points: Points, fit: OpFit) -> Floats:
    """Durations of all points."""
    work, peak = points.work, PEAK_FLOP_PER_S[fit.compute_bits]
    fixed_s, compute_s, fetch_s = op_s(
        work.flop, work.bytes_, work.inputs, fit, peak, BYTES_PER_S, output_bytes=work.outputs, rows=work.rows,
        reduction=work.reduction, keys=work.keys,
    )  # fmt: skip
    return np.asarray(fixed_s + np.maximum(compute_s, fetch_s))


def fit_all(kernels: Path) -> list[Fitted]:
    """Fit every class, in order."""
    done: dict[tuple[str, int], Fitted] = {}
    for of in CLASSES:
        held = {name: done[of.like[:2]].constants[name] for name in of.like[2:]}
        done[of.op, of.bits] = fit_class(replace(of, held={**of.held, **held}), kernels)
    return list(done.values())


def fit_class(of: Class, kernels: Path) -> Fitted:
    """Fit one class on its half, and judge it on the other."""
    points = of.points(kernels, of.bits)
    own, other = points.half(True), points.half(False)
    constants = search(lambda found: predicted_s(own, of.fit(found)), own.seconds, of.start, MOST)
    median, p90 = median_and_p90(errors(predicted_s(other, of.fit(constants)), other.seconds))
    return Fitted(of, constants, len(own.seconds), median, p90)


def judge(calibration: GpuCalibration, kernels: Path) -> Iterator[dict[str, Any]]:
    """The shipped constants on the halves that were not fitted: a row for each class and width."""
    for of in CLASSES:
        fit = calibration.ops[of.op][of.bits]  # type: ignore[index]
        points = of.points(kernels, of.bits).half(False)
        yield {"op": of.op, "bits": of.bits, **judged(errors(predicted_s(points, fit), points.seconds))}
