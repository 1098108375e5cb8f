"""Arithmetic of model shapes, and the catalogue of them."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simcluster.catalog import shape_file, shapes
from simcluster.catalog.shapes import Mla, ModelShape, Moe
from simcluster.files import source
from simcluster.files.problems import InputError

MODELS = Path(__file__).resolve().parents[3] / "simcluster" / "data" / "models"
DOCUMENTS = {path.stem: source.read(path) for path in sorted(MODELS.glob("*.yaml"))}
PUBLISHED_TOLERANCE = 0.03

COUNTED = {
    "bert-large": (335_141_888, None, 12_596_224, 0),
    "bloom-176b": (176_247_242_752, 176_247_242_752, 2_466_437_120, 4_014_080),
    "deepseek-v3": (671_026_419_200, 36_625_618_432, 11_507_286_272, 70_272),
    "gpt-oss-120b": (116_829_154_368, 5_132_847_168, 3_213_080_128, 73_728),
    "gpt3-175b": (174_604_259_328, 174_579_093_504, 1_812_099_072, 4_718_592),
    "gpt4-class-1.8t-moe-estimate": (1_833_372_914_688, 278_556_988_416, 15_260_141_568, 5_160_960),
    "jais-13b": (13_020_811_920, 13_020_811_920, 314_641_066, 819_200),
    "kimi-k2": (1_026_408_232_448, 31_687_095_808, 17_059_365_248, 70_272),
    "llama-2-13b": (13_015_864_320, 12_852_024_320, 317_204_480, 819_200),
    "llama-2-70b": (68_976_648_192, 68_714_504_192, 855_654_400, 327_680),
    "llama-2-7b": (6_738_415_616, 6_607_343_616, 202_383_360, 524_288),
    "llama-3.1-405b": (405_853_388_800, 403_752_042_496, 3_187_703_808, 516_096),
    "llama-3.1-70b": (70_553_706_496, 69_503_033_344, 855_654_400, 327_680),
    "llama-3.1-8b": (8_030_261_248, 7_504_924_672, 218_112_000, 131_072),
    "llama-4-maverick": (400_711_848_960, 16_150_205_440, 16_295_536_640, 196_608),
    "llama-4-scout": (107_769_861_120, 16_138_408_960, 2_202_101_760, 196_608),
    "mixtral-8x22b": (140_630_071_296, 38_960_142_336, 2_504_060_928, 229_376),
    "mixtral-8x7b": (46_702_792_704, 12_748_853_248, 1_451_270_144, 131_072),
    "qwen2-72b": (72_706_203_648, 71_460_495_360, 877_684_736, 327_680),
    "qwen3-235b-a22b": (235_093_634_560, 21_568_433_664, 2_487_755_008, 192_512),
    "qwen3-32b": (32_762_123_264, 31_984_210_944, 487_598_336, 262_144),
    "qwen3-coder-480b-a35b": (480_154_875_392, 34_541_270_528, 7_714_320_640, 253_952),
    "t5-11b": (11_307_321_344, None, 268_438_528, 1_572_864),
    "vit-giant-14": (1_011_202_432, None, 25_250_176, 0),
    "vit-gigantic-14": (1_842_775_680, None, 38_361_728, 0),
    "vit-h-14": (630_764_800, None, 19_677_440, 0),
}
"""Total and active parameters, those of the largest layer, and KV bytes a token at 16 bits, counted independently."""


def model(name: str) -> ModelShape:
    return shape_file.read(DOCUMENTS[name])


def tiny(**changes: object) -> ModelShape:
    """A decoder small enough to count by hand."""
    plain: dict[str, object] = {
        "name": "tiny", "title": "Tiny", "hidden": 8, "layers": 4, "heads": 4, "kv_heads": 2, "head_dim": 3,
        "ff": 10, "ffn_kind": "glu", "vocab": 100, "context": 64, "norm": "rmsnorm",
    }  # fmt: skip
    return ModelShape.model_validate(plain | changes)


class TestCatalogue:
    def test_complete(self) -> None:
        """The catalogue has the 26 models whose sizes were counted independently."""
        assert set(COUNTED) == set(DOCUMENTS)

    @pytest.mark.parametrize("name", COUNTED)
    def test_counted(self, name: str) -> None:
        """Parameters and KV bytes agree to the last one with an independent count."""
        shape = model(name)
        total, active, largest, kv_bytes = COUNTED[name]

        assert total == shapes.total_parameters(shape)
        assert largest == shapes.largest_layer_parameters(shape)
        assert kv_bytes == shapes.kv_bytes_per_token(shape, 16)
        if active is not None:
            assert active == shapes.active_parameters(shape)

    @pytest.mark.parametrize("name", COUNTED)
    def test_published_total(self, name: str) -> None:
        """The total is within 3 % of what the maker says."""
        published = shape_file.ShapeFile.model_validate(DOCUMENTS[name].data).published

        assert shapes.total_parameters(model(name)) == pytest.approx(published.total.value, rel=PUBLISHED_TOLERANCE)

    @pytest.mark.parametrize("name", COUNTED)
    def test_published_active(self, name: str) -> None:
        """Active parameters are within 3 % of what the maker says, with or without the embedding table."""
        published = shape_file.ShapeFile.model_validate(DOCUMENTS[name].data).published
        shape = model(name)
        assert (shape.moe is None) == (published.active is None)
        if published.active is not None:
            without = shapes.active_parameters(shape)
            counts = (without, without + shapes.embedding_parameters(shape))

            assert min(abs(count / published.active.value - 1) for count in counts) <= PUBLISHED_TOLERANCE

    def test_bloom_card(self) -> None:
        """BLOOM's card counts 28,672 parameters more: the norm after its embedding, which is left out."""
        bloom = model("bloom-176b")

        assert 176_247_271_424 == shapes.total_parameters(bloom) + shapes.norm_parameters(bloom)
        assert 3_596_615_680 == shapes.embedding_parameters(bloom)

    def test_estimate(self) -> None:
        """The GPT-4 class estimate meets the leaked parts, and multi-query attention would not."""
        shape = model("gpt4-class-1.8t-moe-estimate")
        multi_query = shape.model_copy(update={"kv_heads": 1})

        assert shape.layers * shapes.expert_parameters(shape) == pytest.approx(111e9, rel=0.01)
        assert shape.layers * shapes.attention_parameters(shape) == pytest.approx(55e9, rel=0.01)
        assert shape.layers * shapes.attention_parameters(multi_query) == pytest.approx(28e9, rel=0.01)

    def test_aliases(self) -> None:
        """Other names of models are collected, published names that differ only by case among them."""
        assert {
            "deepseek-r1": "deepseek-v3",
            "deepseek-r1-distill-llama-70b": "llama-3.1-70b",
            "llama-3.3-70b": "llama-3.1-70b",
            "vit-G-14": "vit-gigantic-14",
            "vit-g-14": "vit-giant-14",
        } == shape_file.aliases(DOCUMENTS.values())

    @pytest.mark.parametrize("name", DOCUMENTS)
    def test_file_names(self, name: str) -> None:
        """File names are lower case, so that no two are the same on any file system."""
        assert name.lower() == name


class TestParts:
    def test_dense_layer(self) -> None:
        """A layer is its attention, its feed-forward block and two norms."""
        attention = 8 * 12 + 2 * 8 * 6 + 12 * 8
        ffn = 3 * 8 * 10

        assert attention + ffn + 2 * 8 == shapes.layer_parameters(tiny(), "dense")

    @pytest.mark.parametrize(
        ("changes", "more"),
        [
            ({"attention_bias": "qkv"}, 12 + 6 + 6),
            ({"attention_bias": "all"}, 12 + 6 + 6 + 8),
            ({"qk_norm": True}, 3 + 3),
            ({"ffn_bias": True}, 10 + 10 + 8),
            ({"ffn_kind": "mlp"}, -8 * 10),
            ({"norm": "layernorm"}, 2 * 8),
            ({"kv_heads": 4}, 2 * 8 * 6),
        ],
    )
    def test_options(self, changes: dict[str, object], more: int) -> None:
        """Each option of a layer adds its own weights."""
        plain = shapes.layer_parameters(tiny(), "dense")

        assert more == shapes.layer_parameters(tiny(**changes), "dense") - plain

    def test_latent_attention(self) -> None:
        """Latent attention is two projections with a norm between them, for queries and for keys with values."""
        mla = Mla(q_lora_rank=5, kv_lora_rank=7, qk_nope_head_dim=3, qk_rope_head_dim=2, v_head_dim=4)
        queries = 8 * 5 + 5 + 5 * 4 * (3 + 2)
        keys_and_values = 8 * (7 + 2) + 7 + 7 * 4 * (3 + 4)

        assert queries + keys_and_values + 4 * 4 * 8 == shapes.attention_parameters(tiny(mla=mla))
        assert 7 + 2 == shapes.kv_bytes_per_token_per_layer(tiny(mla=mla), 8)

    def test_layer_with_experts(self) -> None:
        """Experts replace the feed-forward block, with a router; only the picked and shared ones are active."""
        moe = Moe(experts=6, top_k=2, expert_ff=5, shared=1, router_bias=True)
        shape = tiny(moe=moe)
        expert = 3 * 8 * 5
        without = shapes.layer_parameters(tiny(), "dense") - 3 * 8 * 10

        assert expert == shapes.expert_parameters(shape)
        assert without + 8 * 6 + 6 + 7 * expert == shapes.layer_parameters(shape, "moe")
        assert shapes.total_parameters(shape) - 4 * 4 * expert - 800 == shapes.active_parameters(shape)

    def test_layer_kinds(self) -> None:
        """The first layers can be dense, and then every n-th layer has experts."""
        moe = Moe(experts=4, top_k=1, expert_ff=5, first_dense=2, interleave=2)

        assert ("dense", "dense", "dense", "moe", "dense", "moe") == shapes.layer_kinds(tiny(layers=6, moe=moe))
        assert ("dense",) * 4 == shapes.layer_kinds(tiny())

    def test_layer_windows(self) -> None:
        """With a sliding window, every n-th layer still attends to everything."""
        assert (9, 9, None, 9) == shapes.layer_windows(tiny(sliding_window=9, full_attention_every=3))
        assert (9,) * 4 == shapes.layer_windows(tiny(sliding_window=9))
        assert (None,) * 4 == shapes.layer_windows(tiny())

    def test_tied(self) -> None:
        """A tied head has no weights of its own, and its table is active."""
        tied, untied = tiny(tied=True), tiny()

        assert (0, 800) == (shapes.head_parameters(tied), shapes.head_parameters(untied))
        assert shapes.active_parameters(tied) == shapes.active_parameters(untied)

    def test_no_experts(self) -> None:
        """A dense model has no expert, no router and no experts to touch."""
        for ask in (shapes.expert_parameters, shapes.router_parameters, lambda s: shapes.activated_experts(s, 1)):
            with pytest.raises(ValueError, match="no experts"):
                ask(tiny())


class TestActivatedExperts:
    def test_one_token(self) -> None:
        """One token touches the experts that it is routed to."""
        assert shapes.activated_experts(model("deepseek-v3"), 1) == pytest.approx(8, rel=1e-12)

    def test_many_tokens(self) -> None:
        """Many tokens touch all experts, no tokens none."""
        assert [0.0, 256.0] == shapes.activated_experts(model("deepseek-v3"), [0, 10**6]).tolist()

    def test_broadcasts(self) -> None:
        """The answer has the shape of the question."""
        assert (2, 3) == shapes.activated_experts(model("mixtral-8x7b"), np.ones((2, 3))).shape

    def test_simulated(self) -> None:
        """Uniform routing touches as many on average, within 4 standard errors of 2,000 draws."""
        shape = model("mixtral-8x7b")
        random = np.random.default_rng(1)
        picks = random.random((2000, 5, 8)).argsort(axis=-1)[..., :2]  # (draws, tokens, picked)
        touched = np.array([len(np.unique(draw)) for draw in picks])
        standard_error = touched.std() / len(touched) ** 0.5

        assert shapes.activated_experts(shape, 5) == pytest.approx(touched.mean(), abs=4 * standard_error)

    @given(
        experts=st.integers(1, 512),
        picked=st.integers(1, 512),
        tokens=st.integers(0, 10**5),
        more=st.integers(0, 10**5),
    )
    def test_monotone(self, experts: int, picked: int, tokens: int, more: int) -> None:
        """More tokens never touch fewer experts, and never more than there are."""
        shape = tiny(moe=Moe(experts=experts, top_k=min(picked, experts), expert_ff=5))
        fewer, greater = shapes.activated_experts(shape, [tokens, tokens + more])

        assert 0 <= fewer <= greater <= experts


class TestFile:
    TEXT = (MODELS / "mixtral-8x22b.yaml").read_text()

    def reported(self, *changes: tuple[str, str]) -> list[str]:
        text = self.TEXT
        for old, new in changes:
            assert old in text
            text = text.replace(old, new, 1)
        with pytest.raises(InputError) as caught:
            shape_file.read(source.parse(text, "m.yaml"))
        return [str(problem) for problem in caught.value.problems]

    def test_types(self) -> None:
        """Wrong types, impossible sizes, unknown keys and bits without a unit are reported together, with lines."""
        assert [
            "m.yaml:4: shape.hidden: -1; expected more than 0",
            "m.yaml:5: shape.layers: 'many'; expected a whole number",
            "m.yaml:10: shape.ffn_kind: 'gated'; expected 'glu' or 'mlp'",
            "m.yaml:13: shape.norms: unknown key 'norms'; did you mean 'norm'?",
            "m.yaml:14: shape.native_bits: 8 has no unit; expected a number of bits such as '16 bit'",
        ] == [
            line
            for line in self.reported(
                ("hidden: 6144", "hidden: -1"),
                ("layers: 56", "layers: many"),
                ("ffn_kind: glu", "ffn_kind: gated"),
                ("norm: rmsnorm", "norms: rmsnorm\n  native_bits: 8"),
            )
            if "missing" not in line
        ]

    def test_contradictions(self) -> None:
        """Numbers that cannot be true together are reported with their lines."""
        assert [
            "m.yaml:7: shape.kv_heads: 7; it must divide the 48 heads",
            "m.yaml:14: shape.moe.top_k: 9; expected at most the 8 experts",
            "m.yaml:15: shape.patch: 14 in a model of kind decoder; only kind vision-encoder has it",
        ] == self.reported(
            ("kv_heads: 8", "kv_heads: 7"), ("top_k: 2", "top_k: 9"), ("evidence:", "  patch: 14\nevidence:")
        )

    def test_sources(self) -> None:
        """Every source that is named is given, every one given is named, every exception is about a number."""
        problems = self.reported(("source: genz", "source: gens"), ("  vocab:\n    source", "  vocabs:\n    source"))

        assert [
            "exceptions.vocabs: 'vocabs' is not in shape; expected the path of a number",
            "exceptions.vocabs.source: unknown source 'gens'; did you mean 'genz'?",
            "sources.genz: no value cites this source; remove it or cite it",
        ] == [problem.split(": ", 1)[1] for problem in problems]

    @pytest.mark.parametrize(
        ("name", "old", "new", "fault"),
        [
            ("t5-11b", "encoder_layers: 24", "encoder_layers: 0", "shape.encoder_layers: missing"),
            ("vit-h-14", "image: 224", "image: 225", "shape.image: 225; expected a multiple of the patch of 14"),
            ("bert-large", "token_types: 2", "full_attention_every: 2", "given without a sliding window"),
            ("llama-2-7b", "vocab: 32_000", "vocab: 0", "shape.vocab: 0; expected at least one token"),
            ("llama-4-scout", "interleave: 1", "first_dense: 48", "none of the 48 layers has experts"),
            ("kimi-k2", "kind: decoder", "kind: encoder", "latent attention in a model of kind encoder"),
        ],
    )
    def test_kinds(self, name: str, old: str, new: str, fault: str) -> None:
        """What a kind of model needs or cannot have is checked."""
        text = (MODELS / f"{name}.yaml").read_text()
        assert old in text
        with pytest.raises(InputError, match=r"m\.yaml:") as caught:
            shape_file.read(source.parse(text.replace(old, new), "m.yaml"))

        assert fault in str(caught.value)

    def test_alias_taken(self) -> None:
        """An alias that is a model's name, or another's alias, is refused."""
        first = source.parse("aliases: [b, c]\n" + self.TEXT, "a.yaml")
        second = source.parse("aliases: [c]\n" + self.TEXT, "b.yaml")
        with pytest.raises(InputError) as caught:
            shape_file.aliases([first, second])

        assert [
            "a.yaml:1: aliases[0]: 'b'; it already means 'b'",
            "b.yaml:1: aliases[0]: 'c'; it already means 'a'",
        ] == [str(problem) for problem in caught.value.problems]

    def test_bits(self) -> None:
        """Bits are written with their unit and come out as a number."""
        assert 4.25 == model("gpt-oss-120b").native_bits
