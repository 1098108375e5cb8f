"""`simcluster check`: scenarios, topologies and runs, and the exit code that sums them up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from simcluster.cli import main

FILES = Path(__file__).resolve().parents[1] / "files"
GOOD = FILES / "scenarios" / "valid" / "arrivals-single.yaml"
BAD = FILES / "scenarios" / "invalid" / "no-unit.yaml"
TOPOLOGY = FILES / "topology" / "valid" / "two-servers.yaml"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run."""
    monkeypatch.chdir(tmp_path)
    assert main(["replay", str(GOOD)]) == 0
    return Path("runs/arrivals-single-seed0")


def test_fine(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A scenario by path and by name, a topology, a resolved scenario and a run are fine, one line each."""
    capsys.readouterr()
    things = [str(GOOD), "chat-70b-8xh100", str(TOPOLOGY), str(run / "scenario.resolved.yaml"), str(run)]
    assert main(["check", *things]) == 0

    printed = capsys.readouterr()
    assert [f"{thing}: ok" for thing in things] == printed.out.splitlines()
    assert printed.err == ""


def test_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checking leaves nothing behind."""
    monkeypatch.chdir(tmp_path)
    main(["check", str(GOOD), str(BAD)])

    assert [] == list(tmp_path.iterdir())


def test_the_good_are_reported_beside_the_bad(capsys: pytest.CaptureFixture[str]) -> None:
    """One bad file does not hide that another is fine."""
    assert main(["check", str(BAD), str(GOOD)]) == 2

    printed = capsys.readouterr()
    assert [f"{GOOD}: ok"] == printed.out.splitlines()
    assert [f"{BAD}:7: workload.arrivals.rate: 4 has no unit; expected a rate such as '4 req/s'"] == (
        printed.err.splitlines()
    )


def test_settings(capsys: pytest.CaptureFixture[str]) -> None:
    """Settings are checked with the scenario, and reported as settings."""
    assert main(["check", str(GOOD), "--set", "deployment.weights=8 bit"]) == 0
    assert main(["check", str(GOOD), "--set", "deployment.weights=8 bits"]) == 2
    assert capsys.readouterr().err.startswith("--set: deployment.weights: '8 bits' has the unit 'bits'; ")


def test_a_faulty_topology(capsys: pytest.CaptureFixture[str]) -> None:
    """Errors of a topology file are reported as such, not as those of a scenario."""
    file = FILES / "topology" / "invalid" / "not-a-wafer.yaml"
    assert main(["check", str(file)]) == 2

    assert f"{file}:2: generate.device: 'h100-sxm' is not a wafer" in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["summary.json", "provenance.json", "tokens.parquet", "requests.parquet"])
def test_an_incomplete_run(missing: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run without one of its files is incomplete."""
    (run / missing).unlink()
    assert main(["check", str(run)]) == 2

    assert f"{run}: an incomplete run: no {missing}; run the scenario again\n" == capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"PAR1", b"\0" * 100, b"PAR1" + b"\xff" * 1000 + b"PAR1"])
def test_a_damaged_run(content: bytes, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run whose table is damaged is reported as unreadable."""
    (run / "tokens.parquet").write_bytes(content)
    assert main(["check", str(run)]) == 2

    assert 1 == len(capsys.readouterr().err.splitlines())


def test_a_broken_law_exits_with_4(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run that breaks a law exits with 4 and names the law."""
    file = run / "scenario.resolved.yaml"
    file.write_text(file.read_text().replace("kv_blocks: 26674", "kv_blocks: 1"))
    code = main(["check", str(run)])

    assert code == 4
    assert capsys.readouterr().err.startswith(f"{run}: ")


@pytest.mark.parametrize(
    "name", ["", "/tmp", "/dev/zero", "/dev/null", "no-such-scenario", "x" * 5000, "a\0b", "n.yaml"]
)
def test_what_is_nothing_of_that(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Folders, devices and names of nothing are reported in one line each."""
    assert main(["check", name]) == 2

    reported = capsys.readouterr().err
    assert 1 == len(reported.splitlines())
    assert "Traceback" not in reported


def test_a_summary_that_was_edited(run: Path) -> None:
    """A summary with values of other types is refused."""
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps(summary | {"duration": "long"}))

    assert main(["check", str(run)]) == 2
