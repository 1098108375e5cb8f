"""The parts of a model that every token passes in full: norms, feed-forward networks, embedding and output head."""

from __future__ import annotations

from typing import Literal

from simcluster.catalog.shapes import ModelShape
from simcluster.work.op import ACTIVATION_BYTES, NOTHING, Collective, Linear, Op, Precision, elementwise, gemm


def norm(name: str, shape: ModelShape, per: Literal["tokens", "outputs"] = "tokens") -> Op:
    """Make a norm over the hidden vector of each token (or each output): one read and one write."""
    return elementwise(name, 2.0 * shape.hidden, per)


def ffn_ops(shape: ModelShape, precision: Precision, n_ranks: int) -> list[Op]:
    """List the ops of a plain or gated feed-forward network on one of `n_ranks` ranks, its norm included."""
    width = -(-shape.ff // n_ranks)
    parts = 2 if shape.ffn_kind == "glu" else 1
    return [
        norm("ffn_norm", shape),
        gemm("ffn_up", shape.hidden, width, precision, parts=parts),
        elementwise("activation", float((parts + 1) * width)),
        gemm("ffn_down", width, shape.hidden, precision, "all_reduce" if n_ranks > 1 else ""),
    ]


def embedding_ops(shape: ModelShape, precision: Precision, n_ranks: int) -> list[Op]:
    """List the one op that looks up each token's row, the table cut by vocabulary among the ranks."""
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
    """List final norm, output projection of the tokens whose logits are needed, gathering them, sampling."""
    columns = -(-shape.vocab // n_ranks)
    exchange: Collective = "all_gather" if n_ranks > 1 else ""
    return [
        norm("final_norm", shape, per="outputs"),
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
