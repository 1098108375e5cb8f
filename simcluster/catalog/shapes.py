"""
Shapes of transformers and what follows from them by arithmetic: parameters, KV bytes, experts touched.

Counted are the weights and biases of every matrix, of norms, routers, embeddings, learned positions, relative
position biases and untied heads. Left out, each less than 0.00002 % of its model: the norm after BLOOM's embedding
and gpt-oss's attention sinks; and whole parts that do not serve text: vision towers, multi-token prediction modules.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from simcluster.files.quantities import Count, Frozen
from simcluster.files.source import Path
from simcluster.numerics.arrays import Floats

ModelKind = Literal["decoder", "encoder", "encoder-decoder", "vision-encoder"]
LayerKind = Literal["dense", "moe"]

Layers = Annotated[int, Field(gt=0, le=10_000)]
Width = Annotated[int, Field(gt=0, le=10_000_000)]
Tokens = Annotated[int, Field(gt=0, le=10**9)]


class Moe(Frozen):
    """The experts of a layer; `first_dense` and `interleave` determine which layers have them."""

    experts: Annotated[int, Field(gt=0, le=100_000)]
    top_k: Annotated[int, Field(gt=0, le=100_000)]
    """Experts that the router picks for each token; shared experts come on top."""
    expert_ff: Width
    shared: Annotated[int, Field(ge=0, le=1_000)] = 0
    """Experts of the same width that process every token."""
    first_dense: Annotated[int, Field(ge=0, le=10_000)] = 0
    """Number of layers at the start that have a dense feed-forward block instead."""
    interleave: Layers = 1
    """After those, layer i (from 0) has experts when i + 1 is a multiple of this."""
    router_bias: bool = False


class Mla(Frozen):
    """Multi-head latent attention: queries, and keys with values, each pass through a narrow latent vector."""

    q_lora_rank: Width
    kv_lora_rank: Width
    qk_nope_head_dim: Width
    qk_rope_head_dim: Width
    v_head_dim: Width


class Shape(Frozen):
    """The numbers that define a transformer; kinds other than `decoder` use the fields of the last group."""

    kind: ModelKind = "decoder"
    hidden: Width
    layers: Layers
    """Layers of the decoder, or of the only stack."""
    heads: Width
    kv_heads: Width
    head_dim: Width
    ff: Width
    """Width of the dense feed-forward block; unused where every layer has experts."""
    ffn_kind: Literal["glu", "mlp"]
    """`glu` has three matrices (gate, up, down), `mlp` two."""
    vocab: Annotated[int, Field(ge=0, le=10**8)]
    """Tokens; for a vision encoder the classes, 0 if it has no classifier."""
    context: Tokens
    """Longest sequence that the published model serves; for a vision encoder its patches and the class token."""
    norm: Literal["rmsnorm", "layernorm"]
    """`layernorm` has a scale and a bias, `rmsnorm` only a scale."""
    tied: bool = False
    """Whether the head is the embedding table."""
    learned_positions: Annotated[int, Field(ge=0, le=10**9)] = 0
    attention_bias: Literal["none", "qkv", "all"] = "none"
    ffn_bias: bool = False
    """Biases of the feed-forward blocks, experts included."""
    qk_norm: bool = False
    sliding_window: Tokens | None = None
    full_attention_every: Annotated[int, Field(ge=0, le=10_000)] = 0
    """With a sliding window: layer i (from 0) attends to everything if i + 1 is a multiple of this; 0 is none."""
    moe: Moe | None = None
    mla: Mla | None = None
    native_bits: Annotated[float, Field(gt=0, le=64)] | None = None
    """Bits of the published weights if they are quantised, scales included."""

    token_types: Count = 0
    """Rows of the segment table of a BERT."""
    encoder_layers: Annotated[int, Field(ge=0, le=10_000)] = 0
    """Layers of the encoder of an encoder-decoder."""
    relative_buckets: Count = 0
    """Relative position biases per head, one table in each stack of an encoder-decoder."""
    patch: Annotated[int, Field(ge=0, le=10_000)] = 0
    """Side of the square patches of a vision encoder, in pixels of three colours."""
    image: Annotated[int, Field(ge=0, le=100_000)] = 0
    """Side of the square image."""


class ModelShape(Shape):
    """A shape with its name in the catalogue and its title."""

    name: str
    title: str


def contradictions(shape: Shape) -> Iterator[tuple[Path, str, str]]:
    """Find contradictions: the path of a field, what was found there, what would be right."""
    if shape.heads % shape.kv_heads:
        yield ("kv_heads",), f"{shape.kv_heads}", f"it must divide the {shape.heads} heads"
    if shape.full_attention_every and shape.sliding_window is None:
        yield ("full_attention_every",), "given without a sliding window", "expected sliding_window too"
    if shape.moe is not None:
        yield from _moe_contradictions(shape, shape.moe)
    if shape.mla is not None and shape.kind != "decoder":
        yield ("mla",), f"latent attention in a model of kind {shape.kind}", "only decoders have it here"
    vision = shape.kind == "vision-encoder"
    if not vision and shape.vocab == 0:
        yield ("vocab",), "0", "expected at least one token"
    for field, belongs, kind in (
        ("token_types", shape.kind == "encoder", "encoder"),
        ("encoder_layers", shape.kind == "encoder-decoder", "encoder-decoder"),
        ("relative_buckets", shape.kind == "encoder-decoder", "encoder-decoder"),
        ("patch", vision, "vision-encoder"),
        ("image", vision, "vision-encoder"),
    ):
        value = getattr(shape, field)
        if value and not belongs:
            yield (field,), f"{value} in a model of kind {shape.kind}", f"only kind {kind} has it"
        if belongs and not value and field in ("encoder_layers", "patch", "image"):
            yield (field,), "missing", f"kind {kind} needs it"
    if vision and shape.patch and shape.image % shape.patch:
        yield ("image",), f"{shape.image}", f"expected a multiple of the patch of {shape.patch}"


def _moe_contradictions(shape: Shape, moe: Moe) -> Iterator[tuple[Path, str, str]]:
    if moe.top_k > moe.experts:
        yield ("moe", "top_k"), f"{moe.top_k}", f"expected at most the {moe.experts} experts"
    if shape.kind != "decoder":
        yield ("moe",), f"experts in a model of kind {shape.kind}", "only decoders have them here"
    elif "moe" not in layer_kinds(shape):
        yield ("moe",), f"none of the {shape.layers} layers has experts", "expected fewer dense layers"


def layer_kinds(shape: Shape) -> tuple[LayerKind, ...]:
    """List the kinds of the layers of the decoder or of the only stack."""
    moe = shape.moe
    return tuple(
        "moe" if moe is not None and i >= moe.first_dense and (i + 1) % moe.interleave == 0 else "dense"
        for i in range(shape.layers)
    )


def layer_windows(shape: Shape) -> tuple[int | None, ...]:
    """List how many of the latest tokens each layer attends to; None for all of them."""
    every = shape.full_attention_every
    return tuple(None if every and (i + 1) % every == 0 else shape.sliding_window for i in range(shape.layers))


def attention_parameters(shape: Shape) -> int:
    """
    Count the weights of one attention block: projections, their biases and the norms inside; not the norm before it.

    Latent attention (`mla`) is counted as in DeepSeek-V3, without biases.

    Source:
        DeepSeek-V3 technical report, arXiv 2412.19437, section 2.1.1 (latent attention).
    """
    if shape.mla is not None:
        return _latent_attention_parameters(shape, shape.mla)
    q = shape.heads * shape.head_dim
    kv = shape.kv_heads * shape.head_dim
    weights = 2 * shape.hidden * q + 2 * shape.hidden * kv
    biases = {"none": 0, "qkv": q + 2 * kv, "all": q + 2 * kv + shape.hidden}[shape.attention_bias]
    return weights + biases + (2 * shape.head_dim if shape.qk_norm else 0)


def _latent_attention_parameters(shape: Shape, mla: Mla) -> int:
    q_head = mla.qk_nope_head_dim + mla.qk_rope_head_dim
    queries = shape.hidden * mla.q_lora_rank + mla.q_lora_rank + mla.q_lora_rank * shape.heads * q_head
    latent = shape.hidden * (mla.kv_lora_rank + mla.qk_rope_head_dim) + mla.kv_lora_rank
    keys_and_values = mla.kv_lora_rank * shape.heads * (mla.qk_nope_head_dim + mla.v_head_dim)
    return queries + latent + keys_and_values + shape.heads * mla.v_head_dim * shape.hidden


def ffn_parameters(shape: Shape) -> int:
    """Count the weights of the feed-forward block of a dense layer."""
    return _ffn_parameters(shape, shape.ff)


def expert_parameters(shape: Shape) -> int:
    """Count the weights of one expert of one layer, routed or shared."""
    return _ffn_parameters(shape, _experts_of(shape).expert_ff)


def _ffn_parameters(shape: Shape, width: int) -> int:
    into = 2 if shape.ffn_kind == "glu" else 1  # gate and up, or up alone
    return (into + 1) * shape.hidden * width + (into * width + shape.hidden if shape.ffn_bias else 0)


def router_parameters(shape: Shape) -> int:
    """Count the weights of the router of one layer with experts."""
    moe = _experts_of(shape)
    return shape.hidden * moe.experts + (moe.experts if moe.router_bias else 0)


def norm_parameters(shape: Shape) -> int:
    """Count the weights of one norm over the hidden vector."""
    return shape.hidden * (2 if shape.norm == "layernorm" else 1)


def layer_parameters(shape: Shape, kind: LayerKind) -> int:
    """
    Count all weights of one layer, biases and norms included.

    The decoder of an encoder-decoder has a second attention block, over the encoder's output, and its norm.
    """
    n_attentions = 2 if shape.kind == "encoder-decoder" else 1
    attentions = n_attentions * attention_parameters(shape)
    norms = (n_attentions + 1) * norm_parameters(shape)
    if kind == "dense":
        return attentions + norms + ffn_parameters(shape)
    moe = _experts_of(shape)
    experts = (moe.experts + moe.shared) * expert_parameters(shape)
    return attentions + norms + router_parameters(shape) + experts


def encoder_layer_parameters(shape: Shape) -> int:
    """Count all weights of one layer of the encoder of an encoder-decoder."""
    return attention_parameters(shape) + 2 * norm_parameters(shape) + ffn_parameters(shape)


def largest_layer_parameters(shape: Shape) -> int:
    """Count all weights of the largest layer, which must fit where layers are not split."""
    return max(layer_parameters(shape, kind) for kind in set(layer_kinds(shape)))


def embedding_parameters(shape: Shape) -> int:
    """
    Count the weights that turn the input into hidden vectors, without positions.

    They are the token table; for a BERT also the segment table and the norm after them; for a vision encoder the
    patch projection with its bias, and the class token.
    """
    if shape.kind == "vision-encoder":
        return 3 * shape.patch**2 * shape.hidden + 2 * shape.hidden
    norm = norm_parameters(shape) if shape.kind == "encoder" else 0
    return (shape.vocab + shape.token_types) * shape.hidden + norm


def position_parameters(shape: Shape) -> int:
    """Count learned position vectors, and relative position biases of both stacks of an encoder-decoder."""
    return shape.learned_positions * shape.hidden + 2 * shape.relative_buckets * shape.heads


def final_norm_parameters(shape: Shape) -> int:
    """Count the norm after the last layer of each stack; a BERT has norms inside its layers only."""
    n_norms = {"decoder": 1, "encoder": 0, "encoder-decoder": 2, "vision-encoder": 1}[shape.kind]
    return n_norms * norm_parameters(shape)


def head_parameters(shape: Shape) -> int:
    """
    Count the weights after the final norm.

    They are the output projection, 0 if it is tied to the embedding; the pooler of a BERT (its masked-token head is
    left out); the classifier of a vision encoder.
    """
    if shape.kind == "encoder":
        return shape.hidden**2 + shape.hidden
    if shape.kind == "vision-encoder":
        return shape.vocab * (shape.hidden + 1)
    return 0 if shape.tied else shape.vocab * shape.hidden


def total_parameters(shape: Shape) -> int:
    """Count all weights of the model."""
    layers = sum(n * layer_parameters(shape, kind) for kind, n in Counter(layer_kinds(shape)).items())
    return (
        layers
        + shape.encoder_layers * encoder_layer_parameters(shape)
        + embedding_parameters(shape)
        + position_parameters(shape)
        + final_norm_parameters(shape)
        + head_parameters(shape)
    )


def active_parameters(shape: Shape) -> int:
    """
    Count the weights that one token is multiplied with.

    These are all but the experts that the router does not pick and the tables of which one row is used: learned
    positions, and the embedding unless it is also the head. Vendors differ in this: some count the embedding of
    untied models too. Both stacks of an encoder-decoder count.
    """
    idle = 0
    if shape.moe is not None:
        idle_experts = shape.moe.experts - shape.moe.top_k
        idle = layer_kinds(shape).count("moe") * idle_experts * expert_parameters(shape)
    looked_up = shape.learned_positions * shape.hidden
    if shape.kind != "vision-encoder" and not shape.tied:
        looked_up += (shape.vocab + shape.token_types) * shape.hidden
    return total_parameters(shape) - idle - looked_up


def kv_bytes_per_token_per_layer(shape: Shape, kv_bits: float) -> float:
    """
    Find the KV cache that one token adds to one layer.

    Latent attention keeps the latent vector and one rotary key for all heads. Sliding windows bound the tokens
    kept, not the bytes of each: see `layer_windows`. A decoder's cache of its encoder's output is left out, and
    encoders alone have no cache.
    """
    if shape.kind in ("encoder", "vision-encoder"):
        return 0.0
    if shape.mla is not None:
        values = shape.mla.kv_lora_rank + shape.mla.qk_rope_head_dim
    else:
        values = 2 * shape.kv_heads * shape.head_dim
    return values * kv_bits / 8


def kv_bytes_per_token(shape: Shape, kv_bits: float) -> float:
    """Find the KV cache that one token adds to all layers while it is inside every window."""
    return shape.layers * kv_bytes_per_token_per_layer(shape, kv_bits)


def activated_experts(shape: Shape, n_tokens: npt.ArrayLike) -> Floats:
    """
    Find the expected number of distinct routed experts of one layer that a batch touches.

    Each token picks its experts uniformly and independently of the others: E (1 - (1 - k/E)^n). Real routers prefer
    some experts and touch fewer.

    Args:
        shape: of a model with experts.
        n_tokens: tokens routed together, any shape.

    Returns:
        float64 of the shape of `n_tokens`, from `top_k` at one token towards all experts.

    Raises:
        ValueError: the model has no experts.
    """
    moe = _experts_of(shape)
    untouched = np.power(1.0 - moe.top_k / moe.experts, np.asarray(n_tokens, dtype=np.float64))
    return np.asarray(moe.experts * (1.0 - untouched), dtype=np.float64)


def _experts_of(shape: Shape) -> Moe:
    if shape.moe is None:
        raise ValueError("the model has no experts")
    return shape.moe
