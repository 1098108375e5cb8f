"""What GitHub shows of a comparison: a summary of the step within its limit, and annotations of the worst gates."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from simcluster.comparison.comparison import Comparison, Row
from simcluster.comparison.side import Side
from simcluster.comparison.words import told
from simcluster.files import source
from simcluster.files.problems import InputError
from simcluster.scenario.gates import GateError, parse_all

MOST_SUMMARY_BYTES = 1024 * 1024
"""Of a step, all that was written before included; GitHub shows nothing of one that is longer."""
MOST_ANNOTATIONS = 10
"""Of a kind and step; GitHub drops what comes after them."""
_CUT = "\n\nThe rest is longer than a step summary may be.\n"


def fitted(text: str, n_before: int) -> str:
    """As much of a summary as fits behind so many bytes, cut at a line."""
    room = MOST_SUMMARY_BYTES - n_before
    content = text.encode()
    if len(content) <= room:
        return text
    room -= len(_CUT.encode())
    if room <= 0:
        return ""
    return content[: content.rfind(b"\n", 0, room) + 1].decode() + _CUT


def append_summary(text: str, path: Path) -> None:
    """Add to the file that GitHub reads a step's summary from."""
    n_before = path.stat().st_size if path.exists() else 0
    with path.open("a", encoding="utf-8") as file:
        file.write(fitted(text, n_before))


def annotated(found: Comparison) -> list[str]:
    """
    Workflow commands for the worst gates, at most ten errors and ten warnings.

    FAIL is an error and INCONCLUSIVE a warning, at the line of the candidate's scenario file where the gate stands,
    or else at its first.
    """
    lines = []
    for kind, verdict in (("error", "FAIL"), ("warning", "INCONCLUSIVE")):
        rows = [(c.side, row) for c in found.candidates for row in c.rows if row.verdict == verdict]
        rows.sort(key=lambda item: -_excess(item[1]))
        lines += [_command(kind, side, row) for side, row in rows[:MOST_ANNOTATIONS]]
    return lines


def _excess(row: Row) -> float:
    """How many times its threshold a gate is beyond it; what is not measured comes first."""
    if row.gate is None or row.change is None or row.candidate is None:
        return float("inf")
    value = row.change if row.gate.is_change else row.candidate
    return abs(value - row.gate.threshold) / max(abs(row.gate.threshold), 1e-3)


def _command(kind: str, side: Side, row: Row) -> str:
    place = dict(_place(side, row))
    place["title"] = f"{side.name}: {row.gate}"
    properties = ",".join(f"{key}={_of_property(value)}" for key, value in place.items())
    return f"::{kind} {properties}::{_of_message(told(row))}"


def _place(side: Side, row: Row) -> Iterator[tuple[str, str]]:
    """File and line; none of a folder of runs."""
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
