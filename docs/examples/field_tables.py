"""
The tables of fields in the documentation, made from the code: keys, kinds of value, defaults and docstrings.

    python docs/examples/field_tables.py            prints which pages are out of date
    python docs/examples/field_tables.py --write    brings them up to date

A table stands between `<!-- table: name -->` and `<!-- end -->`.
"""
# ruff: noqa: T201

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, WithJsonSchema
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from simcluster.files.quantities import Frozen, dimension
from simcluster.noise.sources import SOURCES
from simcluster.policies.routers import ROUTERS
from simcluster.policies.schedulers import SCHEDULERS
from simcluster.scenario.spec import Deployment, EventSpec, Layout, NoiseOverride, PoolSpec, ScenarioFile, Slo
from simcluster.sweeps import spec as sweep
from simcluster.trace.columns import COMPONENTS

DOCS = Path(__file__).resolve().parent.parent
PLACE = re.compile(r"(<!-- table: ([\w-]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)

WORDS = {
    "title": "What people call it. Default: the name of the file.",
    "seed": "Of every random stream.",
    "deployment": "How the model is laid out and run, see [deployment](#deployment).",
    "workload": "Which requests come when; see [workloads](workloads.md).",
    "scheduler": "Who takes part in a step: " + ", ".join(f"`{name}`" for name in SCHEDULERS) + ".",
    "router": "Which replica serves a request: " + ", ".join(f"`{name}`" for name in ROUTERS) + ".",
    "slo": "Latency limits that a good request meets, see [service level](#service-level).",
    "preset": "A noise preset by name; `simcluster show noise` lists them.",
    "ttft": "Time to first token.",
    "tpot": "Time per output token.",
    "e2el": "End-to-end latency.",
}
"""Of fields whose docstring is not beside them."""


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A markdown table."""
    header = list(header)
    lines = [header, ["---"] * len(header), *map(list, rows)]
    return "".join("| " + " | ".join(line).replace("| |", "||") + " |\n" for line in lines)


def fields(model: type[BaseModel], besides: type[BaseModel] | None = None) -> str:
    """The keys of a model, those of its parts included, or only those that another lacks: value, default, meaning."""
    said = {key: text for part in reversed(model.__mro__[: model.__mro__.index(Frozen)])
            for key, text in docstrings(part).items()}  # fmt: skip
    rows = [
        [f"`{field.alias or name}`", kind(field), default(field), said.get(name) or WORDS[name]]
        for name, field in model.model_fields.items()
        if besides is None or name not in besides.model_fields
    ]
    return table(("key", "value", "default", "meaning"), rows)


def docstrings(model: type[BaseModel]) -> dict[str, str]:
    """The text below each field of a class."""
    (definition,) = ast.parse(inspect.getsource(model)).body
    assert isinstance(definition, ast.ClassDef)
    return {
        before.target.id: inspect.cleandoc(after.value.value).replace("\n", " ")
        for before, after in zip(definition.body, definition.body[1:], strict=False)
        if isinstance(before, ast.AnnAssign) and isinstance(before.target, ast.Name)
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
        if isinstance(after.value.value, str)
    }


def kind(field: FieldInfo) -> str:
    """What may stand as the value: an example for quantities, the words of a choice, else the type."""
    return " or ".join(dict.fromkeys(examples(field.metadata) or kinds(field.annotation)))


def examples(metadata: Iterable[Any]) -> list[str]:
    """The example that the metadata of a quantity carries."""
    schemas = [item.json_schema or {} for item in metadata if isinstance(item, WithJsonSchema)]
    return [f"such as `{example}`" for schema in schemas for example in schema["examples"]]


def kinds(annotation: Any) -> Iterator[str]:
    """The kinds of value of a type, those of a union's parts in order."""
    names = {str: "text", int: "integer", float: "number", bool: "`true` or `false`", list: "list", dict: "mapping"}
    if get_origin(annotation) is Literal:
        yield from (f"`{word}`" for word in get_args(annotation))
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield "mapping"
    elif (known := get_origin(annotation) or annotation) in names:
        yield names[known]
    elif metadata := getattr(annotation, "__metadata__", ()):
        yield from examples(metadata) or kinds(annotation.__origin__)
    else:
        for part in get_args(annotation):
            yield from kinds(part)


def default(field: FieldInfo) -> str:
    """The default as it would be written."""
    if field.is_required():
        return "required"
    if field.default_factory is not None:  # empty lists and mappings
        return ""
    value = field.default
    if value is None or value == "" or isinstance(value, BaseModel):
        return ""
    if isinstance(value, float):
        unit = {"bits": " bit", "time": " s", "ratio": " %"}.get(dimension(field.metadata) or "", "")
        return f"`{value * (100 if unit == ' %' else 1):g}{unit}`"
    return "" if value is PydanticUndefined else f"`{value}`"


def noise_sources() -> str:
    """The sources of noise with their parameters."""
    parts = []
    for name, model in SOURCES.items():
        said = docstrings(model)
        rows = [
            [f"`{key}`", kind(field), default(field), said.get(key, "")] for key, field in model.model_fields.items()
        ]
        meaning = (inspect.getdoc(model) or "").replace("\n\n", "\n").replace("\n", " ")
        parts.append(f"\n### {name}\n\n{meaning}\n\n" + table(("key", "value", "default", "meaning"), rows))
    return "".join(parts) + "\n"


def components() -> str:
    """The components of a token's latency."""
    return table(("column", "ticks spent"), ([f"`{name}_ticks`", meaning] for name, meaning in COMPONENTS.items()))


TABLES: dict[str, Callable[[], str]] = {
    "scenario": lambda: fields(ScenarioFile),
    "deployment": lambda: fields(Deployment),
    "pools": lambda: fields(PoolSpec, besides=Layout),
    "noise": lambda: fields(NoiseOverride),
    "noise-sources": noise_sources,
    "slo": lambda: fields(Slo),
    "events": lambda: fields(EventSpec),
    "sweep": lambda: fields(sweep.SweepFile),
    "design": lambda: fields(sweep.Design),
    "samples": lambda: fields(sweep.Samples),
    "range": lambda: fields(sweep.Range),
    "capacity": lambda: fields(sweep.Capacity),
    "cost": lambda: fields(sweep.Cost),
    "components": components,
}


def outdated() -> dict[Path, str]:
    """Pages whose tables are not what the code says, each with the text it should have."""
    found = {}
    for page in sorted(DOCS.rglob("*.md")):
        text = page.read_text(encoding="utf-8")
        renewed = PLACE.sub(lambda match: match[1] + TABLES[match[2]]() + match[4], text)
        if renewed != text:
            found[page] = renewed
    return found


if __name__ == "__main__":
    for page, text in outdated().items():
        print(page.relative_to(DOCS.parent))
        if "--write" in sys.argv:
            page.write_text(text, encoding="utf-8")
