"""Reading model shapes from Hugging Face configurations."""

from pathlib import Path

import pytest

from simcluster.catalog import hf_config, shape_file
from simcluster.catalog.shapes import ModelShape, active_parameters, total_parameters
from simcluster.files import source
from simcluster.files.problems import InputError

ROOT = Path(__file__).resolve().parents[3]
CONFIGS = ROOT / "tests" / "files" / "hf"
MODELS = ROOT / "simcluster" / "data" / "models"
TWINS = sorted(path.stem for path in CONFIGS.glob("*.json") if (MODELS / f"{path.stem}.yaml").exists())

OTHERS = {
    "mistral-7b": 7_241_732_096,
    "gemma-2b": 2_506_172_416,
    "phi-3-mini-4k": 3_821_079_552,
    "gpt-neox-20b": 20_554_567_680,
}
"""Parameters of the checkpoints of models that are not in the catalogue."""


def reported(name: str) -> list[str]:
    """The problems of one file, without its folder."""
    with pytest.raises(InputError) as caught:
        hf_config.read(CONFIGS / f"{name}.json")
    return [str(problem).removeprefix(f"{CONFIGS}/") for problem in caught.value.problems]


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "model.json"
    path.write_text(text)
    return path


class TestShapes:
    @pytest.mark.parametrize("name", TWINS)
    def test_twin(self, name: str) -> None:
        """A configuration gives the shape of its catalogue entry, field by field."""
        twin = shape_file.read(source.read(MODELS / f"{name}.yaml"))
        shape = hf_config.read(CONFIGS / f"{name}.json")

        assert twin.model_dump(exclude={"title"}) == shape.model_dump(exclude={"title"})
        assert total_parameters(twin) == total_parameters(shape)
        assert active_parameters(twin) == active_parameters(shape)

    @pytest.mark.parametrize("name", OTHERS)
    def test_checkpoint(self, name: str) -> None:
        """A configuration gives the number of parameters of its published checkpoint."""
        assert OTHERS[name] == total_parameters(hf_config.read(CONFIGS / f"{name}.json"))

    def test_every_architecture(self) -> None:
        """Every architecture that is read has a configuration here."""
        tried = {source.read(CONFIGS / f"{name}.json").data["architectures"][0] for name in [*TWINS, *OTHERS]}

        assert set(hf_config.ARCHITECTURES) == tried

    def test_name_of_folder(self, tmp_path: Path) -> None:
        """A file called config.json is named for its folder, and its title names the architecture."""
        folder = tmp_path / "my-llama"
        folder.mkdir()
        (folder / "config.json").write_text((CONFIGS / "llama-2-7b.json").read_text())
        shape = hf_config.read(folder / "config.json")

        assert isinstance(shape, ModelShape)
        assert ("my-llama", "my-llama (LlamaForCausalLM)") == (shape.name, shape.title)

    @pytest.mark.parametrize(
        ("given", "window"), [("", 4096), ('"sliding_window": null,', None), ('"sliding_window": 512,', 512)]
    )
    def test_window(self, tmp_path: Path, given: str, window: int | None) -> None:
        """Mistral's window is 4,096 when the key is absent, none when it is null."""
        text = (CONFIGS / "mistral-7b.json").read_text().replace('"sliding_window": 4096', '"x": 0')

        assert window == hf_config.read(written(tmp_path, text.replace("{", "{" + given, 1))).sliding_window


class TestFaults:
    def test_hybrid_refused(self) -> None:
        """An architecture that is not known is refused by name, with the list of those that are."""
        (problem,) = reported("nemotron-h-8b")

        assert problem.startswith(
            "nemotron-h-8b.json:3: architectures[0]: "
            "architecture 'NemotronHForCausalLM' is not known; expected one of "
        )
        assert all(name in problem for name in hf_config.ARCHITECTURES)

    def test_all_at_once(self) -> None:
        """Missing keys, wrong types, impossible sizes and unknown quantisation are reported together, with lines."""
        assert [
            "faulty-llama.json:1: vocab_size: missing; it must be given",
            "faulty-llama.json:3: hidden_size: '4096'; expected a whole number",
            "faulty-llama.json:4: num_hidden_layers: 32000000; expected at most 10000",
            "faulty-llama.json:7: intermediate_size: -1; expected more than 0",
            "faulty-llama.json:8: attention_bias: 'yes'; expected true or false",
            "faulty-llama.json:10: tie_word_embeddings: 0; expected true or false",
            "faulty-llama.json:12: quantization_config.quant_method: 'awq'; expected fp8 or mxfp4, "
            "or remove quantization_config and state the bits in the scenario",
        ] == reported("faulty-llama")

    def test_contradictions(self) -> None:
        """Sizes that cannot be true together are reported under the keys of the file."""
        assert [
            "contradictory-mixtral.json:5: num_attention_heads: 32 heads; expected a divisor of the hidden size 4100",
            "contradictory-mixtral.json:6: num_key_value_heads: 5; it must divide the 32 heads",
            "contradictory-mixtral.json:11: num_experts_per_tok: 9; expected at most the 8 experts",
        ] == reported("contradictory-mixtral")

    def test_list_disagrees(self) -> None:
        """A list of layers with experts that differs from what the other keys say is refused."""
        assert [
            "unlike-llama-4.json:16: text_config.moe_layers: [0, 1, 2, 3]; "
            "expected the list that its other keys imply, or none"
        ] == reported("unlike-llama-4")

    @pytest.mark.parametrize(
        ("name", "old", "new", "fault"),
        [
            ("qwen2-72b", '"use_sliding_window": false', '"use_sliding_window": true', "only false is supported"),
            ("deepseek-v3", '"moe_layer_freq": 1', '"moe_layer_freq": 2', "only 1 is supported"),
            ("deepseek-v3", '"n_shared_experts": 1,', "", "n_shared_experts: missing"),
            ("qwen3-32b", '"head_dim": 128,', "", "head_dim: missing"),
            (
                "gpt-oss-120b",
                '"full_attention"',
                '"sliding_attention"',
                "expected the list that its other keys imply",
            ),
            ("mixtral-8x7b", '"num_key_value_heads": 8,', "", "num_key_value_heads: missing"),
            ("llama-4-scout", '"text_config": {', '"text_confi": {', "not a mapping"),
            ("llama-2-7b", '"architectures": [', '"names": [', "architectures: missing; expected one of "),
        ],
    )
    def test_other_models(self, tmp_path: Path, name: str, old: str, new: str, fault: str) -> None:
        """A variant that the shape cannot describe, or a key without a rule for its absence, is refused."""
        text = (CONFIGS / f"{name}.json").read_text()
        assert old in text
        with pytest.raises(InputError) as caught:
            hf_config.read(written(tmp_path, text.replace(old, new)))

        assert [problem for problem in caught.value.problems if fault in str(problem) and problem.line]

    @pytest.mark.parametrize(
        "text", ["", "[]", "3", '{"architectures": "LlamaForCausalLM"}', '{"architectures": []}', "{"]
    )
    def test_not_a_configuration(self, tmp_path: Path, text: str) -> None:
        """A file that is something else is an input error, not a crash."""
        with pytest.raises(InputError):
            hf_config.read(written(tmp_path, text))
