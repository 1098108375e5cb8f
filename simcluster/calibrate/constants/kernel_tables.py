"""
Read the kernel tables of a data folder as points of each class of op: the rows that are used, and their work.

Work is counted as in `work.op`: weights or cache entries at their width, activations at 16 bit.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simcluster.calibrate.constants.points import Points
from simcluster.costs.gpu import Work
from simcluster.files.problems import InputError, Problem
from simcluster.numerics.arrays import Floats

if TYPE_CHECKING:
    import pandas as pd

FORMATS = {16: "bfloat16", 8: "fp8"}
STACKS = ("trtllm", "vllm", "sglang")
LATENT = 512
ROTARY = 64


def read_table(file: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """
    Read a CSV table with at least these columns.

    Raises:
        InputError: the file does not exist, is not CSV, or lacks a column.
    """
    import pandas as pd

    if not file.is_file():
        raise InputError([Problem(str(file), 0, "", "no such file", "expected a table of the data folder")])
    try:
        table = pd.read_csv(file, low_memory=False)
    except (ValueError, OSError) as error:
        raise InputError([Problem(str(file), 0, "", str(error)[:200], "expected a CSV table")]) from None
    missing = [column for column in columns if column not in table]
    if missing:
        raise InputError([Problem(str(file), 1, column, "no such column", "expected it") for column in missing])
    return table


def gemm(kernels: Path, bits: int) -> Points:
    """Read the median of three serving stacks, n and k from 512, m up to 16384."""
    return _gemm(kernels, FORMATS[bits], bits, STACKS)


def gemm_block(kernels: Path, bits: int) -> Points:
    """Read products with a scale for each block; without vLLM's, whose 54 us are launching only."""
    return _gemm(kernels, "fp8_block", bits, ("trtllm", "sglang"))


def _gemm(kernels: Path, number_format: str, bits: int, stacks: tuple[str, ...]) -> Points:
    import pandas as pd

    columns = ("gemm_dtype", "m", "n", "k", "latency_us")
    tables = [read_table(kernels / f"aic_h100_gemm_{stack}.csv", columns) for stack in stacks]
    rows = pd.concat(tables).query(f"gemm_dtype == '{number_format}' and m <= 16384 and n >= 512 and k >= 512")
    table = rows.groupby(["m", "n", "k"])["latency_us"].median().reset_index()
    m, n, k = _floats(table, "m", "n", "k")
    work = _work(2 * m * n * k, n * k * bits / 8, m * k * 2, m * n * 2, rows=m, reduction=k)
    return Points(_names(table, "n", "k", separator="x"), work, _seconds(table))


def attention_prefill(head_dim: int) -> Callable[[Path, int], Points]:
    """Make a reader of causal attention, no window, prompts from 16 tokens; cache and arithmetic of one width."""

    def points(kernels: Path, bits: int) -> Points:
        table = read_table(
            kernels / "aic_h100_context_attention_trtllm.csv",
            ("attn_dtype", "kv_cache_dtype", "batch_size", "isl", "num_heads", "num_key_value_heads", "head_dim",
             "window_size", "latency_us"),
        ).query(
            f"window_size == 0 and isl >= 16 and head_dim == {head_dim}"
            f" and attn_dtype == '{FORMATS[bits]}' and kv_cache_dtype == '{FORMATS[bits]}'"
        )  # fmt: skip
        batch, isl, heads, kv_heads = _floats(table, "batch_size", "isl", "num_heads", "num_key_value_heads")
        flop = 4 * batch * isl * (isl + 1) / 2 * heads * head_dim
        cache_bytes = batch * isl * kv_heads * head_dim * 2 * bits / 8
        work = _work(flop, cache_bytes, batch * isl * heads * head_dim * 2 * 2, keys=(isl + 1) / 2)
        return Points(_names(table, "num_heads", "num_key_value_heads"), work, _seconds(table))

    return points


def attention_decode(head_dim: int) -> Callable[[Path, int], Points]:
    """Make a reader of decode without window, 2 to 16 query heads per KV head, caches of at least 128 entries."""

    def points(kernels: Path, bits: int) -> Points:
        table = read_table(
            kernels / "aic_h100_generation_attention_trtllm.csv",
            ("kv_cache_dtype", "batch_size", "kv_len", "num_heads", "num_key_value_heads", "head_dim", "window_size",
             "latency_us"),
        ).query(
            f"window_size == 0 and kv_len >= 128 and head_dim == {head_dim}"
            " and num_heads >= 2 * num_key_value_heads and num_heads <= 16 * num_key_value_heads"
            f" and kv_cache_dtype == '{FORMATS[bits]}'"
        )  # fmt: skip
        batch, length, heads, kv_heads = _floats(table, "batch_size", "kv_len", "num_heads", "num_key_value_heads")
        flop = 4 * batch * length * heads * head_dim
        cache_bytes = batch * length * kv_heads * head_dim * 2 * bits / 8
        work = _work(flop, cache_bytes, batch * heads * head_dim * 2 * 2)
        return Points(_names(table, "num_heads", "num_key_value_heads"), work, _seconds(table))

    return points


def latent_prefill(kernels: Path, bits: int) -> Points:
    """Read DeepSeek's latent attention over a prompt, keys and values expanded."""
    table = _latent(kernels, "mla_context", bits).query("isl >= 16 and step == 0")
    batch, isl, heads = _floats(table, "batch_size", "isl", "num_heads")
    flop = 2 * batch * isl * (isl + 1) / 2 * heads * (2 * 128 + ROTARY)
    cache_bytes = batch * isl * (LATENT + ROTARY) * bits / 8
    work = _work(flop, cache_bytes, batch * isl * heads * 128 * 2 * 2, keys=(isl + 1) / 2)
    return Points(_names(table, "num_heads", "batch_size"), work, _seconds(table))


def latent_decode(kernels: Path, bits: int) -> Points:
    """Read DeepSeek's latent attention over the latent cache, up-projections absorbed."""
    table = _latent(kernels, "mla_generation", bits).query("step >= 127")
    batch, step, heads = _floats(table, "batch_size", "step", "num_heads")
    context = batch * (step + 1)
    flop = 2 * context * heads * (2 * LATENT + ROTARY)
    work = _work(flop, context * (LATENT + ROTARY) * bits / 8, batch * heads * 128 * 2 * 2)
    return Points(_names(table, "num_heads", "batch_size"), work, _seconds(table))


def _latent(kernels: Path, op: str, bits: int) -> pd.DataFrame:
    columns = ("op_name", "kv_cache_dtype", "num_heads", "batch_size", "isl", "step", "latency_us")
    table = read_table(kernels / "aic_h100_mla_trtllm.csv", columns)
    return table.query(f"op_name == '{op}' and kv_cache_dtype == '{FORMATS[bits]}'")


def moe(
    number_format: str = "",
    kernel: str = "moe_torch_flow_cutlass",
    least_tokens: int = 1,
    stored_bits: float = 0.0,
) -> Callable[[Path, int], Points]:
    """Make a reader of fused gated experts, balanced, slices from 128; one rank's share of tokens and experts."""

    def points(kernels: Path, bits: int) -> Points:
        shape = ("hidden_size", "inter_size", "topk", "num_experts", "moe_tp_size", "moe_ep_size")
        columns = ("moe_dtype", "num_tokens", *shape, "distribution", "kernel_source", "latency_us")
        table = read_table(kernels / "aic_h100_moe_trtllm.csv.gz", columns).query(
            f"distribution == 'balanced' and kernel_source == '{kernel}' and num_tokens >= {least_tokens}"
            f" and inter_size >= 128 * moe_tp_size and moe_dtype == '{number_format or FORMATS[bits]}'"
        )
        tokens, hidden, ff, top_k, experts, tp, ep = _floats(table, "num_tokens", *shape)
        rows = np.maximum(tokens * top_k / ep, 1)
        width = ff / tp
        weight_bytes = np.minimum(experts / ep, rows) * 3 * hidden * width * (stored_bits or bits) / 8
        work = _work(
            6 * rows * hidden * width, weight_bytes, rows * (2 * hidden + 3 * width) * 2, tokens * hidden * 2
        )
        return Points(_names(table, *shape), work, _seconds(table))

    return points


def moe_4_bit(kernels: Path, bits: int) -> Points:
    """Read the experts of gpt-oss with mxfp4 weights of 4.25 bit, from 1024 tokens."""
    return moe("w4a16_mxfp4", "moe_torch_flow", 1024, 4.25)(kernels, bits)


def per_token(values: dict[str, str]) -> Callable[[Path, int], Points]:
    """Make a reader of ops bound by bytes; `values` are the 16-bit values that each reads and writes for a token."""

    def points(kernels: Path, bits: int) -> Points:
        columns = ("op", "num_tokens", "tp", "n_head", "n_kv_head", "n_embd", "n_ffn", "gated", "median_us")
        table = read_table(kernels / "vidur_h100_mlp.csv", columns).query(f"op in {list(values)} and median_us > 0")
        n_values = np.zeros(len(table))
        for op, formula in values.items():
            n_values += np.where(table["op"] == op, np.asarray(table.eval(formula), dtype=float), 0.0)
        (tokens,) = _floats(table, "num_tokens")
        zero = np.zeros(len(table))
        work = _work(zero, zero, tokens * n_values * bits / 8)
        return Points(_names(table, "op", "n_embd", "tp"), work, table["median_us"].to_numpy(float) * 1e-6)

    return points


def _floats(table: pd.DataFrame, *names: str) -> list[Floats]:
    return [table[name].to_numpy(float) for name in names]


def _seconds(table: pd.DataFrame) -> Floats:
    seconds: Any = table["latency_us"].to_numpy(float) * 1e-6
    return np.asarray(seconds)


def _names(table: pd.DataFrame, *names: str, separator: str = "/") -> list[str]:
    rows = zip(*(table[name] for name in names), strict=True)
    return [separator.join(str(value) for value in row) for row in rows]


def _work(flop: Floats, bytes_: Floats, inputs: Floats, outputs: Floats | None = None, *, rows: Floats | None = None,
          reduction: Floats | None = None, keys: Floats | None = None) -> Work[Floats]:  # fmt: skip
    zero = np.zeros(len(flop))
    return Work(flop, bytes_, inputs, *(zero if part is None else part for part in (outputs, rows, reduction, keys)))
