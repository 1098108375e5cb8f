"""
The free constants of an H100's ops, and how those of each class and width follow from them.

Few are free, and similar kernels share constants: widths and head sizes of a kind share what they have in common,
experts and latent attention attain the rates of a plain matrix product. A constant is kept if the judged errors of a
class would grow by more than about a point without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from simcluster.calibrate.constants import kernel_tables as tables
from simcluster.calibrate.constants.points import Points
from simcluster.calibrate.constants.search import Constants, rounded
from simcluster.catalog.calibration.gpu import OpFit

PEAK_FLOP_PER_S = {16: 989e12, 8: 1978e12}
"""Dense peak of an H100 SXM by bits: NVIDIA's data sheet."""
BYTES_PER_S = 3.35e12

Value = str | float | Callable[[Constants], float]
"""A constant of a class: the name of a free one, a fixed number, or a function of free ones."""


@dataclass(frozen=True)
class Class:
    """One class of op at one width: its points, and the origin of its constants."""

    op: str
    bits: int
    points: Callable[[Path, int], Points]
    constants: Mapping[str, Value]
    compute_bits: int = 16
    source: str = "aiconfigurator"
    note: str = ""

    def fit(self, found: Constants) -> OpFit:
        """Compute its constants, to three digits as in files."""
        values = {name: _value(value, found) for name, value in self.constants.items()}
        return OpFit(compute_bits=self.compute_bits, **values)


@dataclass(frozen=True)
class Family:
    """Classes fitted together, with first guesses of the free constants; those of earlier families are known."""

    free: Mapping[str, float]
    classes: tuple[Class, ...]


def _value(value: Value, found: Constants) -> float:
    if isinstance(value, str):
        return found[value]
    return value if isinstance(value, float) else rounded(value(found))


def _attention_share(head_dim: int, bits: int) -> Callable[[Constants], float]:
    """Make the share of the peak that attention attains: that of its products, then the softmax of each score."""

    def share(found: Constants) -> float:
        scores = found[f"score_{bits}_s"] * PEAK_FLOP_PER_S[bits] / (4 * head_dim)
        return 1 / (1 / found["attention_arithmetic"] + scores)

    return share


def _prefill(head_dim: int, bits: int) -> dict[str, Value]:
    """Make constants of prefill: a row of a head up to 128 wide has fixed passes; time per key grows with width."""
    return {
        "fixed_s": "prefill_fixed_s", "memory_efficiency": 1.0,
        "compute_efficiency": _attention_share(head_dim, bits),
        "activation_efficiency": lambda found: found["attention_passes"] * head_dim / 128,
        "key_s": lambda found: found["key_s"] * head_dim / 128,
    }  # fmt: skip


def _decode(fixed: str, bits: int) -> dict[str, Value]:
    """Make constants of decode, which is bound by fetching the cache; arithmetic is fixed at that of prefill."""
    return {
        "fixed_s": fixed, "memory_efficiency": "cache_memory", "compute_efficiency": "attention_arithmetic",
        "ramp_bytes": "ramp_bytes", "ramp_slowdown": f"ramp_slowdown_{bits}",
    }  # fmt: skip


def _experts(activations: str) -> dict[str, Value]:
    """Make constants of experts: grouped products attain what plain ones do; a free share exceeds the data sheet."""
    return {
        "fixed_s": "experts_fixed_s", "memory_efficiency": "experts_memory", "compute_efficiency": "arithmetic",
        "activation_efficiency": activations, **PASSAGE,
    }  # fmt: skip


def _per_token(fixed: str, memory: Value) -> dict[str, Value]:
    return {"fixed_s": fixed, "memory_efficiency": memory, "compute_efficiency": 1.0}


PASSAGE: dict[str, Value] = {"passage": 3.0}
"""Common to all classes that have one: free exponents were 2 to 8, and gained at most 0.3 points."""
_PLAIN: dict[str, Value] = {"memory_efficiency": "gemm_memory", "compute_efficiency": "arithmetic", **PASSAGE}
_QUANTISED: dict[str, Value] = {
    **_PLAIN, "activation_efficiency": "quantising", "output_efficiency": 0.9,
    "wave_columns": "wave_columns",
}  # fmt: skip
_LATENT_PREFILL: dict[str, Value] = {
    **_prefill(128, 16), "compute_efficiency": "arithmetic", "key_s": lambda found: found["key_s"] * 192 / 128,
}  # fmt: skip
_LATENT_DECODE: dict[str, Value] = {
    "fixed_s": "prefill_fixed_s", "memory_efficiency": "experts_memory", "compute_efficiency": "arithmetic",
    "activation_efficiency": "latent_activations", **PASSAGE,
}  # fmt: skip

NORMS = {"input_layernorm": "2 * n_embd", "post_attention_layernorm": "2 * n_embd"}
ACTIVATION = {"mlp_act": "(2 + gated) * n_ffn / tp"}
OTHERS = {"add": "3 * n_embd"}

PRODUCTS = Family(
    {"gemm_fixed_s": 4e-6, "quantised_fixed_s": 5e-6, "block_fixed_s": 5e-6, "gemm_memory": 0.8, "arithmetic": 0.75,
     "quantising": 0.3, "wave_columns": 6e3},
    (
        Class("gemm", 16, tables.gemm, {"fixed_s": "gemm_fixed_s", **_PLAIN},
              note="Median of the TensorRT-LLM, vLLM and SGLang tables; m 1 to 16384, n and k from 512."),
        Class("gemm", 8, tables.gemm, {"fixed_s": "quantised_fixed_s", **_QUANTISED}, compute_bits=8,
              note="As at 16 bit, fp8 per tensor, quantising the activations included; the three stacks differ by "
                   "more than the fit errs (TensorRT-LLM's table has twice the fixed cost)."),
        Class("gemm_block", 8, tables.gemm_block, {"fixed_s": "block_fixed_s", **_QUANTISED}, compute_bits=8,
              note="Fp8 with a scale for each block of 128 x 128, which costs another start and no more: median of "
                   "TensorRT-LLM and SGLang; vLLM's table is launching alone (54 to 59 us)."),
    ),
)  # fmt: skip

PREFILL = Family(
    {"prefill_fixed_s": 15e-6, "attention_arithmetic": 0.65, "score_16_s": 8e-14, "score_8_s": 2e-13,
     "attention_passes": 0.3, "key_s": 7e-9},
    (
        Class("attention_prefill", 16, tables.attention_prefill(128), _prefill(128, 16),
              note="TensorRT-LLM, causal, head size 128, prompts of 16 to 16384. Reading the cache never binds."),
        Class("attention_prefill", 8, tables.attention_prefill(128), _prefill(128, 8), compute_bits=8,
              note="TensorRT-LLM, fp8 over an fp8 cache; bf16 arithmetic over an fp8 cache takes nearly the same "
                   "time."),
        Class("attention_prefill_64", 16, tables.attention_prefill(64), _prefill(64, 16),
              note="Head size 64: twice the scores for as many products."),
        Class("attention_prefill_64", 8, tables.attention_prefill(64), _prefill(64, 8), compute_bits=8,
              note="Head size 64: twice the scores for as many products."),
        Class("attention_prefill_latent", 16, tables.latent_prefill, _LATENT_PREFILL,
              note="DeepSeek latent attention, keys (192 wide) and values expanded, bf16; attains what a matrix "
                   "product does."),
        Class("attention_prefill_latent", 8, tables.latent_prefill,
              {**_LATENT_PREFILL, "activation_efficiency": lambda found: found["attention_passes"] / 2,
               "fixed_s": lambda found: found["prefill_fixed_s"] + found["gemm_fixed_s"]},
              note="DeepSeek latent attention over an fp8 cache, bf16 arithmetic: one kernel and one pass over the "
                   "activations more."),
    ),
)  # fmt: skip

DECODE = Family(
    {"decode_fixed_s": 10e-6, "decode_8_fixed_s": 7e-6, "cache_memory": 0.95, "ramp_bytes": 7e7,
     "ramp_slowdown_16": 0.7, "ramp_slowdown_8": 0.4},
    (
        Class("attention_decode", 16, tables.attention_decode(128), _decode("decode_fixed_s", 16),
              note="TensorRT-LLM, head size 128, 2 to 16 query heads per KV head, caches from 128 entries."),
        Class("attention_decode", 8, tables.attention_decode(128), _decode("decode_8_fixed_s", 8),
              note="As at 16 bit, with an fp8 cache and bf16 arithmetic."),
        Class("attention_decode_64", 16, tables.attention_decode(64), _decode("decode_fixed_s", 16),
              note="Head size 64."),
        Class("attention_decode_64", 8, tables.attention_decode(64), _decode("decode_fixed_s", 8),
              note="Head size 64."),
    ),
)  # fmt: skip

EXPERTS = Family(
    {"experts_fixed_s": 28e-6, "experts_memory": 0.9, "gathering": 0.35, "scaled_gathering": 0.2,
     "widened_outputs": 0.02},
    (
        Class("moe", 16, tables.moe(), _experts("gathering"),
              note="TensorRT-LLM fused gated experts (routing, gathering, both products, scattering), balanced "
                   "routing, slices of at least 128 wide. Weights are those of the min(experts, tokens x top k) "
                   "experts that balanced routing touches. The long tail is many tokens on ranks with one expert."),
        Class("moe", 8, tables.moe(), _experts("gathering"), compute_bits=8, note="As at 16 bit, fp8 per tensor."),
        Class("moe_block", 8, tables.moe("fp8_block"), _experts("scaled_gathering"), compute_bits=8,
              note="Fp8 with a scale for each block, which slows down gathering."),
        Class("moe", 4, tables.moe_4_bit, {**_experts("scaled_gathering"), "output_efficiency": "widened_outputs"},
              note="Mxfp4 weights widened to 16-bit arithmetic (gpt-oss shapes), from 1024 tokens on. Fewer tokens "
                   "are not in the fit: this table's fixed cost of 74 us contradicts served speeds, so fixed cost "
                   "and memory efficiency are those of 16 bit."),
    ),
)  # fmt: skip

LATENT_DECODE = Family(
    {"latent_activations": 0.09},
    (
        Class("attention_decode_latent", 16, tables.latent_decode, _LATENT_DECODE,
              note="DeepSeek latent attention: the start of a prompt's, the memory and the arithmetic of experts."),
        Class("attention_decode_latent", 8, tables.latent_decode, _LATENT_DECODE,
              note="DeepSeek latent attention over an fp8 cache, bf16 arithmetic."),
    ),
)  # fmt: skip

PER_TOKEN = Family(
    {"add_fixed_s": 1e-6, "per_token_fixed_s": 2e-6, "norm_memory": 0.45, "activation_memory": 0.55,
     "embedding_memory": 0.2},
    (
        Class("elementwise", 16, tables.per_token(OTHERS), _per_token("add_fixed_s", 1.0), source="vidur",
              note="Residual add, resolution 1 us: what only reads and writes."),
        Class("norm", 16, tables.per_token(NORMS), _per_token("per_token_fixed_s", "norm_memory"), source="vidur",
              note="Resolution 1 us."),
        Class("activation", 16, tables.per_token(ACTIVATION), _per_token("per_token_fixed_s", "activation_memory"),
              source="vidur", note="Gated and plain; resolution 1 us."),
        Class("embedding", 16, tables.per_token({"emb": "2 * n_embd"}),
              _per_token("per_token_fixed_s", "embedding_memory"), source="vidur", note="Look-up of rows by token."),
    ),
)  # fmt: skip

FAMILIES = (PRODUCTS, PREFILL, DECODE, EXPERTS, LATENT_DECODE, PER_TOKEN)
"""In the order in which they are fitted; tables of other widths, and those that contradict served speeds, are not
used."""
CLASSES = tuple(of for family in FAMILIES for of in family.classes)
N_FREE = sum(len(family.free) for family in FAMILIES)
