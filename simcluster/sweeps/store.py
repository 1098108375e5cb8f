"""
What runs of sweeps gave, kept under the digest of all that can change it, so that nothing is played twice.

The journal is a line of JSON for each finished run, appended when it is finished. A killed sweep leaves at worst half
a line at its end, which is not read. A key is a hash of the scenario's digest, the seed, and the versions of
simcluster, of Python and of the packages that can reach a result.
"""

from __future__ import annotations

import hashlib
import json
import math
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

from simcluster.files.problems import InputError, Problem
from simcluster.results.run import versions
from simcluster.scenario.resolved import Scenario

JOURNAL = "journal.jsonl"

Result = dict[str, Any]
"""`metrics`: numbers by name, or None; `trace_digest`; `notes` and `assumptions` of the run."""


@cache
def origin() -> str:
    """The versions that results depend on, in this process."""
    return json.dumps(versions(), sort_keys=True)


def key_of(scenario: Scenario) -> str:
    """What a run of a scenario under its seed is kept under."""
    said = json.dumps([origin(), scenario.digest(), scenario.seed])
    return hashlib.sha256(said.encode()).hexdigest()


class Store:
    """The results of one folder, as a context; one sweep at a time."""

    def __init__(self, folder: Path) -> None:
        """Open the journal of a folder; an InputError tells that another sweep is at work there."""
        self._path = folder / JOURNAL
        self._known: dict[str, Result] = {}
        self._file = self._path.open("a+b")
        try:
            _lock(self._file.fileno())
        except OSError:
            self._file.close()
            found = "another sweep is at work here"
            raise InputError(
                [Problem(str(folder), 0, "", found, "expected it to be over, or another folder")]
            ) from None
        self._read()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def get(self, key: str) -> Result | None:
        """The result under a key, if it is there."""
        return self._known.get(key)

    def put(self, key: str, result: Result) -> None:
        """Keep a result; it is with the system, whatever becomes of this process, when this returns."""
        if key not in self._known:
            self._known[key] = result
            self._file.write(json.dumps({"key": key, **result}).encode() + b"\n")
            self._file.flush()

    def _read(self) -> None:
        self._file.seek(0)
        line = b"\n"
        for line in self._file:
            if (entry := _entry(line)) is not None:
                self._known.setdefault(entry.pop("key"), entry)
        if not line.endswith(b"\n"):
            self._file.write(b"\n")


def _lock(handle: int) -> None:
    """Hold a file for this process alone; the system lets go of it when the process ends, however it ends."""
    try:
        import fcntl
    except ImportError:  # where there is none, nobody is kept out
        return
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _entry(line: bytes) -> dict[str, Any] | None:
    """A line of the journal, unless it is none."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not isinstance(found.get("key"), str):
        return None
    metrics, digest = found.get("metrics"), found.get("trace_digest")
    if not isinstance(metrics, dict) or not all(_is_number(value) for value in metrics.values()):
        return None
    texts = [found.get(name) for name in ("notes", "assumptions")]
    sound = isinstance(digest, str) and all(isinstance(of, list) and all(map(_is_text, of)) for of in texts)
    return found if sound and {"completed", "failed", "unfinished", "duration"} <= metrics.keys() else None


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value))


def _is_text(value: object) -> bool:
    return isinstance(value, str)
