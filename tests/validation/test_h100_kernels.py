"""The H100's fitted constants against public kernel measurements: the residuals that the calibration declares."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

import simcluster
from simcluster import source
from simcluster.calibration.gpu import GpuCalibration, read
from simcluster.costs.gpu import op_s

pytestmark = pytest.mark.validation

Floats = npt.NDArray[np.float64]
Points = tuple[list[str], Floats, Floats, Floats, Floats]
"""For each point the shape it belongs to, flop, bytes of weights or cache, bytes of activations, seconds."""

PEAK_FLOP_PER_S = {16: 989e12, 8: 1978e12}
BYTES_PER_S = 3.35e12
FORMATS = {16: "bfloat16", 8: "fp8"}


def entry(name: str) -> source.Document:
    return source.read(Path(simcluster.__file__).parent / "data" / "calibration" / f"{name}.yaml")


@pytest.fixture(scope="module")
def h100() -> GpuCalibration:
    return read(entry("h100-sxm"), entry)


def columns(table: pd.DataFrame, *names: str) -> list[Floats]:
    return [table[name].to_numpy(float) for name in names]


def seconds(table: pd.DataFrame) -> Floats:
    return table["latency_us"].to_numpy(float) * 1e-6


def shape_names(table: pd.DataFrame, *names: str, separator: str = "/") -> list[str]:
    rows = zip(*(table[name] for name in names), strict=True)
    return [separator.join(str(value) for value in row) for row in rows]


def gemm(kernels: Path, bits: int) -> Points:
    """Median of three serving stacks, n and k from 512, m up to 16384."""
    tables = [pd.read_csv(kernels / f"aic_h100_gemm_{stack}.csv") for stack in ("trtllm", "vllm", "sglang")]
    rows = pd.concat(tables).query(f"gemm_dtype == '{FORMATS[bits]}' and m <= 16384 and n >= 512 and k >= 512")
    table = rows.groupby(["m", "n", "k"])["latency_us"].median().reset_index()
    m, n, k = columns(table, "m", "n", "k")
    names = shape_names(table, "n", "k", separator="x")
    return names, 2 * m * n * k, n * k * bits / 8, m * (n + k) * 2, seconds(table)


def attention_prefill(kernels: Path, bits: int) -> Points:
    """Causal, head size 128, no sliding window, prompts of at least 16 tokens."""
    table = pd.read_csv(kernels / "aic_h100_context_attention_trtllm.csv").query(
        "window_size == 0 and isl >= 16 and head_dim == 128"
        f" and attn_dtype == '{FORMATS[bits]}' and kv_cache_dtype == '{FORMATS[bits]}'"
    )
    batch, isl, heads, kv_heads = columns(table, "batch_size", "isl", "num_heads", "num_key_value_heads")
    flop = 4 * batch * isl * (isl + 1) / 2 * heads * 128
    cache_bytes = batch * isl * kv_heads * 128 * 2 * bits / 8
    names = shape_names(table, "num_heads", "num_key_value_heads")
    return names, flop, cache_bytes, batch * isl * heads * 128 * 2 * 2, seconds(table)


def attention_decode(kernels: Path, bits: int) -> Points:
    """Head size 128, no sliding window, 2 to 16 query heads per KV head, caches of at least 128 entries."""
    table = pd.read_csv(kernels / "aic_h100_generation_attention_trtllm.csv").query(
        "window_size == 0 and kv_len >= 128 and head_dim == 128 and num_heads >= 2 * num_key_value_heads"
        f" and num_heads <= 16 * num_key_value_heads and kv_cache_dtype == '{FORMATS[bits]}'"
    )
    batch, length, heads, kv_heads = columns(table, "batch_size", "kv_len", "num_heads", "num_key_value_heads")
    flop = 4 * batch * length * heads * 128
    cache_bytes = batch * length * kv_heads * 128 * 2 * bits / 8
    names = shape_names(table, "num_heads", "num_key_value_heads")
    return names, flop, cache_bytes, batch * heads * 128 * 2 * 2, seconds(table)


def moe(kernels: Path, bits: int) -> Points:
    """Fused gated experts, balanced routing, slices of at least 128; one rank's share of the tokens and experts."""
    table = pd.read_csv(kernels / "aic_h100_moe_trtllm.csv.gz").query(
        "distribution == 'balanced' and kernel_source == 'moe_torch_flow_cutlass'"
        f" and inter_size >= 128 * moe_tp_size and moe_dtype == '{FORMATS[bits]}'"
    )
    shape = ("hidden_size", "inter_size", "topk", "num_experts", "moe_tp_size", "moe_ep_size")
    tokens, hidden, ff, top_k, experts, tp, ep = columns(table, "num_tokens", *shape)
    rows = np.maximum(tokens * top_k / ep, 1)
    width = ff / tp
    weight_bytes = np.minimum(experts / ep, rows) * 3 * hidden * width * bits / 8
    activation_bytes = rows * (2 * hidden + 3 * width) * 2
    return shape_names(table, *shape), 6 * rows * hidden * width, weight_bytes, activation_bytes, seconds(table)


def per_token(kernels: Path, values: dict[str, str]) -> Points:
    """Ops bound by bytes; `values` says how many 16-bit values each reads and writes for a token."""
    table = pd.read_csv(kernels / "vidur_h100_mlp.csv").query(f"op in {list(values)}")
    n_values = np.zeros(len(table))
    for op, formula in values.items():
        n_values += np.where(table["op"] == op, np.asarray(table.eval(formula), dtype=float), 0.0)
    zero = np.zeros(len(table))
    (tokens,) = columns(table, "num_tokens")
    names = shape_names(table, "op", "n_embd", "tp")
    return names, zero, zero, tokens * n_values * 2, table["median_us"].to_numpy(float) * 1e-6


def elementwise(kernels: Path, bits: int) -> Points:
    """Residual add, norms, activation function, rotary embedding."""
    values = {
        "add": "3 * n_embd",
        "input_layernorm": "2 * n_embd",
        "post_attention_layernorm": "2 * n_embd",
        "mlp_act": "(2 + gated) * n_ffn / tp",
        "attn_rope": "2 * (n_head + n_kv_head) * n_embd / n_head / tp",
    }
    return per_token(kernels, values)


def embedding(kernels: Path, bits: int) -> Points:
    """Rows looked up and written."""
    return per_token(kernels, {"emb": "2 * n_embd"})


OPS: dict[str, Callable[[Path, int], Points]] = {
    "gemm": gemm,
    "attention_prefill": attention_prefill,
    "attention_decode": attention_decode,
    "moe": moe,
    "elementwise": elementwise,
    "embedding": embedding,
}


@pytest.mark.parametrize(
    ("op", "bits"),
    [
        *((op, bits) for op in ("gemm", "attention_prefill", "attention_decode", "moe") for bits in (16, 8)),
        ("elementwise", 16),
        ("embedding", 16),
    ],
)
def test_declared_residuals(shared: Path, h100: GpuCalibration, op: str, bits: int) -> None:
    """On the shapes that were not fitted, errors are those the file declares, to a tenth of a percent point."""
    shapes, flop, bytes_, activation_bytes, measured_s = OPS[op](shared / "measured" / "kernels", bits)
    fit = h100.ops[op][bits]  # type: ignore[index]
    peak = PEAK_FLOP_PER_S[fit.compute_bits]
    fixed_s, compute_s, fetch_s = op_s(flop, bytes_, activation_bytes, fit, peak, BYTES_PER_S)
    errors = np.abs((fixed_s + np.maximum(compute_s, fetch_s)) / measured_s - 1)
    fitted = np.array([zlib.crc32(shape.encode()) % 2 == 1 for shape in shapes])
    median_error, p90_error = np.median(errors[~fitted]), np.quantile(errors[~fitted], 0.9)
    row = next(row for row in h100.constants if row.name == f"{op} {bits} bit")
    assert row.points == fitted.sum()
    assert row.median_error == pytest.approx(median_error, abs=1e-3)
    assert row.p90_error == pytest.approx(p90_error, abs=1e-3)
