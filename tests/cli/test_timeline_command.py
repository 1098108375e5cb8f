"""`simcluster timeline`: one file or none, notices on stderr, and faults with exit code 2."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from small_runs import run

from simcluster.cli import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder."""
    return run(tmp_path_factory.mktemp("runs"), title='</script> "quoted"')


def test_writes_one_file_and_says_where(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Folders need not be there, a former file is replaced, and nothing else is left."""
    place = tmp_path / "a" / "t.json.gz"
    for _ in range(2):
        assert 0 == main(["timeline", str(folder), "-o", str(place)])
    assert (f"{place}\n" * 2, "") == capsys.readouterr()
    assert [place] == list(place.parent.iterdir())
    assert {"displayTimeUnit", "otherData", "traceEvents"} == set(json.loads(gzip.decompress(place.read_bytes())))


def test_a_cut_is_told(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What does not fit is not left out in silence."""
    assert 0 == main(["timeline", str(folder), "-o", str(tmp_path / "t.gz"), "--limit", "100"])
    assert "cut at 0." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--from", "3"], "has no unit"),
        (["--to", "3 parsecs"], "the unit 'parsecs'"),
        (["--from", "2 s", "--to", "1 s"], "is not after"),
        (["--from", "-1 s"], "is not a time of a run"),
        (["--limit", "0"], "--limit"),
    ],
)
def test_times_that_are_none(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    """A time without a unit, with another one, or out of order ends with code 2 and no file."""
    assert 2 == main(["timeline", str(folder), "-o", str(tmp_path / "t.gz"), *arguments])
    assert said in capsys.readouterr().err
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["summary.json", "tokens.parquet", "scenario.resolved.yaml"])
def test_an_incomplete_run(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """A missing file is named, and nothing is written."""
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in folder.iterdir():
        if file.name != name:
            (copy / file.name).write_bytes(file.read_bytes())
    assert 2 == main(["timeline", str(copy), "-o", str(tmp_path / "t.gz")])
    assert name in capsys.readouterr().err
    assert not (tmp_path / "t.gz").exists()


def test_a_scenario_of_another_run(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A resolved scenario that somebody changed is not played in place of the run's."""
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    path = copy / "scenario.resolved.yaml"
    path.write_text(path.read_text().replace("seed: 0", "seed: 1"))
    assert 2 == main(["timeline", str(copy), "-o", str(tmp_path / "t.gz")])
    assert "another scenario" in capsys.readouterr().err
