"""
An op of one layer: what it computes, fetches and exchanges, in proportion to what the batch is.

The same ops serve every device. The work is that of one rank of a tensor-parallel group: matrices are cut by columns,
then by rows, with one all-reduce after each pair; expert matrices are cut the same way.

Source:
    Shoeybi et al.: Megatron-LM, arXiv 1909.08053.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from simcluster.catalog.shapes import ModelShape, activated_experts
from simcluster.work.batch import Batch

OpClass = Literal["gemm", "attention_prefill", "attention_decode", "moe", "elementwise", "embedding", "host"]
Collective = Literal["", "all_reduce", "all_gather"]


class Linear(NamedTuple):
    """An amount of work in proportion to one feature of the batch, see `features`."""

    feature: str
    coefficient: float

    def at(self, of_batch: Mapping[str, float]) -> float:
        """The amount for the features of a batch."""
        return self.coefficient * of_batch[self.feature]


NOTHING = Linear("step", 0.0)
"""No work of a kind."""

ACTIVATION_BYTES = 2
"""Activations travel and are stored at 16 bit on every device here."""


@dataclass(frozen=True)
class Precision:
    """Bits of a weight and of a cached key or value."""

    weight_bits: float = 16
    kv_bits: float = 16
    block_scales: bool = False
    """Whether 8-bit weights have a scale for each block of values, and not one for all."""
    dense_bits: float | None = None
    """Bits of all weights but the routed experts'; None if they are the same."""

    def dense(self) -> Precision:
        """The precision of everything but routed experts."""
        return self if self.dense_bits is None else replace(self, weight_bits=self.dense_bits, dense_bits=None)


@dataclass(frozen=True, eq=False)
class Op:
    """
    One op of one layer on one rank, and the work in it.

    Counted: projections, attention over the cache, experts, norms, activation functions, embedding, output head.
    Left out: rotary embedding and residual adds (inside the neighbouring ops), biases and routers' top-k in FLOP (in
    bytes they are counted with the parameters). Ops compare by identity, so that they are quick keys.
    """

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
    """Bits of a weight, or of a cached number of attention."""
    per: Literal["tokens", "outputs"] = "tokens"
    """The vectors that pass the op: all tokens, or those whose logits are needed."""

    @property
    def is_attention(self) -> bool:
        """Whether its work depends on how long the contexts are, and not only on the numbers of tokens."""
        return self.kind in ("attention_decode", "attention_prefill")


def features(batch: Batch, shape: ModelShape, n_experts: float | None = None) -> dict[str, float]:
    """
    The features of a batch that work may be in proportion to, by name.

    They are the sums of `Batch`; `step`, 1 for each step; `output_step`, 1 for a step with outputs; `tokens`; and
    `experts`, the number of experts of a layer that the tokens touch, the expected one if it is not given.
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
    Make the matrix product of every token with `parts` matrices of (n_in, n_out) that share the input.

    `exchange` is the collective that follows on the output.
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
    """Make an op bound by reading and writing `n_values` 16-bit values for each token (or each output)."""
    return Op(name, "elementwise", activation_bytes=Linear(per, n_values * ACTIVATION_BYTES), per=per)
