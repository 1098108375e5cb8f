"""Resolved scenarios as files: written, and read back with everything checked that may have been edited."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path as FilePath
from typing import Any

import yaml

from simcluster.files import source
from simcluster.files.problems import InputError, Problem
from simcluster.files.source import Document, Path
from simcluster.files.validation import at as value_at
from simcluster.files.validation import validate
from simcluster.scenario.contradictions import contradictions
from simcluster.scenario.files import with_value
from simcluster.scenario.requests import require_requests
from simcluster.scenario.resolved import FORMAT, Fault, Scenario, files_sha256, workload_files
from simcluster.workload import WorkloadSpec


def reread(document: Document, settings: Sequence[str], seed: int | None) -> Scenario:
    """A resolved scenario read back; only its seed can be changed."""
    if settings:
        raise InputError([Problem("--set", 0, "", "a resolved scenario", "change the scenario it came from instead")])
    document = with_value(document, ("seed",), seed) if seed is not None else document
    parsed = as_recorded(document)
    require_usable(document, parsed)
    require_requests(document, parsed.workload, parsed.workload_sha256, parsed.seeds)
    return parsed


def require_usable(document: Document, parsed: Scenario) -> None:
    """
    Require that a resolved scenario could have been written by this version, and that its files have not changed.

    Raises:
        InputError: with every fault at its line.
    """
    validate(document, WorkloadSpec, ("workload",))
    faults = list(_unphysical(document.data)) or list(contradictions(parsed))
    problems = [document.problem(*fault) for fault in faults]
    for path in workload_files(parsed.workload):
        file = value_at(parsed.workload, path)
        if not source.is_file(FilePath(file)):
            problems.append(
                document.problem(("workload", *path), f"no file '{file}'", "expected the file of the run")
            )
    if problems:
        raise InputError(problems)
    if files_sha256(parsed.workload) != parsed.workload_sha256:
        found = "its files have changed since the scenario was resolved"
        raise InputError([document.problem(("workload",), found, "expected the same content")])


def as_recorded(document: Document) -> Scenario:
    """
    The scenario that a run folder has recorded: of this version's form, not judged anew.

    Raises:
        InputError: it is of another version, or not well-formed.
    """
    require_format(document)
    return validate(document, Scenario, from_json=True)


def require_format(document: Document) -> None:
    """Refuse a resolved scenario of another version, and say how to renew it."""
    data = document.data if isinstance(document.data, dict) else {}
    found = data.get("format")
    if found == FORMAT:
        return
    if isinstance(found, str) and found.startswith(FORMAT.rstrip("0123456789")):
        what, name = f"written by another version (format {found[:80]})", data.get("name")
        renew = f"run `simcluster replay {name}` again" if isinstance(name, str) else "run the scenario again"
        raise InputError([document.problem(("format",), what, f"this one has {FORMAT}: {renew}"[:300])])
    expected = f"expected {FORMAT}, or no format in a scenario"
    raise InputError([document.problem(("format",), f"format '{found!s:.80}'", expected)])


_MIN = (
    (r"_(per_s|hz)(\.\w+)?$", 1e3),
    (r"(_efficiency|_per_cycle|_per_core|_bytes_per_token|memory_bytes|grid\.\w*(rows|columns|ports))$", 1e-6),
)
_MAX = (
    (r"(?<!_per)_s(\.\w+)?$", 3600.0),
    (r"_cycles$", 1e9),
    (r"grid\.\w*(rows|columns|ports)$", 1e6),
)
"""How small and how large numbers of a resolved scenario may be, by the ends of their paths."""


def _unphysical(data: Any, path: Path = ()) -> Iterator[Fault]:
    """Numbers that no resolved scenario has: negative ones, rates of zero, hours for a step."""
    if isinstance(data, dict | list):
        for key, value in data.items() if isinstance(data, dict) else enumerate(data):
            if path or key not in ("workload", "events", "noise"):  # have bounds of their own
                yield from _unphysical(value, (*path, key))
    elif isinstance(data, int | float) and not isinstance(data, bool):
        name = ".".join(part for part in path if isinstance(part, str))
        if data < 0:
            yield path, f"{data:g}", "must not be negative"
            return
        for pattern, least in _MIN:
            if data < least and re.search(pattern, name):
                yield path, f"{data:g}", f"expected at least {least:g}"
        for pattern, most in _MAX:
            if data > most and re.search(pattern, name):
                yield path, f"{data:g}", f"expected at most {most:g}"


def dump(scenario: Scenario) -> str:
    """The resolved scenario as YAML text, which `load` reads back to the same scenario."""
    data = json.loads(scenario.model_dump_json())
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


_Base: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # a fifth of the time


class _Dumper(_Base):  # type: ignore[misc]
    """Quotes what `source` would read as something else than text: PyYAML writes 1e6 and 08 as they are."""


def _text(dumper: Any, text: str) -> yaml.ScalarNode:
    style = None if isinstance(source.scalar(text), str) and text.isprintable() else '"'
    node: yaml.ScalarNode = dumper.represent_scalar("tag:yaml.org,2002:str", text, style)
    return node


_Dumper.add_representer(str, _text)
