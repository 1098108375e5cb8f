"""
Compare published speeds of wafers with the model: WaferLLM's kernels on squares of cores, and Cerebras' service.

WaferLLM times its kernels on a square of cores that layers use in turn, without a host; Cerebras' speeds are those of
a service, whose layers are next to each other here, as in `costs.wafer_device`. Nothing is fitted to the latter.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from simcluster.catalog import entries
from simcluster.catalog.calibration.wafer import WaferCalibration, shipped
from simcluster.catalog.shapes import ModelShape
from simcluster.costs.wafer import Region, attention_decode_s, attention_prefill_s, matmul_s, matvec_s

CONTEXT_TOKENS = 4096


class Published(NamedTuple):
    """One published speed of one request."""

    what: str
    """decode, prefill, or served."""
    model: str
    device: str
    side: int
    """Side of the square of cores; 0 for the whole wafer."""
    wafers: int
    tokens_per_s: float
    source: str


_TABLE_3 = "WaferLLM, OSDI 2025, table 3 (prefill of 4096 tokens)"
_TABLE_4 = "WaferLLM, OSDI 2025, table 4 (decode)"
_SERVICE = "cerebras.ai, 2024-08-27"
POINTS = (
    Published("decode", "llama-3.1-8b", "wse-2", 420, 1, 2699.9, _TABLE_4),
    Published("decode", "llama-3.1-8b", "wse-2", 540, 1, 2501.5, _TABLE_4),
    Published("decode", "llama-3.1-8b", "wse-2", 660, 1, 2243.3, _TABLE_4),
    Published("decode", "llama-2-13b", "wse-2", 420, 1, 2039.2, _TABLE_4),
    Published("decode", "llama-2-13b", "wse-2", 540, 1, 1899.4, _TABLE_4),
    Published("decode", "llama-2-13b", "wse-2", 660, 1, 1739.8, _TABLE_4),
    Published("prefill", "llama-3.1-8b", "wse-2", 480, 1, 20320.6, _TABLE_3),
    Published("prefill", "llama-3.1-8b", "wse-2", 600, 1, 25037.2, _TABLE_3),
    Published("prefill", "llama-3.1-8b", "wse-2", 720, 1, 27686.5, _TABLE_3),
    Published("prefill", "llama-2-13b", "wse-2", 480, 1, 13685.1, _TABLE_3),
    Published("prefill", "llama-2-13b", "wse-2", 600, 1, 16854.2, _TABLE_3),
    Published("prefill", "llama-2-13b", "wse-2", 720, 1, 17498.3, _TABLE_3),
    Published("served", "llama-3.1-8b", "wse-3", 0, 1, 1800.0, _SERVICE),
    Published("served", "llama-3.1-70b", "wse-3", 0, 4, 450.0, _SERVICE),
)
"""LLaMA3-8B has the shape of Llama-3.1-8B."""


def tokens_per_s(point: Published, constants: WaferCalibration) -> float:
    """Predict a published speed."""
    grid = entries.device(point.device).grid
    assert grid is not None
    shape = entries.model(point.model)
    region = Region(grid, point.side or grid.rows, point.side or grid.columns, constants)
    if point.what == "prefill":
        return CONTEXT_TOKENS / prefill_s(region, shape)
    strips = -(-shape.layers // point.wafers) if point.what == "served" else 1
    seconds = decode_s(region, shape, strips)
    if point.what == "served":
        n_hops = point.wafers if point.wafers > 1 else 0
        seconds += constants.host_step_s + n_hops * entries.link("swarmx").latency_s
    return 1 / seconds


def decode_s(region: Region, shape: ModelShape, strips: int = 1) -> float:
    """Time one token of one sequence: all layers, each on a strip of the columns, and the head on all of them."""
    strip = replace(region, columns=region.columns // strips)
    query = shape.heads * shape.head_dim
    layer = (
        matvec_s(strip, shape.hidden, _qkv(shape), 1, normed=True),
        attention_decode_s(strip, shape.heads, shape.kv_heads, shape.head_dim, CONTEXT_TOKENS, 1),
        matvec_s(strip, query, shape.hidden, 1),
        matvec_s(strip, shape.hidden, 2 * shape.ff, 1, normed=True),
        matvec_s(strip, shape.ff, shape.hidden, 1),
    )
    head = matvec_s(region, shape.hidden, shape.vocab, 1, normed=True)
    return shape.layers * sum(float(op.total_s) for op in layer) + float(head.total_s)


def prefill_s(region: Region, shape: ModelShape) -> float:
    """Time one prompt: all layers, and the output head of its last token."""
    n_tokens = CONTEXT_TOKENS
    sizes = (n_tokens * (n_tokens + 1) / 2, n_tokens, n_tokens)
    layer = (
        matmul_s(region, shape.hidden, _qkv(shape), n_tokens),
        attention_prefill_s(region, shape.heads, shape.kv_heads, shape.head_dim, *sizes),
        matmul_s(region, shape.heads * shape.head_dim, shape.hidden, n_tokens),
        matmul_s(region, shape.hidden, 2 * shape.ff, n_tokens),
        matmul_s(region, shape.ff, shape.hidden, n_tokens),
    )
    head = matvec_s(region, shape.hidden, shape.vocab, 1, normed=True)
    return shape.layers * sum(float(op.total_s) for op in layer) + float(head.total_s)


def _qkv(shape: ModelShape) -> int:
    return (shape.heads + 2 * shape.kv_heads) * shape.head_dim


def judge() -> Iterator[dict[str, Any]]:
    """Judge all published speeds with the shipped constants."""
    for point in POINTS:
        found = tokens_per_s(point, shipped(point.device))
        fitted = point.what != "served" and point.model == "llama-3.1-8b"
        yield {
            "what": point.what, "model": point.model, "device": point.device,
            "cores": f"{point.side}^2" if point.side else f"{point.wafers} wafers",
            "published_tokens_per_s": point.tokens_per_s, "predicted_tokens_per_s": round(found, 1),
            "err_pct": round(100 * (found / point.tokens_per_s - 1), 2),
            "role": "fitted" if fitted else "not fitted",
            "source": point.source,
        }  # fmt: skip
