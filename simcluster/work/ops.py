"""
The ops of a transformer: what each computes, fetches and exchanges, in proportion to what the batch is.

One table serves every device. Work is that of one rank of a tensor-parallel group: matrices are cut by columns, then
by rows, with one all-reduce after each pair (Megatron-LM, arXiv 1909.08053); expert matrices are cut the same way.
Counted: projections, attention over the cache, experts, norms, activation functions, embedding, output head.
Left out: rotary embedding and residual adds (inside the neighbouring ops), biases and routers' top-k in FLOP (in
bytes they are counted with the parameters).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from simcluster.catalog.shapes import LayerKind, ModelShape, activated_experts, expert_parameters
from simcluster.work.batch import Batch

OpClass = Literal["gemm", "attention_prefill", "attention_decode", "moe", "elementwise", "embedding", "host"]
Collective = Literal["", "all_reduce", "all_gather"]


class Linear(NamedTuple):
    """What grows in proportion to one feature of the batch, see `features`."""

    feature: str
    coefficient: float

    def at(self, of_batch: Mapping[str, float]) -> float:
        """For the features of a batch."""
        return self.coefficient * of_batch[self.feature]


NOTHING = Linear("step", 0.0)
"""An op without this kind of work."""

ACTIVATION_BYTES = 2
"""Activations travel and are stored at 16 bit on every device here."""

BlockName = Literal["host", "embedding", "dense", "moe", "head"]
"""The parts a stage is made of: `host` before the first stage's work, then layers by kind."""


@dataclass(frozen=True)
class Precision:
    """Bits of a weight and of a cached key or value."""

    weight_bits: float = 16
    kv_bits: float = 16
    block_scales: bool = False
    """Whether 8-bit weights have a scale for each block of values, and not one for all."""
    dense_bits: float | None = None
    """Bits of the weights that are no routed experts, where these are others."""

    def dense(self) -> Precision:
        """The precision of everything but routed experts."""
        return self if self.dense_bits is None else replace(self, weight_bits=self.dense_bits, dense_bits=None)


@dataclass(frozen=True, eq=False)
class Op:
    """One op of one layer on one rank, and what it works on."""

    name: str
    kind: OpClass
    flop: Linear = NOTHING
    weight_bytes: Linear = NOTHING
    kv_bytes: Linear = NOTHING
    activation_bytes: Linear = NOTHING
    exchange: Collective = ""
    exchange_bytes: Linear = NOTHING
    in_features: int = 0
    """Length of the reduction of a matrix product, for devices that lay matrices out in space; 0 if it is none."""
    out_features: int = 0
    bits: float = 16
    """Of the weights, or of the cached entries of attention."""
    per: Literal["tokens", "outputs"] = "tokens"
    """How many vectors go through: all tokens, or those whose logits are wanted."""

    @property
    def is_attention(self) -> bool:
        """Whether its work depends on how long the contexts are, and not only on the numbers of tokens."""
        return self.kind in ("attention_decode", "attention_prefill")


def features(batch: Batch, shape: ModelShape, n_experts: float | None = None) -> dict[str, float]:
    """
    What work may be in proportion to, by name.

    The sums of `Batch`; `step`, 1 for each step; `output_step`, 1 for a step with outputs; `tokens`; and `experts`,
    the number of experts of a layer that the tokens touch, the expected one if it is not given.
    """
    n_tokens = batch.tokens
    if n_experts is None:
        n_experts = float(activated_experts(shape, n_tokens)) if shape.moe else 0.0
    return {
        **batch._asdict(),
        "step": 1.0,
        "output_step": float(batch.outputs > 0),
        "tokens": n_tokens,
        "experts": n_experts,
    }


def gemm(name: str, n_in: int, n_out: int, precision: Precision, exchange: Collective = "", parts: int = 1) -> Op:
    """
    Matrix product of every token with `parts` matrices of (n_in, n_out) that share the input.

    `exchange` says what follows with the output, whose size it has.
    """
    columns = n_out * parts
    return Op(
        name,
        "gemm",
        flop=Linear("tokens", 2.0 * n_in * columns),
        weight_bytes=Linear("step", n_in * columns * precision.weight_bits / 8),
        activation_bytes=Linear("tokens", float((n_in + columns) * ACTIVATION_BYTES)),
        exchange=exchange,
        exchange_bytes=Linear("tokens", float(n_out * ACTIVATION_BYTES)) if exchange else NOTHING,
        in_features=n_in,
        out_features=columns,
        bits=precision.weight_bits,
    )


def elementwise(name: str, n_values: float, per: Literal["tokens", "outputs"] = "tokens") -> Op:
    """An op bound by reading and writing `n_values` 16-bit values for each token (or each output)."""
    return Op(name, "elementwise", activation_bytes=Linear(per, n_values * ACTIVATION_BYTES), per=per)


def layer_ops(shape: ModelShape, kind: LayerKind, precision: Precision, n_ranks: int) -> list[Op]:
    """
    The ops of one decoder layer on one of `n_ranks` tensor-parallel ranks, in order.

    Raises:
        ValueError: the heads do not divide among the ranks.
    """
    if shape.heads % n_ranks:
        raise ValueError(f"{shape.heads} heads do not divide among {n_ranks} ranks")
    norm = elementwise("attention_norm", 2.0 * shape.hidden)
    attention = _mla_ops if shape.mla else _attention_ops
    ffn = _moe_ops if kind == "moe" else _dense_ffn_ops
    return [norm, *attention(shape, precision.dense(), n_ranks), *ffn(shape, precision, n_ranks)]


def _attention_ops(shape: ModelShape, precision: Precision, n_ranks: int) -> list[Op]:
    """Multi-head or grouped-query attention; with more ranks than key heads each rank keeps one."""
    heads = shape.heads // n_ranks
    kv_heads = -(-shape.kv_heads // n_ranks)
    width = heads * shape.head_dim
    kv_width = kv_heads * shape.head_dim
    kv_bytes = 2.0 * kv_width * precision.kv_bits / 8
    io_bytes = 2.0 * width * ACTIVATION_BYTES
    return [
        gemm("qkv", shape.hidden, width + 2 * kv_width, precision),
        Op(
            "prefill_attention",
            "attention_prefill",
            flop=Linear("prefill_pairs", 4.0 * width),
            kv_bytes=Linear("prefill_context", kv_bytes),
            activation_bytes=Linear("prefill_tokens", io_bytes),
            in_features=shape.head_dim,
            out_features=width,
            bits=precision.kv_bits,
        ),
        Op(
            "decode_attention",
            "attention_decode",
            flop=Linear("decode_context", 4.0 * width),
            kv_bytes=Linear("decode_context", kv_bytes),
            activation_bytes=Linear("decode_tokens", io_bytes),
            in_features=shape.head_dim,
            out_features=width,
            bits=precision.kv_bits,
        ),
        gemm("attention_out", width, shape.hidden, precision, "all_reduce" if n_ranks > 1 else ""),
    ]


def _mla_ops(shape: ModelShape, precision: Precision, n_ranks: int) -> list[Op]:
    """
    Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434), the up-projections absorbed in decode.

    Every rank keeps the whole latent cache; heads are cut among the ranks.
    """
    mla = shape.mla
    assert mla is not None
    heads = shape.heads // n_ranks
    latent = mla.kv_lora_rank + mla.qk_rope_head_dim
    query = mla.qk_nope_head_dim + mla.qk_rope_head_dim
    up = mla.qk_nope_head_dim + mla.v_head_dim
    kv_bytes = latent * precision.kv_bits / 8
    width = heads * mla.v_head_dim
    return [
        gemm("latent_down", shape.hidden, mla.q_lora_rank + latent, precision),
        gemm("query_up", mla.q_lora_rank, heads * query, precision),
        gemm("key_value_up", mla.kv_lora_rank, heads * up, precision),
        Op(
            "prefill_attention",
            "attention_prefill",
            flop=Linear("prefill_pairs", 2.0 * heads * (query + mla.v_head_dim)),
            kv_bytes=Linear("prefill_context", kv_bytes),
            activation_bytes=Linear("prefill_tokens", 2.0 * width * ACTIVATION_BYTES),
            in_features=query,
            out_features=width,
            bits=precision.kv_bits,
        ),
        Op(
            "decode_attention",
            "attention_decode",
            flop=Linear("decode_context", 2.0 * heads * (latent + mla.kv_lora_rank)),
            kv_bytes=Linear("decode_context", kv_bytes),
            activation_bytes=Linear("decode_tokens", 2.0 * width * ACTIVATION_BYTES),
            in_features=latent,
            out_features=width,
            bits=precision.kv_bits,
        ),
        gemm("attention_out", width, shape.hidden, precision, "all_reduce" if n_ranks > 1 else ""),
    ]


def _ffn_ops(shape: ModelShape, precision: Precision, n_ranks: int) -> list[Op]:
    """Plain or gated feed-forward network."""
    width = -(-shape.ff // n_ranks)
    parts = 2 if shape.ffn_kind == "glu" else 1
    return [
        elementwise("ffn_norm", 2.0 * shape.hidden),
        gemm("ffn_up", shape.hidden, width, precision, parts=parts),
        elementwise("activation", float((parts + 1) * width)),
        gemm("ffn_down", width, shape.hidden, precision, "all_reduce" if n_ranks > 1 else ""),
    ]


def _dense_ffn_ops(shape: ModelShape, precision: Precision, n_ranks: int) -> list[Op]:
    return _ffn_ops(shape, precision.dense(), n_ranks)


def _moe_ops(shape: ModelShape, precision: Precision, n_ranks: int) -> list[Op]:
    """
    Router, shared experts, and the routed experts as one grouped product.

    Weights fetched are those of the experts that the step's tokens touch, in expectation under uniform routing;
    every expert is cut among the ranks, so that all ranks are equally busy.
    """
    moe = shape.moe
    assert moe is not None
    parts = 3 if shape.ffn_kind == "glu" else 2
    width = -(-moe.expert_ff // n_ranks)
    expert_bytes = expert_parameters(shape) * precision.weight_bits / 8 / n_ranks
    routed = Op(
        "experts",
        "moe",
        flop=Linear("tokens", 2.0 * moe.top_k * parts * shape.hidden * width),
        weight_bytes=Linear("experts", expert_bytes),
        activation_bytes=Linear("tokens", float(moe.top_k * (2 * shape.hidden + parts * width) * ACTIVATION_BYTES)),
        exchange="all_reduce" if n_ranks > 1 else "",
        exchange_bytes=Linear("tokens", float(shape.hidden * ACTIVATION_BYTES)) if n_ranks > 1 else NOTHING,
        in_features=shape.hidden,
        out_features=parts * width * moe.top_k,
        bits=precision.weight_bits,
    )
    shared = []
    if moe.shared:
        shared_width = -(-moe.expert_ff * moe.shared // n_ranks)
        shared = [
            gemm("shared_up", shape.hidden, shared_width, precision.dense(), parts=parts - 1),
            elementwise("shared_activation", float(parts * shared_width)),
            gemm("shared_down", shared_width, shape.hidden, precision.dense()),
        ]
    return [
        elementwise("ffn_norm", 2.0 * shape.hidden),
        gemm("router", shape.hidden, moe.experts, Precision(16, precision.kv_bits)),
        *shared,
        routed,
    ]


def embedding_ops(shape: ModelShape, precision: Precision, n_ranks: int) -> list[Op]:
    """Look-up of each token's row, the table cut by vocabulary among the ranks."""
    row_bytes = shape.hidden * precision.weight_bits / 8
    exchange: Collective = "all_reduce" if n_ranks > 1 else ""
    return [
        Op(
            "embedding",
            "embedding",
            weight_bytes=Linear("tokens", row_bytes),
            activation_bytes=Linear("tokens", float(shape.hidden * ACTIVATION_BYTES)),
            exchange=exchange,
            exchange_bytes=Linear("tokens", float(shape.hidden * ACTIVATION_BYTES)) if exchange else NOTHING,
        )
    ]


def head_ops(shape: ModelShape, precision: Precision, n_ranks: int) -> list[Op]:
    """Final norm, output projection of the tokens whose logits are wanted, gathering the logits, choosing a token."""
    columns = -(-shape.vocab // n_ranks)
    exchange: Collective = "all_gather" if n_ranks > 1 else ""
    return [
        elementwise("final_norm", 2.0 * shape.hidden, per="outputs"),
        Op(
            "head",
            "gemm",
            flop=Linear("outputs", 2.0 * shape.hidden * columns),
            weight_bytes=Linear("output_step", shape.hidden * columns * precision.weight_bits / 8),
            activation_bytes=Linear("outputs", float((shape.hidden + columns) * ACTIVATION_BYTES)),
            exchange=exchange,
            exchange_bytes=Linear("outputs", float(shape.vocab * ACTIVATION_BYTES)) if exchange else NOTHING,
            in_features=shape.hidden,
            out_features=columns,
            bits=precision.weight_bits,
            per="outputs",
        ),
        elementwise("sampling", 3.0 * shape.vocab, per="outputs"),
    ]


def block_names(shape: ModelShape) -> tuple[BlockName, ...]:
    """The kinds of block that a model is made of."""
    moe: tuple[BlockName, ...] = ("moe",) if shape.moe else ()
    return ("host", "embedding", "dense", *moe, "head")


def block_ops(name: BlockName, shape: ModelShape, precision: Precision, n_ranks: int) -> list[Op]:
    """The ops of one block on one rank, in order."""
    if name == "host":
        return [Op("host", "host")]
    if name == "embedding":
        return embedding_ops(shape, precision.dense(), n_ranks)
    if name == "head":
        return head_ops(shape, precision.dense(), n_ranks)
    return layer_ops(shape, name, precision, n_ranks)
