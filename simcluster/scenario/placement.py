"""Where the layers of a model go, whether they fit there, and what would fit if not."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache

from simcluster.catalog.device import Device
from simcluster.catalog.shapes import (
    LayerKind,
    ModelShape,
    embedding_parameters,
    final_norm_parameters,
    head_parameters,
    kv_bytes_per_token_per_layer,
    layer_kinds,
    layer_parameters,
    position_parameters,
    total_parameters,
)
from simcluster.files.quantities import Frozen
from simcluster.files.units import show

COMMON_BITS = (16.0, 8.0, 4.0)


class StageLayers(Frozen):
    """What one pipeline stage holds; bytes are of one of its ranks."""

    first_layer: int
    kinds: tuple[LayerKind, ...]
    has_embedding: bool
    has_head: bool
    weight_bytes: float
    kv_bytes_per_token: float


class Misfit(ValueError):
    """The model does not fit; `found` and `expected` say by how much, and what would."""

    def __init__(self, found: str, expected: str) -> None:
        self.found = found
        self.expected = expected
        super().__init__(f"{found}; {expected}")


def cut(shape: ModelShape, n_stages: int, n_ranks: int, weight_bits: float, kv_bits: float) -> list[StageLayers]:
    """
    Cut the layers into contiguous runs, one per stage, so that the fullest stage holds as few bytes as possible.

    The first stage also holds the embedding, the last one the final norm and the head; with tied embeddings and
    more than one stage the table is held twice. Every matrix is cut evenly among the ranks of a stage, and so are
    the cached heads; a rank keeps one key head at least, and all of a latent cache.

    Raises:
        ValueError: there are more stages than layers.
    """
    kinds = layer_kinds(shape)
    if n_stages > len(kinds):
        raise ValueError(f"{n_stages} stages for {len(kinds)} layers")
    bytes_per_parameter = weight_bits / 8 / n_ranks
    sizes = [layer_parameters(shape, kind) * bytes_per_parameter for kind in kinds]
    first = (embedding_parameters(shape) + position_parameters(shape)) * bytes_per_parameter
    head = head_parameters(shape)
    if shape.tied and n_stages > 1:
        head = shape.vocab * shape.hidden
    last = (head + final_norm_parameters(shape)) * bytes_per_parameter
    bounds = _balanced(tuple(sizes), n_stages, first, last)
    kv = kv_bytes_per_token_per_layer(shape, kv_bits)
    if shape.mla is None:
        kv *= math.ceil(shape.kv_heads / n_ranks) / shape.kv_heads
    stages = []
    for index, (start, end) in enumerate(bounds):
        is_first, is_last = index == 0, index == n_stages - 1
        weight_bytes = sum(sizes[start:end]) + (first if is_first else 0.0) + (last if is_last else 0.0)
        stages.append(
            StageLayers(
                first_layer=start,
                kinds=kinds[start:end],
                has_embedding=is_first,
                has_head=is_last,
                weight_bytes=weight_bytes,
                kv_bytes_per_token=kv * (end - start),
            )
        )
    return stages


@lru_cache(maxsize=64)
def _balanced(sizes: tuple[float, ...], n_stages: int, first: float, last: float) -> list[tuple[int, int]]:
    """Contiguous runs, none empty, whose largest sum (with `first` and `last` at the ends) is least."""
    low, high = max(sizes), sum(sizes) + first + last
    for _ in range(60):
        middle = (low + high) / 2
        if _filled(sizes, n_stages, first, last, middle) is None:
            low = middle
        else:
            high = middle
    bounds = _filled(sizes, n_stages, first, last, high)
    assert bounds is not None
    return bounds


def _filled(
    sizes: tuple[float, ...], n_stages: int, first: float, last: float, limit: float
) -> list[tuple[int, int]] | None:
    """Runs within the limit, each stage as full as it may be while later ones keep a layer; None if impossible."""
    bounds: list[tuple[int, int]] = []
    start = 0
    for stage in range(n_stages):
        room = limit - (first if stage == 0 else 0.0) - (last if stage == n_stages - 1 else 0.0)
        end = start
        most = len(sizes) - (n_stages - stage - 1)
        while end < most and (sizes[end] <= room * (1 + 1e-12)):
            room -= sizes[end]
            end += 1
        if end == start:
            return None
        bounds.append((start, end))
        start = end
    return bounds if start == len(sizes) else None


def kv_tokens(stages: list[StageLayers], budget_bytes: float) -> int:
    """Tokens whose KV entries fit next to the weights on every device; negative when not even the weights fit."""
    room = [(budget_bytes - stage.weight_bytes, stage.kv_bytes_per_token) for stage in stages]
    if any(free < 0 for free, _ in room):
        return -1
    return math.floor(min(free / per_token if per_token else math.inf for free, per_token in room))


def require_fit(
    shape: ModelShape, device: Device, stages: list[StageLayers], n_ranks: int, weight_bits: float, kv_bits: float,
    utilization: float, n_tokens: int,
) -> None:  # fmt: skip
    """
    Require that weights and the KV entries of `n_tokens` fit into the share of memory that may be used.

    Raises:
        Misfit: with the arithmetic, and with what would fit.
    """
    budget = device.memory_bytes * utilization
    if kv_tokens(stages, budget) >= n_tokens:
        return
    fullest = max(stages, key=lambda stage: stage.weight_bytes + n_tokens * stage.kv_bytes_per_token)
    n_devices = len(stages) * n_ranks
    total = total_parameters(shape)
    cached_bytes = n_tokens * fullest.kv_bytes_per_token
    excess = fullest.weight_bytes + cached_bytes - budget
    bits_left = n_devices * device.memory_bytes * 8 / total
    needs = (
        f"{show(fullest.weight_bytes, 'bytes')} + {show(cached_bytes, 'bytes')} for {n_tokens:,} tokens of KV cache"
    )
    found = (
        f"{shape.name} at {weight_bits:g} bit does not fit on {n_devices} x {device.name}: "
        f"{total / 1e9:.1f} billion parameters x {weight_bits:g} bit = {show(total * weight_bits / 8, 'bytes')} of "
        f"weights against {show(n_devices * device.memory_bytes, 'bytes')} of memory, "
        f"{bits_left:.2f} bits per parameter; the fullest device needs {needs}, "
        f"{show(excess, 'bytes')} more than {utilization:.0%} of {show(device.memory_bytes, 'bytes')}"
    )
    options = [
        f"{n * n_ranks} x {device.name} at {bits:g} bit{f' ({n} stages)' if n > 1 else ''}"
        for bits, n in _what_fits(shape, n_ranks, weight_bits, kv_bits, budget, n_tokens)
    ]
    nothing = "no number of such devices holds one layer each"
    raise Misfit(found, f"it would fit on {', or '.join(options)}" if options else nothing)


def _what_fits(
    shape: ModelShape, n_ranks: int, weight_bits: float, kv_bits: float, budget_bytes: float, n_tokens: int
) -> Iterator[tuple[float, int]]:
    """The least number of stages at the wanted bits and at the common ones below."""
    n_layers = len(layer_kinds(shape))
    for bits in sorted({weight_bits, *(b for b in COMMON_BITS if b < weight_bits)}, reverse=True):
        low, high = 1, n_layers + 1
        while low < high:
            middle = (low + high) // 2
            if kv_tokens(cut(shape, middle, n_ranks, bits, kv_bits), budget_bytes) >= n_tokens:
                high = middle
            else:
                low = middle + 1
        if low <= n_layers:
            yield bits, low
