"""
Read a model shape from a Hugging Face `config.json`, for the architectures listed here only.

Each architecture names the keys it reads, because the same key means different things in different families:
`intermediate_size` is the dense width in Llama, the expert width in Llama 4, and hybrids that mix attention with
other layers would become several times too large if they were read like Llama. Missing keys get the value of the
family's configuration class if that class has one fixed rule; all others are required.

Source:
    Hugging Face transformers, src/transformers/models/*/configuration_*.py and modeling_*.py; for Jais the
    modeling_jais.py that comes with the checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath
from typing import Any

from simcluster.catalog.shapes import ModelShape, Shape, contradictions, layer_kinds, layer_windows
from simcluster.files import source
from simcluster.files.problems import InputError, Problem
from simcluster.files.source import Document, Path, show_path
from simcluster.files.validation import at, validate

Rule = Callable[[int, int], int]
"""The value of a field whose key is absent, from the hidden size and the number of heads."""

BITS = {"fp8": 8.0, "mxfp4": 4.25}
"""Bits a weight by `quant_method`; MXFP4 has one 8-bit scale per 32 values of 4 bits."""


def one_per_head(hidden: int, n_heads: int) -> int:
    """Give every head its own keys and values."""
    return n_heads


def hidden_over_heads(hidden: int, n_heads: int) -> int:
    """Divide the hidden vector among the heads."""
    return hidden // n_heads


def four_hidden(hidden: int, n_heads: int) -> int:
    """Make the feed-forward block four times as wide as the hidden vector."""
    return 4 * hidden


@dataclass(frozen=True)
class Architecture:
    """The keys and fixed values of one family of models."""

    keys: Mapping[str, str]
    """The file's key by the field of `Shape`; `a|b` where versions differ."""
    fixed: Mapping[str, Any]
    """Fields that the family's code fixes."""
    absent: Mapping[str, Any] = field(default_factory=dict)
    """Fields that a file may leave out (or, for a rule, set to null): a value or a rule."""
    only: Mapping[str, Any] = field(default_factory=dict)
    """Keys that must have this value if they are given: with another value the shape cannot be described."""
    implied: Mapping[str, Callable[[Shape], list[Any]]] = field(default_factory=dict)
    """Lists that must agree with the shape if they are given."""
    part: Path = ()
    """Path of the text model in the file."""


def _windows_as_types(shape: Shape) -> list[Any]:
    return ["full_attention" if window is None else "sliding_attention" for window in layer_windows(shape)]


def _layers_with_experts(shape: Shape) -> list[Any]:
    return [layer for layer, kind in enumerate(layer_kinds(shape)) if kind == "moe"]


_ROTARY_KEYS = {
    "hidden": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads",
    "head_dim": "head_dim",
    "ff": "intermediate_size",
    "vocab": "vocab_size",
    "context": "max_position_embeddings",
    "tied": "tie_word_embeddings",
}
_ROTARY = {"ffn_kind": "glu", "norm": "rmsnorm"}
_UNTIED = {"tied": False}
_UNTIED_SHARED = {"tied": False, "head_dim": hidden_over_heads}
_GPT_KEYS = {
    "hidden": "n_embd",
    "layers": "n_layer",
    "heads": "n_head",
    "ff": "n_inner",
    "vocab": "vocab_size",
    "context": "n_positions",
    "tied": "tie_word_embeddings",
}
_GPT = {"norm": "layernorm", "attention_bias": "all", "ffn_bias": True}
_MULTI_HEAD = {"kv_heads": one_per_head, "head_dim": hidden_over_heads}
_NO_WINDOW = {"use_sliding_window": False}
_QWEN3 = _ROTARY | {"qk_norm": True}
_QWEN3_KEYS = _ROTARY_KEYS | {"attention_bias": "attention_bias"}

ARCHITECTURES: dict[str, Architecture] = {
    "LlamaForCausalLM": Architecture(
        keys=_ROTARY_KEYS | {"attention_bias": "attention_bias", "ffn_bias": "mlp_bias"},
        fixed=_ROTARY,
        absent=_UNTIED_SHARED | {"kv_heads": one_per_head, "attention_bias": False, "ffn_bias": False},
    ),
    "MistralForCausalLM": Architecture(
        keys=_ROTARY_KEYS | {"sliding_window": "sliding_window"},
        fixed=_ROTARY,
        absent=_UNTIED_SHARED | {"sliding_window": 4096},
        implied={"layer_types": _windows_as_types},
    ),
    "MixtralForCausalLM": Architecture(
        keys=_ROTARY_KEYS
        | {
            "sliding_window": "sliding_window",
            "moe.experts": "num_local_experts",
            "moe.top_k": "num_experts_per_tok",
            "moe.expert_ff": "intermediate_size",
        },
        fixed=_ROTARY,
        absent=_UNTIED_SHARED | {"sliding_window": None},
    ),
    "Phi3ForCausalLM": Architecture(
        keys=_ROTARY_KEYS | {"sliding_window": "sliding_window"},
        fixed=_ROTARY,
        absent=_UNTIED_SHARED | {"kv_heads": one_per_head, "sliding_window": None},
    ),
    "GemmaForCausalLM": Architecture(keys=_ROTARY_KEYS, fixed=_ROTARY, absent={"tied": True}),
    "Qwen2ForCausalLM": Architecture(
        keys=_ROTARY_KEYS,
        fixed=_ROTARY | {"attention_bias": "qkv"},
        absent=_UNTIED_SHARED,
        only=_NO_WINDOW,
        implied={"layer_types": _windows_as_types},
    ),
    "Qwen3ForCausalLM": Architecture(
        keys=_QWEN3_KEYS,
        fixed=_QWEN3,
        absent=_UNTIED | {"attention_bias": False},
        only=_NO_WINDOW,
        implied={"layer_types": _windows_as_types},
    ),
    "Qwen3MoeForCausalLM": Architecture(
        keys=_QWEN3_KEYS
        | {
            "moe.experts": "num_experts|num_local_experts",
            "moe.top_k": "num_experts_per_tok",
            "moe.expert_ff": "moe_intermediate_size",
            "moe.interleave": "decoder_sparse_step",
        },
        fixed=_QWEN3,
        absent=_UNTIED | {"attention_bias": False, "moe.interleave": 1},
        only=_NO_WINDOW | {"mlp_only_layers": []},
    ),
    "DeepseekV3ForCausalLM": Architecture(
        keys=_ROTARY_KEYS
        | {
            "head_dim": "v_head_dim",
            "moe.experts": "n_routed_experts",
            "moe.top_k": "num_experts_per_tok",
            "moe.expert_ff": "moe_intermediate_size",
            "moe.shared": "n_shared_experts",
            "moe.first_dense": "first_k_dense_replace",
            "mla.q_lora_rank": "q_lora_rank",
            "mla.kv_lora_rank": "kv_lora_rank",
            "mla.qk_nope_head_dim": "qk_nope_head_dim",
            "mla.qk_rope_head_dim": "qk_rope_head_dim",
            "mla.v_head_dim": "v_head_dim",
        },
        fixed=_ROTARY | {"moe.router_bias": True},
        absent=_UNTIED | {"kv_heads": one_per_head},
        only={"moe_layer_freq": 1, "attention_bias": False, "topk_method": "noaux_tc"},
    ),
    "GptOssForCausalLM": Architecture(
        keys=_ROTARY_KEYS
        | {
            "attention_bias": "attention_bias",
            "sliding_window": "sliding_window",
            "moe.experts": "num_local_experts",
            "moe.top_k": "num_experts_per_tok|experts_per_token",
            "moe.expert_ff": "intermediate_size",
        },
        fixed=_ROTARY | {"ffn_bias": True, "full_attention_every": 2, "moe.router_bias": True},
        absent=_UNTIED | {"attention_bias": True},
        implied={"layer_types": _windows_as_types},
    ),
    "Llama4ForConditionalGeneration": Architecture(
        keys=_ROTARY_KEYS
        | {
            "ff": "intermediate_size_mlp",
            "attention_bias": "attention_bias",
            "moe.experts": "num_local_experts",
            "moe.top_k": "num_experts_per_tok",
            "moe.expert_ff": "intermediate_size",
            "moe.interleave": "interleave_moe_layer_step",
        },
        fixed=_ROTARY | {"moe.shared": 1},
        absent=_UNTIED | {"attention_bias": False},
        implied={"moe_layers": _layers_with_experts},
        part=("text_config",),
    ),
    "GPT2LMHeadModel": Architecture(
        keys=_GPT_KEYS | {"learned_positions": "n_positions"},
        fixed=_GPT | {"ffn_kind": "mlp"},
        absent=_MULTI_HEAD | {"ff": four_hidden, "tied": True},
        only={"add_cross_attention": False},
    ),
    "JAISLMHeadModel": Architecture(
        keys=_GPT_KEYS,
        fixed=_GPT | {"ffn_kind": "glu"},
        absent=_MULTI_HEAD | {"tied": True},
        only={"activation_function": "swiglu", "position_embedding_type": "alibi", "add_cross_attention": False},
    ),
    "BloomForCausalLM": Architecture(
        keys={
            "hidden": "hidden_size|n_embed",
            "layers": "n_layer|num_hidden_layers",
            "heads": "n_head|num_attention_heads",
            "ff": "n_inner",
            "vocab": "vocab_size",
            "context": "seq_length",
            "tied": "tie_word_embeddings",
        },
        fixed=_GPT | {"ffn_kind": "mlp"},
        absent=_MULTI_HEAD | {"ff": four_hidden, "tied": True, "context": 2048},
    ),
    "GPTNeoXForCausalLM": Architecture(
        keys={
            "hidden": "hidden_size",
            "layers": "num_hidden_layers",
            "heads": "num_attention_heads",
            "ff": "intermediate_size",
            "vocab": "vocab_size",
            "context": "max_position_embeddings",
            "tied": "tie_word_embeddings",
        },
        fixed=_GPT | {"ffn_kind": "mlp"},
        absent=_MULTI_HEAD | _UNTIED,
        only={"attention_bias": True},
    ),
}


def read(file: str | FilePath) -> ModelShape:
    """
    Read the shape of the text model that a `config.json` describes.

    Its name is the file's name without the suffix, or its folder's name if that is `config`. Left out are vision
    towers and multi-token prediction modules, as everywhere (see `shapes`). `native_bits` is set only for weights
    that are stored in FP8 or MXFP4 according to `quantization_config`.

    Raises:
        InputError: the file is not such a configuration, or its architecture is unknown; else all keys that are
            missing, have the wrong type or an impossible size, contradict each other, or describe a model of a
            shape that is not supported.
    """
    document = source.read(file)
    name = _architecture(document)
    architecture = ARCHITECTURES[name]
    values = _mapping(document, architecture.part)
    data, paths = _translate(architecture, values)
    problems = [*_missing(document, data, paths), *_unequal(document, architecture, values)]
    problems += _uneven(document, architecture, values, data)
    native_bits, fault = _native_bits(document)
    if fault is not None:
        problems.append(fault)
    shape = _shape(document, architecture, data | {"native_bits": native_bits}, paths, problems)
    path = FilePath(file).resolve()
    stem = path.parent.name if path.stem == "config" else path.stem
    return ModelShape(name=stem, title=f"{stem} ({name})", **dict(shape))


def _architecture(document: Document) -> str:
    """Find the architecture that the file names."""
    known = "expected one of " + ", ".join(sorted(ARCHITECTURES))
    named = _mapping(document, ()).get("architectures")
    if not isinstance(named, list) or len(named) != 1 or not isinstance(named[0], str):
        found = "missing" if named is None else "not a list of one name"
        raise InputError([document.problem(("architectures",), found, known)])
    if named[0] not in ARCHITECTURES:
        raise InputError([document.problem(("architectures", 0), f"architecture '{named[0]}' is not known", known)])
    return named[0]


def _mapping(document: Document, path: Path) -> dict[str, Any]:
    """Look up the mapping at a path of at most one key."""
    value = document.data
    for key in path:
        value = value.get(key)
    if not isinstance(value, dict):
        raise InputError([document.problem(path, "not a mapping", "expected a Hugging Face configuration")])
    return value


def _translate(architecture: Architecture, values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Path]]:
    """
    Collect values by the (dotted) field of `Shape`, and the path in the file at which each is or should be.

    A key set to null counts as absent, unless the value for absent ones is not a rule: `sliding_window: null` is
    no window, whatever the default window of the family is.
    """
    data = dict(architecture.fixed)
    paths: dict[str, Path] = {}
    for name, alternatives in architecture.keys.items():
        keys = alternatives.split("|")
        key = next((key for key in keys if values.get(key) is not None), keys[0])
        paths[name] = (*architecture.part, key)
        if values.get(key) is not None:
            data[name] = values[key]
        elif name == "sliding_window" and key in values:
            data[name] = None
        elif name in architecture.absent and not callable(architecture.absent[name]):
            data[name] = architecture.absent[name]
    for name, rule in architecture.absent.items():
        if callable(rule) and name not in data:
            paths.setdefault(name, paths["hidden"])
            data[name] = _derive(rule, data.get("hidden"), data.get("heads"))
    if "attention_bias" in paths:
        data["attention_bias"] = "all" if data.get("attention_bias") is True else "none"
    return data, paths


def _derive(rule: Rule, hidden: Any, n_heads: Any) -> int:
    """Apply a rule; 1 if the sizes it needs are unusable, which is reported elsewhere."""
    usable = all(isinstance(size, int) and not isinstance(size, bool) and size > 0 for size in (hidden, n_heads))
    return max(rule(hidden, n_heads), 1) if usable else 1


def _missing(document: Document, data: Mapping[str, Any], paths: Mapping[str, Path]) -> Iterator[Problem]:
    """Find what `Shape` cannot check: missing keys of fields optional there, and the type of `attention_bias`."""
    for name, path in paths.items():
        if name not in data:
            yield document.problem(path, "missing", "it must be given")
    bias = at(document.data, paths.get("attention_bias", ()))
    if "attention_bias" in paths and not isinstance(bias, bool | None):
        yield document.problem(paths["attention_bias"], _shown(bias), "expected true or false")


def _uneven(
    document: Document, architecture: Architecture, values: Mapping[str, Any], data: Mapping[str, Any]
) -> Iterator[Problem]:
    """Find a head width that cannot be derived because the heads do not divide the hidden vector evenly."""
    given = values.get(architecture.keys.get("head_dim", "")) is not None
    if given or architecture.absent.get("head_dim") is not hidden_over_heads:
        return
    hidden, n_heads = data.get("hidden"), data.get("heads")
    if isinstance(hidden, int) and isinstance(n_heads, int) and n_heads > 0 and hidden % n_heads:
        key = architecture.keys["heads"].split("|")[0]
        yield document.problem(
            (*architecture.part, key), f"{n_heads} heads", f"expected a divisor of the hidden size {hidden}"
        )


def _unequal(document: Document, architecture: Architecture, values: Mapping[str, Any]) -> Iterator[Problem]:
    """Find keys with values that the architecture's usual form does not have."""
    for key, expected in architecture.only.items():
        if values.get(key) is not None and values[key] != expected:
            path = (*architecture.part, key)
            yield document.problem(path, _shown(values[key]), f"only {_shown(expected)} is supported")


def _native_bits(document: Document) -> tuple[float | None, Problem | None]:
    """Find the bits of stored weights, None if they are not quantised."""
    settings = document.data.get("quantization_config")
    if settings is None:
        return None, None
    path: Path = ("quantization_config",)
    method = settings.get("quant_method") if isinstance(settings, dict) else None
    if isinstance(method, str) and method in BITS:
        return BITS[method], None
    if isinstance(settings, dict):
        path = (*path, "quant_method")
    expected = f"expected {' or '.join(BITS)}, or remove quantization_config and state the bits in the scenario"
    return None, document.problem(path, _shown(method), expected)


def _shape(
    document: Document,
    architecture: Architecture,
    data: Mapping[str, Any],
    paths: Mapping[str, Path],
    problems: list[Problem],
) -> Shape:
    """Check the translated values; problems are reported with the file's own keys and lines."""
    nested: dict[str, Any] = {}
    for name, value in data.items():
        group, _, inner = name.rpartition(".")
        (nested.setdefault(group, {}) if group else nested)[inner] = value
    lines: dict[Path, int] = {(): document.line(architecture.part)}
    lines |= {tuple(name.split(".")): document.line(path) for name, path in paths.items()}
    translated = Document(document.file, nested, lines)
    try:
        shape = validate(translated, Shape)
    except InputError as error:
        in_file = {name: show_path(path) for name, path in paths.items()}
        found = (replace(problem, path=in_file.get(problem.path, problem.path)) for problem in error.problems)
        raise InputError([*problems, *found]) from None
    for where, what, expected in contradictions(shape):
        path = paths.get(".".join(map(str, where)), architecture.part)
        problems.append(document.problem(path, what, expected))
    for key, list_of in architecture.implied.items():
        given = _mapping(document, architecture.part).get(key)
        if given is not None and given != list_of(shape):
            expected = "expected the list that its other keys imply, or none"
            problems.append(document.problem((*architecture.part, key), _shown(given), expected))
    if problems:
        raise InputError(problems)
    return shape


def _shown(value: Any) -> str:
    """Write a value as JSON does, cut short."""
    if value is None:
        return "missing"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
