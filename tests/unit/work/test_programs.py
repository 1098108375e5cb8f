"""The op table against what follows from the shape alone: weights once, work twice a weight, exchanges in pairs."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from batches import prefill_chunk
from hypothesis import given
from hypothesis import strategies as st

from simcluster.catalog import entries
from simcluster.catalog.shapes import (
    LayerKind,
    ModelShape,
    activated_experts,
    attention_parameters,
    kv_bytes_per_token_per_layer,
    layer_kinds,
    layer_parameters,
)
from simcluster.work.batch import Batch
from simcluster.work.op import NOTHING, Linear, Op, Precision, features
from simcluster.work.programs import PROGRAMS, BlockName, Layers, RankWork

DECODERS = [name for name in entries.names("models") if entries.model(name).kind == "decoder"]
BY_HAND = Precision(8, 8)
"""At 8 bit a weight or a cached number is a byte."""
TOKEN = PROGRAMS["token"]


def block_ops(name: BlockName, shape: ModelShape, precision: Precision, n_ranks: int) -> list[Op]:
    return TOKEN.ops[name](shape, precision, n_ranks)


def value(form: Linear, batch: Batch, shape: ModelShape) -> float:
    return form.at(features(batch, shape))


def total(ops: list[Op], part: str, batch: Batch, shape: ModelShape) -> float:
    return sum(value(getattr(op, part), batch, shape) for op in ops)


def everything(shape: ModelShape) -> Batch:
    """A step of enough tokens to touch every expert."""
    return Batch(10**6, 10**6, outputs=10**6, sequences=10**6)


@pytest.mark.parametrize("name", DECODERS)
def test_a_layer_reads_each_of_its_weights_once(name: str) -> None:
    """Bytes read by the ops of a layer are its parameters, but for biases and norms: less than one in a thousand."""
    shape = entries.model(name)
    for kind in sorted(set(layer_kinds(shape))):
        read = 0.0
        for op in block_ops(kind, shape, BY_HAND, 1):
            n_bytes = value(op.weight_bytes, everything(shape), shape)
            read += n_bytes / 2 if op.name == "router" else n_bytes  # routers stay at 16 bit
        parameters = layer_parameters(shape, kind)

        assert 0 <= parameters - read < 1e-3 * parameters


@pytest.mark.parametrize("name", ["llama-3.1-70b", "llama-2-7b"])
def test_without_biases_only_the_norms_are_left_out(name: str) -> None:
    """A layer without biases reads its parameters but the two norms, exactly."""
    shape = entries.model(name)
    read = total(block_ops("dense", shape, BY_HAND, 1), "weight_bytes", Batch(1, 1), shape)

    assert layer_parameters(shape, "dense") - 2 * shape.hidden == read


@pytest.mark.parametrize("name", DECODERS)
def test_a_dense_token_takes_two_operations_a_weight(name: str) -> None:
    """Every product computes 2 FLOP for each of its weights and each token, whatever the batch."""
    shape = entries.model(name)
    batch = Batch(3, 30, 5, 15, 5, 4, 4)
    for op in block_ops("dense", shape, Precision(16, 16), 1):
        if op.kind == "gemm":
            n_weights = value(op.weight_bytes, batch, shape) / 2
            assert 2 * n_weights * batch.tokens == value(op.flop, batch, shape)


@pytest.mark.parametrize("name", DECODERS)
def test_decode_reads_the_cache_it_attends_to(name: str) -> None:
    """Bytes of keys and values read by a decode step are the context times what a token adds to the cache."""
    shape = entries.model(name)
    for bits in (8, 16):
        read = total(
            block_ops(layer_kinds(shape)[0], shape, Precision(16, bits), 1), "kv_bytes", Batch(2, 700), shape
        )
        assert 700 * kv_bytes_per_token_per_layer(shape, bits) == read


@given(st.lists(st.integers(1, 50), min_size=1, max_size=8))
def test_chunks_do_the_pairs_of_the_whole_prompt(chunks: list[int]) -> None:
    """However a prompt is cut, its chunks make n(n+1)/2 query-key pairs, and read the cache up to their own end."""
    n = sum(chunks)
    before = [sum(chunks[:index]) for index in range(len(chunks))]
    batches = [prefill_chunk(c, b, b + c == n) for c, b in zip(chunks, before, strict=True)]

    assert n * (n + 1) // 2 == sum(batch.prefill_pairs for batch in batches)
    assert n == sum(batch.prefill_tokens for batch in batches)
    assert 1 == sum(batch.outputs for batch in batches)
    assert n == batches[-1].prefill_context


@pytest.mark.parametrize("n_ranks", [2, 4, 8])
@pytest.mark.parametrize("name", ["llama-3.1-70b", "gpt3-175b", "mixtral-8x7b"])
def test_ranks_share_weights_cache_and_work_evenly(name: str, n_ranks: int) -> None:
    """With as many key heads as ranks or more, n ranks together do what one does, but for what each keeps whole."""
    shape, batch = entries.model(name), Batch(3, 300, 5, 15, 5, 4, 4)
    kind = layer_kinds(shape)[0]
    alone, shared = (
        [op for op in block_ops(kind, shape, Precision(), n) if op.name != "router"] for n in (1, n_ranks)
    )
    for part in ("weight_bytes", "kv_bytes", "flop"):
        assert total(alone, part, batch, shape) == pytest.approx(
            n_ranks * total(shared, part, batch, shape), rel=1e-12
        )


@pytest.mark.parametrize("name", DECODERS)
def test_a_layer_has_two_all_reduces(name: str) -> None:
    """Cut among ranks, a layer has an all-reduce of the hidden vectors after attention and after its network."""
    shape = entries.model(name)
    for kind in sorted(set(layer_kinds(shape))):
        exchanges = [op for op in block_ops(kind, shape, Precision(), 2) if op.exchange]
        sizes = [value(op.exchange_bytes, Batch(3, 3), shape) for op in exchanges]

        assert ["all_reduce", "all_reduce"] == [op.exchange for op in exchanges]
        assert [3 * shape.hidden * 2] * 2 == sizes


@pytest.mark.parametrize("block", ["dense", "embedding", "head", "host"])
def test_one_rank_has_no_exchange(block: str) -> None:
    """On one rank no op ends in an exchange."""
    ops = block_ops(block, entries.model("llama-3.1-8b"), Precision(), 1)

    assert all(not op.exchange and op.exchange_bytes == NOTHING for op in ops)


def test_heads_that_do_not_divide_are_refused() -> None:
    """A layer cannot be cut into more even parts than its heads."""
    with pytest.raises(ValueError, match="32 heads do not divide among 5 ranks"):
        block_ops("dense", entries.model("llama-3.1-8b"), Precision(), 5)


def test_with_more_ranks_than_key_heads_each_keeps_one() -> None:
    """A rank never has less than a whole key head of the cache."""
    shape = entries.model("llama-3.1-8b")
    one_head = 2 * shape.head_dim * 100

    assert one_head == total(block_ops("dense", shape, BY_HAND, 16), "kv_bytes", Batch(1, 100), shape)


def test_experts_are_read_as_they_are_touched() -> None:
    """Expert weights read are the expected number of experts touched times an expert."""
    shape = entries.model("mixtral-8x7b")
    for n_tokens in (1, 2, 50):
        batch = Batch(n_tokens, n_tokens)
        (experts,) = (op for op in block_ops("moe", shape, BY_HAND, 1) if op.name == "experts")
        expert_bytes = 3 * shape.hidden * shape.moe.expert_ff

        assert float(activated_experts(shape, n_tokens)) * expert_bytes == pytest.approx(
            value(experts.weight_bytes, batch, shape), rel=1e-12
        )


def test_a_step_without_outputs_does_not_touch_the_head() -> None:
    """A chunk that does not end its prompt costs nothing in the head."""
    shape, chunk = entries.model("llama-3.1-8b"), prefill_chunk(64, 0, finishes=False)
    head = block_ops("head", shape, Precision(), 1)

    assert {0.0} == {
        total(head, part, chunk, shape) for part in ("flop", "weight_bytes", "activation_bytes", "kv_bytes")
    }


def test_the_head_reads_its_table_once_a_step() -> None:
    """However many tokens are chosen, the output matrix is read once, and computed with once for each."""
    shape = entries.model("llama-3.1-8b")
    head = block_ops("head", shape, BY_HAND, 1)
    one, many = (Batch(n, n, outputs=n, sequences=n) for n in (1, 40))

    assert [shape.vocab * shape.hidden] * 2 == [total(head, "weight_bytes", batch, shape) for batch in (one, many)]
    assert 40 * total(head, "flop", one, shape) == total(head, "flop", many, shape)


class Stage(NamedTuple):
    """The layers of a stage by hand."""

    kinds: tuple[LayerKind, ...]
    has_embedding: bool
    has_head: bool


def test_blocks_stand_in_the_order_of_the_pipeline() -> None:
    """The host and the embedding come before the layers of the first stage, the head after those of the last."""
    whole: Layers = Stage(("dense", "moe"), True, True)

    assert ("host", "embedding", "dense", "moe", "head") == TOKEN.blocks_of(whole)
    assert ("host", "embedding", "dense") == TOKEN.blocks_of(Stage(("dense",), True, False))
    assert ("moe", "moe") == TOKEN.blocks_of(Stage(("moe", "moe"), False, False))


@pytest.mark.parametrize("name", DECODERS)
def test_a_model_has_every_block_that_its_stages_pass(name: str) -> None:
    """The work of a rank lists the ops of every block of the whole model, and of no block that it cannot have."""
    shape = entries.model(name)
    blocks = RankWork(shape, Precision()).blocks()

    assert set(TOKEN.blocks_of(Stage(layer_kinds(shape), True, True))) <= set(blocks)
    assert ("moe" in blocks) == (shape.moe is not None)


def test_features_are_the_sums_of_a_batch() -> None:
    """A linear form is its coefficients times the batch's sums, whole steps, and steps with outputs."""
    batch, shape = Batch(1, 20, 3, 40, 5, 60, 7), entries.model("llama-3.1-8b")
    expected = {
        "step": 1, "tokens": 4, "decode_tokens": 1, "decode_context": 20, "prefill_tokens": 3, "prefill_pairs": 40,
        "prefill_context": 5, "outputs": 60, "sequences": 7, "output_step": 1, "experts": 0,
    }  # fmt: skip

    assert expected == features(batch, shape)
    assert [2 * 20, 3 * 4] == [value(Linear(*form), batch, shape) for form in (("decode_context", 2), ("tokens", 3))]
    assert 0 == value(Linear("output_step", 1), batch._replace(outputs=0), shape)


def test_the_same_features_twice_add_up() -> None:
    """Linear forms are linear: a batch of two batches' sums has the sum of their work, but for what is read once."""
    shape = entries.model("llama-3.1-8b")
    one, other = Batch(2, 20, 3, 6, 3, 3, 3), Batch(1, 70, 8, 36, 8, 2, 2)
    both = Batch(*(a + b for a, b in zip(one, other, strict=True)))
    ops = block_ops("dense", shape, Precision(), 1)
    for part in ("flop", "kv_bytes", "activation_bytes"):
        assert total(ops, part, both, shape) == total(ops, part, one, shape) + total(ops, part, other, shape)


def test_attention_is_four_operations_a_pair_and_width() -> None:
    """Scores and weighted values take 2 FLOP each for every query-key pair and every number of the query."""
    shape = entries.model("llama-3.1-8b")
    ops = {op.name: op for op in block_ops("dense", shape, Precision(), 1)}

    assert 4 * 4096 * 55 == value(ops["prefill_attention"].flop, prefill_chunk(10, 0, True), shape)
    assert 4 * 4096 * 300 == value(ops["decode_attention"].flop, Batch(2, 300), shape)


def test_latent_attention_keeps_the_latent_vector_on_every_rank() -> None:
    """With latent attention every rank reads all of the cache and computes with its share of the heads."""
    shape = entries.model("deepseek-v3")
    batch = Batch(1, 500)
    one, eight = (
        {op.name: op for op in block_ops("dense", shape, Precision(), n)}["decode_attention"] for n in (1, 8)
    )

    assert value(one.kv_bytes, batch, shape) == value(eight.kv_bytes, batch, shape)
    assert value(one.flop, batch, shape) == 8 * value(eight.flop, batch, shape)


def test_attention_weights_are_those_of_the_shape() -> None:
    """Projections around attention read what the shape counts for attention."""
    shape = entries.model("llama-3.1-70b")
    read = sum(
        value(op.weight_bytes, Batch(1, 1), shape)
        for op in block_ops("dense", shape, BY_HAND, 1)
        if op.name in ("qkv", "attention_out")
    )

    assert attention_parameters(shape) == read
