"""The journal of a sweep: what was kept is there again, whatever else stands in the file."""

from __future__ import annotations

from pathlib import Path

import pytest

import simcluster
from simcluster.files.problems import InputError
from simcluster.sweeps.store import JOURNAL, Store, key_of

COUNTS = {"completed": 1.0, "failed": 0.0, "unfinished": 0.0, "duration": 2.5}
RESULT = {"metrics": COUNTS | {"p99_itl_ms": None}, "trace_digest": "d", "notes": [], "assumptions": ["a"]}


def test_what_was_kept_is_there_again(tmp_path: Path) -> None:
    """A result is found under its key by the next store of the folder, and kept once."""
    with Store(tmp_path) as store:
        store.put("k", dict(RESULT))
        store.put("k", dict(RESULT))
    with Store(tmp_path) as store:
        assert RESULT == store.get("k")
        assert store.get("other") is None
    assert 1 == len((tmp_path / JOURNAL).read_text().splitlines())


@pytest.mark.parametrize(
    "junk",
    ['{"key": "h', "[1, 2]", '{"key": 3}', "\0\0", "[" * 100_000, '{"key": "k", "metrics": {"duration": "long"}}',
     '{"key": "k", "metrics": {"duration": NaN}, "trace_digest": ""}', '{"key": "k", "metrics": {}}'],
)  # fmt: skip
def test_a_torn_or_foreign_line_is_passed_over(junk: str, tmp_path: Path) -> None:
    """Half a line at the end, or nonsense, costs that line alone: what comes later stands on lines of its own."""
    with Store(tmp_path) as store:
        store.put("a", dict(RESULT))
    with (tmp_path / JOURNAL).open("a") as file:
        file.write(junk)
    with Store(tmp_path) as store:
        assert RESULT == store.get("a")
        assert store.get("k") is None
        store.put("b", dict(RESULT))
    with Store(tmp_path) as store:
        assert RESULT == store.get("a") == store.get("b")


def test_one_sweep_at_a_time(tmp_path: Path) -> None:
    """A second store of a folder is refused while the first is open."""
    with Store(tmp_path), pytest.raises(InputError, match="another sweep is using"):
        Store(tmp_path)
    with Store(tmp_path) as store:
        assert store.get("a") is None


def test_a_key_is_that_of_what_is_simulated() -> None:
    """Another seed or another setting has another key, another title has not."""
    base = simcluster.load("llama-3.1-8b-1xwse3")
    longer = simcluster.load("llama-3.1-8b-1xwse3", ["workload.output_tokens.value=257"])

    assert key_of(base) == key_of(base.model_copy(update={"title": "other", "name": "other"}))
    assert 3 == len({key_of(base), key_of(longer), key_of(base.model_copy(update={"seed": 1}))})
