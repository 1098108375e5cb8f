"""Check plain data against a pydantic model and tell all faults at once, each with its file and line."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from simcluster.problems import InputError, Problem, nearest
from simcluster.source import Document, Path

Model = TypeVar("Model", bound=BaseModel)


def validate(document: Document, model: type[Model], path: Path = (), *, from_json: bool = False) -> Model:
    """
    Turn a document, or the part of it at `path`, into a model.

    Args:
        document: as read.
        model: what it must be.
        path: of the part.
        from_json: read as JSON is: lists stand for tuples and text keys for numbers, as in what a program wrote.

    Raises:
        InputError: with every fault that pydantic finds.
    """
    data = at(document.data, path)
    if not isinstance(data, dict):
        found = "an empty file" if data is None and not path else f"{_kind(data)} where a mapping belongs"
        raise InputError([document.problem(path, found, f"expected the keys {', '.join(_keys(model))}")])
    try:
        return model.model_validate_json(json.dumps(data)) if from_json else model.model_validate(data)
    except ValidationError as error:
        raise InputError(_problems(error, document, model, path)) from None


def at(data: Any, path: Path) -> Any:
    """The value at `path`; None when there is none."""
    for part in path:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def _problems(error: ValidationError, document: Document, model: type[BaseModel], path: Path) -> Iterable[Problem]:
    for item in error.errors(include_url=False):
        where = _in_data(at(document.data, path), item["loc"])
        found, expected = _words(item, model)
        yield document.problem((*path, *where), found, expected)


def _in_data(data: Any, loc: tuple[str | int, ...]) -> Path:
    """The part of pydantic's location that exists in the data: names of union members are dropped."""
    where: list[str | int] = []
    for index, part in enumerate(loc):
        if isinstance(data, dict) and part in data:
            data = data[part]
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        elif index < len(loc) - 1 or not isinstance(part, str) or not isinstance(data, dict):
            continue
        where.append(part)
    return tuple(where)


def _words(item: Any, model: type[BaseModel]) -> tuple[str, str]:
    """What was found and what would be right, in plain words."""
    kind = item["type"]
    context = item.get("ctx", {})
    value = item.get("input")
    if kind == "fault":
        return context["found"], context["expected"]
    if kind == "extra_forbidden":
        known = _keys_at(model, item["loc"][:-1])
        return f"unknown key '{item['loc'][-1]}'", nearest(str(item["loc"][-1]), known) if known else "remove it"
    if kind == "missing":
        return "missing", "it must be given"
    if kind in ("literal_error", "enum"):
        return f"{_kind(value)}", f"expected {context['expected']}"
    if kind == "union_tag_not_found":
        return "no " + context["discriminator"], "it says which kind this is"
    if kind == "union_tag_invalid":
        return f"{context['discriminator']} '{context['tag']}'", f"expected one of {context['expected_tags']}"
    message = item["msg"].replace("Input should be", "expected").replace("Value error, ", "")
    return _kind(value), message[0].lower() + message[1:]


def _kind(value: Any) -> str:
    """A value as it stood in the file, or what sort of thing it is."""
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    return f"'{text[:60]}…'" if len(text) > 60 else (f"'{text}'" if isinstance(value, str) else text)


def _keys(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _keys_at(model: type[BaseModel], loc: tuple[str | int, ...]) -> list[str]:
    """The keys allowed at a location, found by walking the models' annotations; empty when unclear."""
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
    """All pydantic models that appear in an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in _models_in(part)]
