"""Find scenario files, and change them as the command line asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Any

from simcluster.files import source
from simcluster.files.problems import InputError, Problem, nearest
from simcluster.files.source import COMMAND_LINE, Document, Given, Path


def find(file: str | FilePath) -> FilePath:
    """Find a scenario by path, or a shipped one by name (`benchmark/x` for one in a folder)."""
    path = FilePath(file)
    if path.suffix in (".yaml", ".yml", ".json") or _exists(path):
        return path
    known = names()
    if str(file) not in known:
        found = f"no scenario '{str(file)[:80]}'"
        with_ending = path.with_name(f"{path.name}.yaml") if path.name else path
        hint = f"did you mean '{with_ending}'?" if source.is_file(with_ending) else nearest(str(file)[:80], known)
        raise InputError([Problem(str(file)[:200], 0, "", found, hint)])
    return folder() / f"{file}.yaml"


def _exists(path: FilePath) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # longer than the system looks up, say
        return False


def names() -> tuple[str, ...]:
    """List the shipped scenarios, sorted."""
    root = folder()
    return tuple(sorted(f.relative_to(root).with_suffix("").as_posix() for f in root.rglob("*.yaml")))


def folder() -> FilePath:
    """Find the folder of the shipped scenarios."""
    return source.shipped("scenarios")


def with_settings(document: Document, settings: Sequence[str]) -> Document:
    """
    The document with `a.b=c` applied; c is read as in the file.

    Setting `workload.trace` replaces the drawn workload: arrivals, lengths and number of requests go.

    Raises:
        InputError: a setting without `=`, without a key, or through something that is not a mapping.
    """
    problems = []
    for setting in settings:
        key, equals, text = setting.partition("=")
        path = tuple(key.split("."))
        if not equals or not all(path) or len(path) > source.MAX_DEPTH:
            problems.append(
                Problem("--set", 0, "", f"'{setting[:80]}'", "expected key=value such as workload.requests=100")
            )
            continue
        try:
            value = source.parse(text, f"--set {key}").data
            document = with_value(document, path, value)
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    return document


def with_value(document: Document, path: Path, value: Any, origin: Given = COMMAND_LINE) -> Document:
    """
    A copy of the document with one value changed.

    Args:
        document: of a scenario.
        path: of the value, which need not exist.
        value: what it becomes.
        origin: where the value was given, for error messages.

    Raises:
        InputError: the path leads through something that is not a mapping.
    """
    data = copied(document.data)
    here = data
    for part in path[:-1]:
        if not isinstance(here, dict):
            break
        here = here.setdefault(part, {})
        if here is None or isinstance(here, str | int | float | bool):
            break
    if not isinstance(here, dict):
        found = "a value that has no keys" if data is not None else "an empty file"
        place = (origin.document.file, origin.document.line(origin.at), source.show_path(path))
        raise InputError([Problem(*place, found, "expected a key of the scenario")])
    here[path[-1]] = value
    if path == ("workload", "trace") and value is not None:
        for drawn in ("arrivals", "prompt_tokens", "output_tokens", "requests"):
            here.pop(drawn, None)
    outside = {key: given for key, given in document.given.items() if key[: len(path)] != path}
    return replace(document, data=data, given=outside | {path: origin})


def copied(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: copied(value) for key, value in data.items()}
    return [copied(value) for value in data] if isinstance(data, list) else data
