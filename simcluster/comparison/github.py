"""GitHub output of a comparison: a step summary within its size limit, and annotations of the worst gates."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from simcluster.comparison.comparison import Comparison, Row
from simcluster.comparison.side import Side
from simcluster.comparison.words import verdict_text
from simcluster.files import source
from simcluster.files.problems import InputError
from simcluster.scenario.gates import GateError, parse_all

MAX_SUMMARY_BYTES = 1024 * 1024
"""Limit for a step with all that was written before; GitHub shows nothing of a longer one."""
MAX_ANNOTATIONS = 10
"""Limit per kind and step; GitHub drops further ones."""
_CUT = "\n\nThe rest exceeds the size limit of a step summary.\n"


def fitted(text: str, n_before: int) -> str:
    """Cut a summary at a line so that it fits behind `n_before` bytes."""
    room = MAX_SUMMARY_BYTES - n_before
    content = text.encode()
    if len(content) <= room:
        return text
    room -= len(_CUT.encode())
    if room <= 0:
        return ""
    return content[: content.rfind(b"\n", 0, room) + 1].decode() + _CUT


def append_summary(text: str, path: Path) -> None:
    """Append to the file from which GitHub reads a step's summary."""
    n_before = path.stat().st_size if path.exists() else 0
    with path.open("a", encoding="utf-8") as file:
        file.write(fitted(text, n_before))


def annotated(found: Comparison) -> list[str]:
    """
    Make workflow commands for the worst gates, at most ten errors and ten warnings.

    FAIL is an error and INCONCLUSIVE a warning, at the line of the gate in the candidate's scenario file, or at its
    first line.
    """
    lines = []
    for kind, verdict in (("error", "FAIL"), ("warning", "INCONCLUSIVE")):
        rows = [(c.side, row) for c in found.candidates for row in c.rows if row.verdict == verdict]
        rows.sort(key=lambda item: -_excess(item[1]))
        lines += [_command(kind, side, row) for side, row in rows[:MAX_ANNOTATIONS]]
    return lines


def _excess(row: Row) -> float:
    """The excess over a gate's threshold, relative to it; metrics without a value sort first."""
    if row.gate is None or row.change is None or row.candidate is None:
        return float("inf")
    value = row.change if row.gate.is_change else row.candidate
    return abs(value - row.gate.threshold) / max(abs(row.gate.threshold), 1e-3)


def _command(kind: str, side: Side, row: Row) -> str:
    place = dict(_place(side, row))
    place["title"] = f"{side.name}: {row.gate}"
    properties = ",".join(f"{key}={_of_property(value)}" for key, value in place.items())
    return f"::{kind} {properties}::{_of_message(verdict_text(row))}"


def _place(side: Side, row: Row) -> Iterator[tuple[str, str]]:
    """File and line; nothing for a folder of runs."""
    if side.kind == "runs":
        return
    path = Path(side.file)
    workspace = os.environ.get("GITHUB_WORKSPACE")
    if workspace and path.is_absolute() and path.is_relative_to(workspace):
        path = path.relative_to(workspace)
    yield "file", path.as_posix()
    yield "line", str(_line(side, row))


def _line(side: Side, row: Row) -> int:
    try:
        document = source.read(side.file)
    except InputError:
        return 1
    gates = document.data.get("gates") if isinstance(document.data, dict) else None
    for number, text in enumerate(gates if isinstance(gates, list) else ()):
        try:
            if row.gate in parse_all([text]):
                return document.line(("gates", number)) or 1
        except (GateError, TypeError, AttributeError):
            continue
    return 1


def _of_message(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _of_property(text: str) -> str:
    return _of_message(text).replace(":", "%3A").replace(",", "%2C")
