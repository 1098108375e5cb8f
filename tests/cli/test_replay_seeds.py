"""`simcluster replay --seeds`: what it leaves and prints, and how it answers what cannot be."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_runs import ONE_GPU

from simcluster.cli import main


@pytest.fixture(autouse=True)
def scenario(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scenario file in the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("s.yaml").write_text(ONE_GPU)


def test_leaves_a_folder_and_prints_intervals(capsys: pytest.CaptureFixture[str]) -> None:
    """A folder named after the scenario; the table has mean and half-width; nothing goes to stderr in a pipe."""
    assert main(["replay", "s.yaml", "--seeds", "3", "--jobs", "1"]) == 0
    out, err = capsys.readouterr()

    assert "3 seeds from 0, noise datacenter" in out
    assert "±" in out
    assert out.endswith("runs: runs/s-seeds\n")
    assert "" == err
    assert ["s-seeds"] == [place.name for place in Path("runs").iterdir()]


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    """With --json one document comes, what stands in `replications.json`."""
    main(["replay", "s.yaml", "--seeds", "2", "--jobs", "1", "--json"])
    (summary,) = json.loads(capsys.readouterr().out)

    assert summary == json.loads(Path("runs/s-seeds/replications.json").read_text())
    assert 2 == summary["metrics"]["mean_itl_ms"]["n"]


@pytest.mark.parametrize("option", [["--jobs", "2"], ["--scheduler", "tcp://127.0.0.1:1"]])
def test_workers_need_seeds(option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Workers have nothing to do for a single run."""
    assert main(["replay", "s.yaml", *option]) == 2
    assert "go with --seeds" in capsys.readouterr().err


def test_too_many_events_are_an_input_error(capsys: pytest.CaptureFixture[str]) -> None:
    """What turns out while simulating to be beyond all bounds is reported as without seeds, and nothing is left."""
    settings = ["--set", "workload.arrivals.rate=0.0000001 req/s"]
    assert main(["replay", "s.yaml", "--seeds", "2", "--jobs", "1", *settings]) == 2
    assert capsys.readouterr().err


def test_killed_and_taken_up() -> None:
    """A killed command leaves an incomplete folder; the same command finishes it and prints as if undisturbed."""
    more = ["--set", "workload.requests=3000", "--set", "workload.arrivals.rate=400 req/s"]
    command = [sys.executable, "-m", "simcluster", "replay", "s.yaml", "--seeds", "3", *more]
    process = subprocess.Popen([*command, "--jobs", "1"], stdout=subprocess.DEVNULL)
    partial = Path("runs/s-seeds.incomplete")
    deadline = time.monotonic() + 60
    while not (partial / "seed-0000").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert (partial / "seed-0000" / "provenance.json").exists()
    assert not (partial / "replications.json").exists()
    first = (partial / "seed-0000" / "tokens.parquet").stat().st_mtime_ns
    again = subprocess.run([*command, "--jobs", "1"], capture_output=True, text=True, check=True)

    assert "3 seeds from 0" in again.stdout
    assert not partial.exists()
    assert first == Path("runs/s-seeds/seed-0000/tokens.parquet").stat().st_mtime_ns


def test_check_looks_at_every_run(capsys: pytest.CaptureFixture[str]) -> None:
    """`check` holds all runs of a folder of replications against the invariants, and reports broken ones."""
    main(["replay", "s.yaml", "--seeds", "2", "--jobs", "1"])
    assert main(["check", "runs/s-seeds"]) == 0
    assert capsys.readouterr().out.endswith("runs/s-seeds: ok\n")

    Path("runs/s-seeds/seed-0001/summary.json").unlink()
    assert main(["check", "runs/s-seeds"]) == 2
    assert "seed-0001: an incomplete run: no summary.json" in capsys.readouterr().err
