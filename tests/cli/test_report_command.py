"""`simcluster report`: one file or none, and faults with exit code 2."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_runs import run

from simcluster.cli import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder."""
    return run(tmp_path_factory.mktemp("runs"))


def test_writes_one_file_and_says_where(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The page is written into folders that need not be there, replaces a former one, and is named on stdout."""
    place = tmp_path / "a" / "b.html"
    for _ in range(2):
        assert 0 == main(["report", str(folder), "-o", str(place)])
    assert f"{place}\n" * 2 == capsys.readouterr().out
    assert [place] == list(place.parent.iterdir())
    text = place.read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>") and text.rstrip().endswith("</html>")
    assert "<script" not in text


def test_interactive_adds_the_script_and_nothing_to_fetch(folder: Path, tmp_path: Path) -> None:
    """The only script is in the page, and its policy allows that one alone."""
    assert 0 == main(["report", str(folder), "-o", str(tmp_path / "page.html"), "--interactive"])
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert 1 == text.count("<script>")
    assert "script-src 'sha256-" in text


@pytest.mark.parametrize(
    ("name", "said"),
    [("nowhere", "no such folder"), ("file", "is a file"), ("empty", "not a run folder"),
     ("x.incomplete", "an unfinished run")],
)  # fmt: skip
def test_what_is_not_a_run_is_refused_and_nothing_is_written(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, said: str
) -> None:
    """A missing, foreign or unfinished folder ends with code 2, a line on stderr, and an untouched former page."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.incomplete").mkdir()
    page = tmp_path / "out" / "page.html"
    assert 2 == main(["report", str(folder), str(tmp_path / name), "-o", str(page)])
    assert said in capsys.readouterr().err
    assert not page.parent.exists()


def test_a_place_that_cannot_be_written(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file where a folder would be needed is refused, and leaves nothing behind."""
    (tmp_path / "file").write_text("x")
    assert 2 == main(["report", str(folder), "-o", str(tmp_path / "file" / "page.html")])
    assert "expected a place to write to" in capsys.readouterr().err
    assert ["file"] == [entry.name for entry in tmp_path.iterdir()]


def test_without_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    """At least one run is needed."""
    assert 2 == main(["report"])
    assert "Missing argument" in capsys.readouterr().err


def test_a_file_of_another_kind_is_not_written_over(tmp_path: Path) -> None:
    """A page goes to a file in .html, a timeline to one in .gz; anything else is refused before it is touched."""
    scenario = tmp_path / "mine.yaml"
    scenario.write_text("mine")

    assert 2 == main(["report", "run", "-o", str(scenario)])
    assert 2 == main(["timeline", "run", "-o", str(scenario)])
    assert "mine" == scenario.read_text()
