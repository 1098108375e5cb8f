"""The expert layers of a mixture-of-experts model: the router, the shared experts and the routed ones."""

from __future__ import annotations

from simcluster.catalog.shapes import ModelShape, Moe, expert_parameters
from simcluster.work.dense import norm
from simcluster.work.op import ACTIVATION_BYTES, NOTHING, Linear, Op, Precision, elementwise, gemm


def expert_ops(shape: ModelShape, precision: Precision, n_ranks: int) -> list[Op]:
    """
    List the ops of a layer's experts on one of `n_ranks` ranks, their norm included.

    Every expert, shared or routed, is cut among the ranks, so that all ranks are equally busy.
    """
    moe = shape.moe
    assert moe is not None
    return [
        norm("ffn_norm", shape),
        gemm("router", shape.hidden, moe.experts, Precision(16, precision.kv_bits)),
        *(shared_ops(shape, moe, precision.dense(), n_ranks) if moe.shared else ()),
        routed_op(shape, moe, precision, n_ranks),
    ]


def shared_ops(shape: ModelShape, moe: Moe, precision: Precision, n_ranks: int) -> list[Op]:
    """List the ops of the experts that every token passes; their sum is reduced with that of the routed ones."""
    width = -(-moe.expert_ff * moe.shared // n_ranks)
    parts = _matrices(shape)
    return [
        gemm("shared_up", shape.hidden, width, precision, parts=parts - 1),
        elementwise("shared_activation", float(parts * width)),
        gemm("shared_down", width, shape.hidden, precision),
    ]


def routed_op(shape: ModelShape, moe: Moe, precision: Precision, n_ranks: int) -> Op:
    """
    Make one grouped product of the chosen experts of all tokens.

    Weights fetched are those of the experts that the step's tokens touch, in expectation under uniform routing.
    """
    parts = _matrices(shape)
    width = -(-moe.expert_ff // n_ranks)
    expert_bytes = expert_parameters(shape) * precision.weight_bits / 8 / n_ranks
    return Op(
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


def _matrices(shape: ModelShape) -> int:
    """Matrices of one expert: up and down, and a gate where it has one."""
    return 3 if shape.ffn_kind == "glu" else 2
