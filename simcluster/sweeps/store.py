"""
Results of a sweep's runs, keyed by a digest of everything that can change them, so that no run is simulated twice.

The journal has a line of JSON for each finished run. A killed sweep leaves at worst half a line at its end, which is
ignored. A key is a hash of the scenario's digest, the seed, and the versions of simcluster, Python and the packages
that can affect a result.
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
    """The versions in this process that results depend on."""
    return json.dumps(versions(), sort_keys=True)


def key_of(scenario: Scenario) -> str:
    """The key of a scenario's run."""
    identity = json.dumps([origin(), scenario.digest(), scenario.seed])
    return hashlib.sha256(identity.encode()).hexdigest()


class Store:
    """The results in a folder, as a context manager; open for one sweep at a time."""

    def __init__(self, folder: Path) -> None:
        """Open the journal of a folder; raises an InputError if another sweep has it open."""
        self._path = folder / JOURNAL
        self._known: dict[str, Result] = {}
        self._file = self._path.open("a+b")
        try:
            _lock(self._file.fileno())
        except OSError:
            self._file.close()
            found = "another sweep is using this folder"
            raise InputError([Problem(str(folder), 0, "", found, "wait for it, or use another folder")]) from None
        self._read()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def get(self, key: str) -> Result | None:
        """The result of a key, or None."""
        return self._known.get(key)

    def put(self, key: str, result: Result) -> None:
        """Keep a result; once this returns it survives the end of the process."""
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
    """Lock a file; the operating system releases it when the process ends in any way."""
    try:
        import fcntl
    except ImportError:  # on Windows, where there is no lock
        return
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _entry(line: bytes) -> dict[str, Any] | None:
    """Parse a line of the journal; None if it is damaged."""
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
