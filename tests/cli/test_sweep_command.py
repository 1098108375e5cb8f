"""`simcluster sweep`: files and output, infeasible points, and resumption after a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from small_runs import ONE_GPU

from simcluster.cli import main
from simcluster.results.run import measure as execute_measure
from simcluster.scenario.resolved import Scenario

BASE = f"{ONE_GPU}slo: {{ttft: 60 ms}}\n"
SMALL = """
scenario: base.yaml
design:
  variants:
    one: {}
    "[red]four": {deployment.tensor_parallel_size: 4}
    three: {deployment.tensor_parallel_size: 3}
  grid: {workload.arrivals.rate: [40 req/s, 80 req/s]}
"""
LONG = """
scenario: base.yaml
set: {workload.requests: 300}
seeds: 3
design:
  random: {points: 20, ranges: {workload.arrivals.rate: {low: 50 req/s, high: 200 req/s}}}
"""


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A base scenario and two sweeps in the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("base.yaml").write_text(BASE)
    Path("s.yaml").write_text(SMALL)
    Path("long.yaml").write_text(LONG)


def simcluster(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "simcluster", *arguments]


def n_kept(folder: str) -> int:
    """Whole lines of a journal."""
    journal = Path(folder) / "journal.jsonl"
    return journal.read_bytes().count(b"\n") if journal.exists() else 0


def wait_for(what: str, n: int) -> None:
    """Wait until `n` runs are kept."""
    deadline = time.monotonic() + 120
    while n_kept(what) < n and time.monotonic() < deadline:
        time.sleep(0.01)
    assert n_kept(what) >= n


def require_whole(folder: str, n_points: int, n_runs: int) -> None:
    """Every point of a sweep is in the table exactly once and every run in the journal exactly once."""
    rows = pq.read_table(Path(folder) / "results.parquet").to_pylist()
    assert list(range(n_points)) == [row["point"] for row in rows]
    assert {"ok"} == {row["status"] for row in rows}
    keys = [json.loads(line)["key"] for line in (Path(folder) / "journal.jsonl").read_text().splitlines()]
    assert n_runs == len(keys) == len(set(keys))


def test_what_it_prints(capsys: pytest.CaptureFixture[str]) -> None:
    """A row per feasible point, the others with their reason, the folder; nothing to stderr in a pipe."""
    assert main(["sweep", "s.yaml", "--jobs", "1"]) == 0
    out, err = capsys.readouterr()

    assert "" == err
    assert 4 == sum(line.split()[1:2] in (["one"], ["[red]four"]) for line in out.splitlines())
    assert "infeasible: variant three, arrivals.rate [req/s] 40 and 1 more points: 32 heads among 3 ranks" in out
    assert out.endswith("sweep: runs/s-sweep\n")
    assert ["journal.jsonl", "results.parquet", "sweep.json"] == sorted(
        p.name for p in Path("runs/s-sweep").iterdir()
    )


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    """With --json one document comes: the summary and the rows of the table."""
    main(["sweep", "s.yaml", "--jobs", "1", "--json"])
    found = json.loads(capsys.readouterr().out)

    assert 6 == len(found["rows"]) == found["points"]["all"]
    assert found["rows"][5]["devices"] is None
    assert json.loads(Path("runs/s-sweep/sweep.json").read_text()).items() <= found.items()


def test_pictures(capsys: pytest.CaptureFixture[str]) -> None:
    """With --plot both pictures are drawn, twice the same bytes."""
    drawn = []
    for folder in ("a", "b"):
        assert main(["sweep", "s.yaml", "--jobs", "1", "--plot", folder]) == 0
        drawn.append({path.name: path.read_bytes() for path in Path(folder).iterdir()})

    assert {"heat_maps.svg", "pareto.svg"} == set(drawn[0])
    assert drawn[0] == drawn[1]
    assert "a/heat_maps.svg" in capsys.readouterr().out


def test_all_faults_at_once_and_nothing_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    """Faults of several lines come together, with exit code 2; no folder is made."""
    Path("s.yaml").write_text(SMALL.replace("80 req/s", "80 reqs") + "seeds: many\n")
    assert main(["sweep", "s.yaml"]) == 2
    assert "s.yaml:9: seeds: 'many'; expected a whole number" in capsys.readouterr().err
    Path("s.yaml").write_text(SMALL.replace("80 req/s", "80 reqs").replace("one: {}", "one: {noise: loud}"))
    assert main(["sweep", "s.yaml"]) == 2
    err = capsys.readouterr().err

    assert "s.yaml:5: noise: " in err
    assert "s.yaml:8: workload.arrivals.rate: " in err
    assert not Path("runs").exists()


def test_check_knows_sweeps(capsys: pytest.CaptureFixture[str]) -> None:
    """A sweep is checked as it would be read, without anything simulated or written."""
    assert main(["check", "s.yaml"]) == 0
    Path("s.yaml").write_text(SMALL.replace("80 req/s", "80 reqs"))
    assert main(["check", "s.yaml"]) == 2
    assert "s.yaml:8: workload.arrivals.rate: " in capsys.readouterr().err
    assert not Path("runs").exists()


def test_a_run_that_fails_is_reported_with_its_scenario(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that exceeds a limit is reported on stderr with the command that reproduces it; the others succeed."""

    def measure(scenario: Scenario) -> dict[str, Any]:
        if scenario.workload["arrivals"]["rate"] == "80 req/s":
            raise OverflowError
        return execute_measure(scenario)

    monkeypatch.setattr("simcluster.sweeps.execute.measure", measure)
    assert main(["sweep", "s.yaml", "--jobs", "1"]) == 2
    out, err = capsys.readouterr()

    assert "point 1: failed: ValueError: a run of more than 106 days; use fewer requests" in err
    assert "to reproduce: simcluster replay base.yaml --seed 0 --set 'workload.arrivals.rate=80 req/s'" in err
    assert 1 == sum(line.split()[1:2] == ["one"] for line in out.splitlines())


def test_no_scheduler(capsys: pytest.CaptureFixture[str]) -> None:
    """An address without a scheduler is an input error."""
    assert main(["sweep", "s.yaml", "--scheduler", "tcp://127.0.0.1:1"]) == 2
    assert "no Dask scheduler at tcp://127.0.0.1:1" in capsys.readouterr().err


def test_killed_and_taken_up() -> None:
    """A command killed with SIGKILL leaves its journal; the same command simulates only what is missing."""
    command = simcluster("sweep", "long.yaml", "--jobs", "2")
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    wait_for("runs/long-sweep", 5)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = Path("runs/long-sweep/journal.jsonl").read_bytes()
    assert not Path("runs/long-sweep/results.parquet").exists()
    assert 5 <= n_kept("runs/long-sweep") < 60
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert "" == done.stderr
    assert Path("runs/long-sweep/journal.jsonl").read_bytes().startswith(kept)
    require_whole("runs/long-sweep", 20, 60)


@contextmanager
def a_cluster(n_workers: int) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A scheduler and workers, each a process of its own, ended at the end."""
    address_file = Path("scheduler.json")
    scheduler = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0",
                 "--no-dashboard", "--scheduler-file", str(address_file)]  # fmt: skip
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", "--no-nanny", "--nthreads", "1", "--no-dashboard",
              "--memory-limit", "0", "--local-directory", "scratch"]  # fmt: skip
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    processes = [subprocess.Popen(scheduler, **quiet)]  # type: ignore[call-overload]
    try:
        deadline = time.monotonic() + 60
        while not address_file.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        address = json.loads(address_file.read_text())["address"]
        processes += [subprocess.Popen([*worker, address], **quiet) for _ in range(n_workers)]  # type: ignore[call-overload]
        yield address, processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_a_worker_that_is_killed() -> None:
    """One of two workers elsewhere is killed while it works; every point is there exactly once."""
    with a_cluster(2) as (address, (_, victim, _)):
        command = simcluster("sweep", "long.yaml", "--scheduler", address)
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        wait_for("runs/long-sweep", 8)
        victim.kill()
        assert n_kept("runs/long-sweep") < 60
        _, err = process.communicate(timeout=200)

    assert "" == err
    assert 0 == process.returncode
    require_whole("runs/long-sweep", 20, 60)


def test_a_scheduler_that_goes_away() -> None:
    """The sweep ends with an input error, and what was there is kept."""
    with a_cluster(1) as (address, (scheduler, *_)):
        command = simcluster("sweep", "long.yaml", "--scheduler", address)
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        wait_for("runs/long-sweep", 3)
        scheduler.kill()
        _, err = process.communicate(timeout=200)

    assert 2 == process.returncode
    assert "the Dask scheduler went away" in err
    assert n_kept("runs/long-sweep") >= 3
