"""Where layers go: against all cuts there are, and against the memory there is."""

from __future__ import annotations

import math
from itertools import combinations, pairwise

import pytest

from simcluster.catalog import entries
from simcluster.catalog.shapes import (
    ModelShape,
    embedding_parameters,
    final_norm_parameters,
    head_parameters,
    kv_bytes_per_token,
    layer_kinds,
    layer_parameters,
    position_parameters,
    total_parameters,
)
from simcluster.scenario.placement import Misfit, StageLayers, cut, kv_tokens, require_fit


def largest_of_best_cut(shape: ModelShape, n_stages: int, weight_bits: float) -> float:
    """Bytes of the fullest stage in the best of all cuts into contiguous runs, every one tried."""
    sizes = [layer_parameters(shape, kind) * weight_bits / 8 for kind in layer_kinds(shape)]
    sums = [0.0]
    for size in sizes:
        sums.append(sums[-1] + size)
    first = (embedding_parameters(shape) + position_parameters(shape)) * weight_bits / 8
    head = shape.vocab * shape.hidden if shape.tied and n_stages > 1 else head_parameters(shape)
    last = (head + final_norm_parameters(shape)) * weight_bits / 8
    best = math.inf
    for inner in combinations(range(1, len(sizes)), n_stages - 1):
        bounds = (0, *inner, len(sizes))
        stages = [sums[b] - sums[a] for a, b in pairwise(bounds)]
        stages[0] += first
        stages[-1] += last
        best = min(best, max(stages))
    return best


@pytest.mark.parametrize("n_stages", [1, 2, 3, 4])
@pytest.mark.parametrize("name", ["llama-3.1-8b", "gpt-oss-120b", "deepseek-v3", "gpt3-175b", "llama-4-scout"])
def test_no_cut_has_a_smaller_fullest_stage(name: str, n_stages: int) -> None:
    """The fullest stage holds as few bytes as in the best of all contiguous cuts, within 1e-9."""
    shape = entries.model(name)
    if len(layer_kinds(shape)) > 50 and n_stages == 4:
        n_stages = 2
    stages = cut(shape, n_stages, 1, 16, 16)

    assert largest_of_best_cut(shape, n_stages, 16) == pytest.approx(max(s.weight_bytes for s in stages), rel=1e-9)


@pytest.mark.parametrize("n_stages", [1, 2, 5, 17, 61])
def test_stages_hold_every_layer_once_and_in_order(n_stages: int) -> None:
    """Stages are contiguous, none is empty, the first has the embedding, the last the head, and nothing is lost."""
    shape = entries.model("deepseek-v3")
    stages = cut(shape, n_stages, 1, 8, 16)

    assert layer_kinds(shape) == tuple(kind for stage in stages for kind in stage.kinds)
    assert [sum(len(s.kinds) for s in stages[:i]) for i in range(n_stages)] == [s.first_layer for s in stages]
    assert all(stage.kinds for stage in stages)
    assert [0] == [i for i, s in enumerate(stages) if s.has_embedding]
    assert [n_stages - 1] == [i for i, s in enumerate(stages) if s.has_head]
    assert total_parameters(shape) == pytest.approx(sum(s.weight_bytes for s in stages), rel=1e-12)
    assert kv_bytes_per_token(shape, 16) == pytest.approx(sum(s.kv_bytes_per_token for s in stages), rel=1e-12)


def test_a_tied_table_is_held_at_both_ends() -> None:
    """With tied embeddings two stages hold the table twice, one stage once."""
    shape = entries.model("llama-3.1-8b").model_copy(update={"tied": True})
    one, two = (sum(s.weight_bytes for s in cut(shape, n, 1, 8, 16)) for n in (1, 2))

    assert total_parameters(shape) == one
    assert total_parameters(shape) + shape.vocab * shape.hidden == two


@pytest.mark.parametrize(("n_ranks", "share"), [(2, 1 / 2), (8, 1 / 8), (16, 1 / 8)])
def test_ranks_share_the_cache_down_to_one_head(n_ranks: int, share: float) -> None:
    """Ranks divide weights and key heads, but a rank keeps one of the eight key heads at least."""
    shape = entries.model("llama-3.1-70b")
    (whole,), (part,) = cut(shape, 1, 1, 16, 16), cut(shape, 1, n_ranks, 16, 16)

    assert whole.weight_bytes / n_ranks == pytest.approx(part.weight_bytes, rel=1e-12)
    assert whole.kv_bytes_per_token * share == part.kv_bytes_per_token


def test_every_rank_keeps_a_whole_latent_cache() -> None:
    """With latent attention more ranks do not divide the cache."""
    shape = entries.model("deepseek-v3")

    assert cut(shape, 1, 1, 8, 16)[0].kv_bytes_per_token == cut(shape, 1, 8, 8, 16)[0].kv_bytes_per_token


def test_more_stages_than_layers_are_refused() -> None:
    """A stage has a layer at least."""
    with pytest.raises(ValueError, match="33 stages for 32 layers"):
        cut(entries.model("llama-3.1-8b"), 33, 1, 16, 16)


def stage(weight_bytes: float, kv_bytes_per_token: float) -> StageLayers:
    return StageLayers(
        first_layer=0, kinds=("dense",), has_embedding=True, has_head=True, weight_bytes=weight_bytes,
        kv_bytes_per_token=kv_bytes_per_token,
    )  # fmt: skip


def test_the_cache_is_as_large_as_the_fullest_stage_allows() -> None:
    """Tokens are counted where the room next to the weights is used up first, and never when weights do not fit."""
    assert 25 == kv_tokens([stage(50, 1), stage(0, 4), stage(10, 2)], 100)
    assert 0 == kv_tokens([stage(100, 1)], 100)
    assert -1 == kv_tokens([stage(0, 1), stage(101, 1)], 100)


@pytest.mark.parametrize("name", ["gpt3-175b", "llama-3.1-405b"])
def test_what_is_said_to_fit_does_and_one_stage_less_does_not(name: str) -> None:
    """A misfit names the least number of stages that would do, at the bits wanted and at fewer."""
    shape, device = entries.model(name), entries.device("h100-sxm")
    budget = device.memory_bytes * 0.9
    with pytest.raises(Misfit) as caught:
        require_fit(shape, device, cut(shape, 1, 8, 16, 16), 8, 16, 16, 0.9, 2_000_000)
    options = caught.value.expected.removeprefix("it would fit on ").replace(" or ", " ").split(",")

    assert len(options) >= 2
    for option in options:
        words = option.split()
        bits, n_stages = float(words[words.index("at") + 1]), int(words[-2].lstrip("("))
        assert kv_tokens(cut(shape, n_stages, 8, bits, 16), budget) >= 2_000_000
        assert n_stages == 1 or kv_tokens(cut(shape, n_stages - 1, 8, bits, 16), budget) < 2_000_000


def test_the_border_of_what_fits_is_exact() -> None:
    """As many tokens as fit are accepted, and one more is refused with the arithmetic."""
    shape, device = entries.model("llama-3.1-8b"), entries.device("h100-sxm")
    stages = cut(shape, 1, 1, 16, 16)
    most = kv_tokens(stages, device.memory_bytes * 0.9)
    require_fit(shape, device, stages, 1, 16, 16, 0.9, most)

    with pytest.raises(Misfit, match=r"llama-3\.1-8b at 16 bit does not fit on 1 x h100-sxm"):
        require_fit(shape, device, stages, 1, 16, 16, 0.9, most + 1)
