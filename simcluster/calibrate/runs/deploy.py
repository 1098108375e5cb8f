"""
Turn a measured run into a scenario, or give the reason why that is not possible.

Settings that a row does not have are those of published launch scripts (InferenceMAX): ten requests for each place of
the closed loop, 8,192 tokens a step, and for InferenceMAX's own rows lengths uniform in 0.8 to 1.0 of the nominal and
as many sequences in the engine as places in the loop; other rows' lengths are as stated.

One setting is inferred from measured times, because no script states it: TensorRT-LLM's token budget, a prompt and a
token for every other request, rounded up to 64. On the half of the served runs that engines are fitted to, its median
error of time to first token is 12 %; with 4,096 tokens it is 40 %, with 8,192 60 % and with 16,384 147 %. The other
half was not used for this.
"""

from __future__ import annotations

import re
from typing import Any

from simcluster.calibrate.runs.cases import Case
from simcluster.catalog import entries
from simcluster.catalog.shapes import ModelShape

SYSTEMS: dict[str, dict[int, str]] = {
    "h100_sxm": {8: "h100-8", 16: "h100-2x8", 32: "h100-4x8", 64: "h100-8x8"},
    "h200_sxm": {8: "h200-8"},
    "b200_sxm": {8: "b200-8"},
    "gb200": {72: "gb200-nvl72"},
    "gb200_sxm": {72: "gb200-nvl72"},
    "a100_sxm": {8: "a100-8"},
}
"""Topologies by system and maximal number of devices."""

ENGINES = {"vllm": "vllm", "trtllm": "trtllm", "trt": "trtllm", "tensorrt-llm": "trtllm", "sglang": "sglang"}

WEIGHT_BITS = {
    **dict.fromkeys(("", "bf16", "bfloat16", "fp16", "float16"), 16.0),
    **dict.fromkeys(("fp8", "fp8_block", "fp8_ootb", "fp8_static", "int8", "int8_wo", "sq", "w8a8"), 8.0),
    **dict.fromkeys(("fp4", "nvfp4"), 4.5),
    **dict.fromkeys(("mxfp4", "w4a16_mxfp4", "int4", "int4_wo", "awq", "gptq", "w4a16", "w4afp8"), 4.25),
}
"""Bits of a weight by precision, scales included: nvfp4 has 8 bits for each 16 values, mxfp4 for each 32."""

_VARIANTS = re.compile(r"-(instruct|chat|hf|base|fp8|fp4|nvfp4|bf16|it|0528|2507|v0\.1|v1\.0)(?=-|$)")

WAVES = 10
"""Requests of a run for each place of its closed loop."""
SIMULATED_WAVES = 5
"""Waves that are simulated: the first, the last, and some that represent all others."""
MAX_TOKENS = 400_000
"""Most output tokens of a case that are simulated, but at least two waves."""


class Skipped(Exception):
    """A case that cannot be simulated, and why."""


Settings = dict[str, Any]


def settings(case: Case, max_waves: int = SIMULATED_WAVES) -> tuple[Settings, int]:
    """
    Make the scenario of a case as data of a scenario file, and the number of waves to simulate.

    Raises:
        Skipped: the case names something unknown, or something that is not modelled.
    """
    shape = model(case.model)
    engine = ENGINES.get(case.backend.lower())
    if engine is None:
        raise Skipped(f"backend '{case.backend}' is not known")
    if case.concurrency is None:
        raise Skipped("no concurrency is given")
    _require_parallelism(case)
    bits, dense_bits, scales = weights(case, shape)
    is_inference_max = "InferenceMAX" in case.origin
    lengths = _within_20_percent if is_inference_max else _fixed
    n_waves = max(2, min(max_waves, WAVES, MAX_TOKENS // (case.concurrency * case.osl)))
    deployment: Settings = {
        "engine": engine,
        "tensor_parallel_size": case.tp_size,
        "pipeline_parallel_size": case.pp_size,
        "weights": f"{bits:g} bit",
        "dense_weights": f"{dense_bits:g} bit",
        "weight_scales": scales,
        "kv_cache": "8 bit" if engine == "trtllm" and bits <= 8 else "16 bit",
        "max_num_seqs": case.concurrency if is_inference_max else max(case.concurrency, 512),
        "max_num_batched_tokens": _token_budget(engine, case),
    }
    workload: Settings = {
        "arrivals": {"kind": "closed", "concurrency": case.concurrency},
        "prompt_tokens": lengths(case.isl),
        "output_tokens": lengths(case.osl),
        "requests": case.concurrency * n_waves,
    }
    topology = _topology(case)
    return {"model": shape.name, "topology": topology, "deployment": deployment, "workload": workload}, n_waves


def model(name: str) -> ModelShape:
    """
    Look up a model by the name of its checkpoint.

    Raises:
        Skipped: the catalogue has none of this name.
    """
    plain = name.rsplit("/", 1)[-1].lower().removeprefix("meta-")
    while (shorter := _VARIANTS.sub("", plain)) != plain:
        plain = shorter
    try:
        return entries.model(plain)
    except entries.UnknownName:
        raise Skipped(f"model '{name}' is not in the catalogue") from None


def weights(case: Case, shape: ModelShape) -> tuple[float, float, str]:
    """Find the bits of an expert's weight, the bits of other weights, and how 8-bit weights are scaled."""
    precision = case.precision.lower() or case.gemm_quant_mode.lower()
    if precision not in WEIGHT_BITS:
        raise Skipped(f"precision '{case.precision}' is not known")
    bits = WEIGHT_BITS[precision]
    scales = "block" if "fp8_block" in (precision, case.gemm_quant_mode.lower()) else "tensor"
    if bits < 8 and shape.native_bits is not None:
        return shape.native_bits, 16.0, scales
    return bits, bits, scales


def _require_parallelism(case: Case) -> None:
    """Check that the parallelism of a row is modelled."""
    if case.attention_dp_size > 1:
        raise Skipped(f"attention data parallel over {case.attention_dp_size} ranks is not modelled")
    if (
        case.batch_size
        and case.concurrency
        and case.batch_size * case.tp_size == case.concurrency
        and case.tp_size > 1
    ):
        raise Skipped(
            f"a batch of {case.batch_size} on each of {case.tp_size} ranks: attention data parallel is not modelled"
        )
    n_experts = case.moe_tp_size * case.moe_ep_size
    if case.moe_ep_size > 1 and n_experts != case.tp_size:
        raise Skipped(f"experts over {n_experts} ranks, attention over {case.tp_size}: not modelled")


def _topology(case: Case) -> str:
    sizes = SYSTEMS.get(case.system)
    if sizes is None:
        raise Skipped(f"system '{case.system}' is not known")
    if case.tp_size > min(sizes):
        raise Skipped(f"tensor parallel over {case.tp_size} devices of {case.system}: a node has {min(sizes)}")
    n_devices = case.tp_size * case.pp_size
    for size, name in sizes.items():
        if n_devices <= size:
            return name
    raise Skipped(f"{n_devices} devices of {case.system}: the topologies have at most {max(sizes)}")


def _token_budget(engine: str, case: Case) -> int:
    """Find the tokens that a step may process."""
    if engine == "trtllm":
        return -(-(case.isl + (case.concurrency or 1) + 1) // 64) * 64
    return 8192


def _fixed(n_tokens: int) -> Settings:
    return {"kind": "fixed", "value": n_tokens}


def _within_20_percent(n_tokens: int) -> Settings:
    return {"kind": "uniform", "nominal": n_tokens, "from_ratio": "80 %", "to_ratio": "100 %"}
