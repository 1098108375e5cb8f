"""Check plain data against a pydantic model and report all problems together, each with its file and line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from simcluster.files import units
from simcluster.files.problems import InputError, Problem, nearest, shown
from simcluster.files.source import MAX_PROBLEMS, Document, Path

Model = TypeVar("Model", bound=BaseModel)

_TYPES = {
    "string_type": "text", "int_type": "a whole number", "int_from_float": "a whole number", "float_type": "a number",
    "bool_type": "true or false", "list_type": "a list", "tuple_type": "a list", "dict_type": "a mapping",
    "model_type": "a mapping", "model_attributes_type": "a mapping",
}  # fmt: skip
"""Types that pydantic's type errors expect, in words."""

_BOUNDS = {
    "less_than_equal": "at most", "less_than": "less than", "greater_than_equal": "at least",
    "greater_than": "more than",
}  # fmt: skip
"""Bounds of pydantic's errors of size, in words."""

_WORDINGS = (
    ("Value error, ", ""), ("Input should be", "expected"), ("String should have", "expected"),
    ("greater than or equal to", "at least"), ("less than or equal to", "at most"), ("greater than", "more than"),
    (" after validation, not 0", ""),
)  # fmt: skip


def validate(document: Document, model: type[Model], path: Path = (), *, from_json: bool = False) -> Model:
    """
    Turn a document, or the part of it at `path`, into a model.

    Args:
        document: as read.
        model: the type to make.
        path: of the part.
        from_json: read it like JSON: lists may be tuples and text keys numbers, as in files that a program wrote.

    Raises:
        InputError: with every problem that pydantic finds, or the first `MAX_PROBLEMS` and their number.
    """
    data = at(document.data, path)
    if not isinstance(data, dict):
        found = "an empty file" if data is None and not path else f"{shown(data)} where a mapping belongs"
        raise InputError([document.problem(path, found, f"expected the keys {', '.join(_keys(model))}")])
    try:
        return model.model_validate_json(json.dumps(data)) if from_json else model.model_validate(data)
    except ValidationError as error:
        raise InputError(_problems(error, document, model, path)) from None


def at(data: Any, path: Path) -> Any:
    """Look up the value at `path`; None if it does not exist."""
    for part in path:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def _problems(error: ValidationError, document: Document, model: type[BaseModel], path: Path) -> Iterable[Problem]:
    data = at(document.data, path)
    items = [(_in_data(data, item["loc"], _of_key(item, model)), item) for item in error.errors(include_url=False)]
    if len(items) > MAX_PROBLEMS:
        yield document.problem(path, f"{len(items):,} problems", f"the first {MAX_PROBLEMS} are reported")
    types: dict[Path, list[str]] = {}
    inner = {where[:length] for where, _ in items for length in range(len(where))}
    inner |= {where for where, item in items if item["type"] not in _TYPES}
    for where, item in items[:MAX_PROBLEMS]:
        if item["type"] in _TYPES:
            types.setdefault(where, []).append(_TYPES[item["type"]])
        else:
            yield document.problem((*path, *where), *_words(item, model, at(data, where)))
    for where, wanted in types.items():
        if where not in inner:  # else another member of a union fits better, and its problem is reported
            expected = "expected " + " or ".join(dict.fromkeys(wanted))
            yield document.problem((*path, *where), shown(at(data, where)), expected)


def _of_key(item: Any, model: type[BaseModel]) -> bool:
    """Whether the last part of an error's location is a key, which may be missing, and not a union's member."""
    *where, last = item["loc"] or ("",)
    return item["type"] == "missing" or (item["type"] == "fault" and last in _keys_at(model, tuple(where)))


def _in_data(data: Any, loc: tuple[str | int, ...], may_be_missing: bool) -> Path:
    """Keep of pydantic's location what exists in the data, and a missing key; names of union members are dropped."""
    where: list[str | int] = []
    for index, part in enumerate(loc):
        if isinstance(data, dict) and part in data:
            data = data[part]
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        elif not may_be_missing or index < len(loc) - 1 or not isinstance(data, dict):
            continue
        where.append(part)
    return tuple(where)


def _words(item: Any, model: type[BaseModel], value: Any) -> tuple[str, str]:
    """Say in words what was found (`value`, as in the file) and what would be right."""
    kind = item["type"]
    context = item.get("ctx", {})
    if kind == "fault":
        return context["found"], context["expected"]
    if kind == "extra_forbidden":
        known = _keys_at(model, item["loc"][:-1])
        return f"unknown key '{item['loc'][-1]}'", nearest(str(item["loc"][-1]), known) if known else "remove it"
    if kind == "missing":
        return "missing", "it must be given"
    if kind in ("literal_error", "enum"):
        known = re.findall("'([^']*)'", context["expected"])
        is_near = isinstance(value, str) and get_close_matches(value, known)
        return shown(value), nearest(value, known) if is_near else f"expected {context['expected']}"
    if kind == "union_tag_not_found":
        return "no " + context["discriminator"].strip("'"), "it says which kind this is"
    if kind == "union_tag_invalid":
        key = context["discriminator"].strip("'")
        known = [tag.strip("'") for tag in context["expected_tags"].split(", ")]
        return f"{key} '{context['tag']}'", nearest(str(context["tag"]), known)
    if kind == "too_long":
        return f"{context['actual_length']:,} entries", f"expected at most {context['max_length']:,}"
    if kind == "too_short" and isinstance(value, list):
        return f"{len(value):,} entries" if len(
            value
        ) != 1 else "1 entry", f"expected at least {context['min_length']:,}"
    if kind in _BOUNDS and isinstance(value, str):  # a quantity, whose bound is in SI units
        limit = next(iter(context.values()))
        return shown(value), f"expected {_BOUNDS[kind]} {_with_unit(limit, value)}"
    message = item["msg"]
    for pydantics, ours in _WORDINGS:
        message = message.replace(pydantics, ours)
    return shown(value), message[0].lower() + message[1:]


def _with_unit(limit: float, text: str) -> str:
    """Write a bound in SI units as a quantity of the same dimension as `text`."""
    for dimension in units.UNITS:
        try:
            units.parse(text, dimension)
        except units.UnitError:
            continue
        return units.show(limit, dimension)
    return f"{limit:g}"


def _keys(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _keys_at(model: type[BaseModel], loc: tuple[str | int, ...]) -> list[str]:
    """List the keys allowed at a location, found in the models' annotations; none if unclear."""
    candidates = [model]
    for part in loc:
        found: list[type[BaseModel]] = []
        for candidate in candidates:
            field = candidate.model_fields.get(str(part))
            if field is not None:
                found += _models_in(field.annotation)
            elif isinstance(part, int):
                found.append(candidate)
            else:
                tag = [m for m in candidates if _has_tag(m, str(part))]
                found += tag or [candidate]
                break
        candidates = found
    return sorted({key for candidate in candidates for key in _keys(candidate)})


def _has_tag(model: type[BaseModel], tag: str) -> bool:
    """Whether a member of a discriminated union carries this tag."""
    field = model.model_fields.get("kind")
    return field is not None and tag in getattr(field.annotation, "__args__", ())


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """List the pydantic models that appear in an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in _models_in(part)]
