"""`simcluster timeline`: one file or none, notices on stderr, and faults with exit code 2."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from small_runs import TWO_GPUS, run

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


def test_a_cut_is_reported(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
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
        (["--from", "99 s"], "nothing from 99 s on; expected a time before "),
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
    """A resolved scenario that was changed is not simulated in place of the run's."""
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    path = copy / "scenario.resolved.yaml"
    path.write_text(path.read_text().replace("seed: 0", "seed: 1"))
    assert 2 == main(["timeline", str(copy), "-o", str(tmp_path / "t.gz")])
    assert "another scenario" in capsys.readouterr().err


SMALL = ["--set", "workload.requests=4"]


@pytest.fixture
def scenario(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A scenario file in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text(TWO_GPUS)
    return "s.yaml"


@pytest.mark.parametrize("stated", [None, "elsewhere/t.json.gz"])
def test_replay_writes_what_the_command_writes(
    scenario: str, capsys: pytest.CaptureFixture[str], stated: str | None
) -> None:
    """With --timeline, a run has its timeline in its folder or where stated, the command's bytes."""
    words = ["--timeline"] if stated is None else ["--timeline", stated]
    assert 0 == main(["replay", scenario, *words])
    written = Path(stated or "runs/s-seed0/timeline.json.gz")
    assert capsys.readouterr().out.endswith(f"timeline: {written}\n")
    assert 0 == main(["timeline", "runs/s-seed0", "-o", "again.gz"])
    assert Path("again.gz").read_bytes() == written.read_bytes()
    assert (written.parent == Path("runs/s-seed0")) == (Path("runs/s-seed0") / "timeline.json.gz").exists()


def test_a_former_timeline_goes_with_its_run(scenario: str) -> None:
    """A run that takes the place of another has no timeline of that one."""
    main(["replay", scenario, "--timeline"])
    main(["replay", scenario, *SMALL])
    assert not Path("runs/s-seed0/timeline.json.gz").exists()


@pytest.mark.parametrize("fidelity", ["auto", "op", "message"])
def test_every_fidelity_has_a_timeline(scenario: str, fidelity: str) -> None:
    """However events are simulated, the run has its timeline, of every one of its requests."""
    assert 0 == main(["replay", scenario, *SMALL, "--fidelity", fidelity, "--timeline"])
    found = json.loads(gzip.decompress(Path("runs/s-seed0/timeline.json.gz").read_bytes()))
    lanes = [e["args"]["name"] for e in found["traceEvents"] if e.get("name") == "thread_name"]
    assert [f"request {number}" for number in range(4)] == [name for name in lanes if name.startswith("request ")]


def test_with_json_stdout_is_one_document(scenario: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the timelines of several runs went is reported on stderr then."""
    assert 0 == main(["replay", scenario, scenario, *SMALL, "--timeline", "--json"])
    out, err = capsys.readouterr()
    assert 2 == len(json.loads(out))
    folders = ("s-seed0", "s-seed0.2")
    assert [f"timeline: runs/{name}/timeline.json.gz" for name in folders] == err.splitlines()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["s.yaml", "--seeds", "2", "--timeline"], "--timeline takes one run"),
        (["s.yaml", "s.yaml", "--timeline", "t.gz"], "one file for 2 runs"),
        (["--timeline", "s.yaml"], "'s.yaml' does not end in .gz; a scenario goes before it"),
        (["s.yaml", "--timeline", "folder.gz"], "'folder.gz': is a folder"),
        (["s.yaml", "--timeline", f"{'x' * 300}.gz"], "File name too long"),
        (["s.yaml", "--timeline", "s.yaml/t.gz"], "'s.yaml/t.gz': "),
    ],
)
def test_timelines_that_make_no_sense(
    scenario: str, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    """Nothing is simulated for a timeline of many worlds, one file of several runs, or one that cannot be written."""
    Path("folder.gz").mkdir()
    assert 2 == main(["replay", *words])
    assert said in " ".join(capsys.readouterr().err.split())
    assert not Path("runs").exists()
