"""
The attention of a layer: its norm, its projections, and attention over the cache.

`grouped_query_ops` and `latent_ops` differ in what is projected and cached. Both make their ops over the cache from
`Heads`, by one function for each way to attend: `prefill` and `decode`, both causal. Another way (not causal, across
to an encoder's output, several drafted tokens at once) is one more function of `Heads`.
"""

from __future__ import annotations

from typing import NamedTuple

from simcluster.catalog.shapes import ModelShape
from simcluster.work.dense import norm
from simcluster.work.op import ACTIVATION_BYTES, Linear, Op, Precision, gemm


class Heads(NamedTuple):
    """The heads of one rank between the projections before and after them."""

    flop_per_pair: float
    """A pair is a query and a key that it attends to."""
    kv_bytes: float
    """Read for each cached token."""
    query_features: int
    """Length of a head's query."""
    width: int
    """Numbers per token that all heads of the rank put out."""
    kv_bits: float


def attention_ops(shape: ModelShape, precision: Precision, n_ranks: int) -> list[Op]:
    """
    List the ops of a layer's attention on one of `n_ranks` ranks, the norm before it included.

    Raises:
        ValueError: the heads do not divide among the ranks.
    """
    if shape.heads % n_ranks:
        raise ValueError(f"{shape.heads} heads do not divide among {n_ranks} ranks")
    attention = latent_ops if shape.mla else grouped_query_ops
    return [norm("attention_norm", shape), *attention(shape, precision, n_ranks)]


def grouped_query_ops(shape: ModelShape, precision: Precision, n_ranks: int) -> list[Op]:
    """List the ops of multi-head or grouped-query attention; with more ranks than key heads each rank keeps one."""
    heads = shape.heads // n_ranks
    kv_heads = -(-shape.kv_heads // n_ranks)
    width = heads * shape.head_dim
    kv_width = kv_heads * shape.head_dim
    kv_bytes = 2.0 * kv_width * precision.kv_bits / 8
    rank = Heads(4.0 * width, kv_bytes, shape.head_dim, width, precision.kv_bits)
    return [
        gemm("qkv", shape.hidden, width + 2 * kv_width, precision),
        prefill(rank),
        decode(rank),
        gemm("attention_out", width, shape.hidden, precision, "all_reduce" if n_ranks > 1 else ""),
    ]


def latent_ops(shape: ModelShape, precision: Precision, n_ranks: int) -> list[Op]:
    """
    List the ops of multi-head latent attention, the up-projections absorbed in decode.

    Every rank keeps the whole latent cache; heads are cut among the ranks.

    Source:
        DeepSeek-V2, arXiv 2405.04434.
    """
    mla = shape.mla
    assert mla is not None
    heads = shape.heads // n_ranks
    latent = mla.kv_lora_rank + mla.qk_rope_head_dim
    query = mla.qk_nope_head_dim + mla.qk_rope_head_dim
    up = mla.qk_nope_head_dim + mla.v_head_dim
    kv_bytes = latent * precision.kv_bits / 8
    width = heads * mla.v_head_dim
    expanded = Heads(2.0 * heads * (query + mla.v_head_dim), kv_bytes, query, width, precision.kv_bits)
    absorbed = Heads(2.0 * heads * (latent + mla.kv_lora_rank), kv_bytes, latent, width, precision.kv_bits)
    return [
        gemm("latent_down", shape.hidden, mla.q_lora_rank + latent, precision),
        gemm("query_up", mla.q_lora_rank, heads * query, precision),
        gemm("key_value_up", mla.kv_lora_rank, heads * up, precision),
        prefill(expanded),
        decode(absorbed),
        gemm("attention_out", width, shape.hidden, precision, "all_reduce" if n_ranks > 1 else ""),
    ]


def prefill(heads: Heads) -> Op:
    """Make causal attention of prompt chunks: every token attends to the cache before it and to itself."""
    return Op(
        "prefill_attention",
        "attention_prefill",
        flop=Linear("prefill_pairs", heads.flop_per_pair),
        kv_bytes=Linear("prefill_context", heads.kv_bytes),
        activation_bytes=Linear("prefill_tokens", 2.0 * heads.width * ACTIVATION_BYTES),
        in_features=heads.query_features,
        out_features=heads.width,
        bits=heads.kv_bits,
    )


def decode(heads: Heads) -> Op:
    """Make attention of one token a request to its whole context; each cached entry is one pair and is read once."""
    return Op(
        "decode_attention",
        "attention_decode",
        flop=Linear("decode_context", heads.flop_per_pair),
        kv_bytes=Linear("decode_context", heads.kv_bytes),
        activation_bytes=Linear("decode_tokens", 2.0 * heads.width * ACTIVATION_BYTES),
        in_features=heads.query_features,
        out_features=heads.width,
        bits=heads.kv_bits,
    )
