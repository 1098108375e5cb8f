"""Sweeps as a whole: every point once, nothing twice, failures reported, the same bytes each time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from small_runs import ONE_GPU

import simcluster
from simcluster.files.problems import InputError
from simcluster.results.run import measure
from simcluster.sweeps import execute
from simcluster.sweeps.plan import read
from simcluster.sweeps.record import record
from simcluster.sweeps.store import JOURNAL

BASE = f"{ONE_GPU}slo: {{ttft: 60 ms}}\n"
SWEEP = """
scenario: base.yaml
seeds: 2
design:
  variants:
    one: {}
    four: {deployment.tensor_parallel_size: 4}
    three: {deployment.tensor_parallel_size: 3}
  grid: {workload.requests: [4, 8]}
cost: {currency: EUR, per_device_hour: {h100-sxm: 2}}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A base scenario and a sweep in the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("base.yaml").write_text(BASE)
    Path("s.yaml").write_text(SWEEP)


@pytest.fixture
def simulate_task(monkeypatch: pytest.MonkeyPatch) -> list[execute.Task]:
    """The runs that are made in this process."""
    made: list[execute.Task] = []
    real = execute.simulate_task

    def watched(task: execute.Task) -> dict[str, Any]:
        made.append(task)
        return real(task)

    monkeypatch.setattr(execute, "simulate_task", watched)
    return made


def table(folder: str) -> list[dict[str, Any]]:
    """The rows of a sweep's table."""
    return pq.read_table(Path(folder) / "results.parquet").to_pylist()  # type: ignore[no-any-return]


def test_every_point_once() -> None:
    """The table has a row for each point in order: those that cannot be with the reason, the others with figures."""
    summary, _ = record(read("s.yaml"), Path("out"), jobs=1)
    rows = table("out")

    assert list(range(6)) == [row["point"] for row in rows]
    assert ["one", "one", "four", "four", "three", "three"] == [row["variant"] for row in rows]
    assert [4, 8] * 3 == [row["workload.requests"] for row in rows]
    assert ["ok"] * 4 + ["infeasible"] * 2 == [row["status"] for row in rows]
    assert "32 heads among 3 ranks" in rows[4]["reason"]
    assert {"all": 6, "ok": 4, "infeasible": 2, "failed": 0} == summary["points"]
    assert summary == json.loads(Path("out/sweep.json").read_text())


def test_figures_are_those_of_the_runs() -> None:
    """Means over the seeds of what single runs measure; the cost is that of all devices for an hour."""
    record(read("s.yaml"), Path("out"), jobs=1)
    row = table("out")[3]
    settings = ["deployment.tensor_parallel_size=4", "workload.requests=8"]
    runs = [measure(simcluster.load("base.yaml", settings, seed)) for seed in (0, 1)]

    for name in ("mean_tpot_ms", "p99_ttft_ms", "output_throughput"):
        assert sum(run[name] for run in runs) / 2 == pytest.approx(row[name], rel=1e-12)
        assert abs(runs[0][name] - runs[1][name]) / 2 * 12.7062 == pytest.approx(row[f"half_width.{name}"], rel=1e-4)
    assert 8.0 == row["cost_per_hour"]
    tokens_per_s = row["total_output_tokens"] / row["duration"]
    assert 8.0 / 3600 / tokens_per_s * 1e6 == pytest.approx(row["cost_per_million_output_tokens"])


def test_nothing_is_played_twice(simulate_task: list[execute.Task]) -> None:
    """The same sweep again simulates nothing; a longer one simulates what is new; the table has the same bytes."""
    record(read("s.yaml"), Path("out"), jobs=1)
    assert 8 == len(simulate_task)
    first = Path("out/results.parquet").read_bytes()
    record(read("s.yaml"), Path("out"), jobs=1)
    assert 8 == len(simulate_task)
    assert first == Path("out/results.parquet").read_bytes()
    Path("s.yaml").write_text(SWEEP.replace("[4, 8]", "[4, 6, 8]").replace("seeds: 2", "seeds: 3"))
    record(read("s.yaml"), Path("out"), jobs=1)
    assert 8 + 2 * (3 + 1 + 1) == len(simulate_task)


def test_equal_scenarios_are_one_run(simulate_task: list[execute.Task]) -> None:
    """What is kept is found by what is simulated: two names of one scenario share their runs."""
    Path("s.yaml").write_text("scenario: base.yaml\ndesign: {variants: {a: {}, b: {noise: datacenter}}}\n")
    record(read("s.yaml"), Path("out"), jobs=1)
    assert 1 == len(simulate_task)
    assert 2 == len(table("out"))
    assert 1 == len(Path("out", JOURNAL).read_text().splitlines())


def test_a_killed_sweep_is_taken_up(simulate_task: list[execute.Task]) -> None:
    """With half of the journal, and half a line more, only what is missing is simulated; the table is the same."""
    record(read("s.yaml"), Path("whole"), jobs=1)
    lines = Path("whole", JOURNAL).read_bytes().splitlines(keepends=True)
    Path("out").mkdir()
    Path("out", JOURNAL).write_bytes(b"".join(lines[:3]) + lines[3][:50])
    simulate_task.clear()
    record(read("s.yaml"), Path("out"), jobs=1)

    assert 5 == len(simulate_task)
    assert table("whole") == table("out")


def test_a_run_that_fails_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its point is failed with the reason and has no figures; the next sweep makes it again."""
    real = execute.measure

    def faulty(scenario: Any) -> dict[str, Any]:
        if scenario.workload["requests"] == 8 and scenario.seed == 1:
            raise MemoryError("no room")
        return real(scenario)

    monkeypatch.setattr(execute, "measure", faulty)
    summary, _ = record(read("s.yaml"), Path("out"), jobs=1)
    rows = table("out")
    assert ["ok", "failed", "ok", "failed", "infeasible", "infeasible"] == [row["status"] for row in rows]
    assert "MemoryError: no room" == rows[1]["reason"]
    assert rows[1]["mean_tpot_ms"] is None
    assert [(1, 1), (3, 1)] == [(failed["point"], failed["seed"]) for failed in summary["failed"]]
    monkeypatch.setattr(execute, "measure", real)
    summary, _ = record(read("s.yaml"), Path("out"), jobs=1)
    assert 0 == summary["points"]["failed"]


def test_workers_give_the_same_table() -> None:
    """Two workers leave the bytes that one process leaves."""
    record(read("s.yaml"), Path("here"), jobs=1)
    record(read("s.yaml"), Path("there"), jobs=2)

    assert Path("here/results.parquet").read_bytes() == Path("there/results.parquet").read_bytes()


@pytest.mark.parametrize("extra", ["", "capacity: {low: 1 req/s, high: 100 req/s, precision: 50 %}\n"])
def test_progress_reaches_its_end(extra: str) -> None:
    """The number of finished runs that is reported ascends to the number of runs."""
    Path("s.yaml").write_text(SWEEP + extra)
    reported: list[tuple[int, int]] = []
    record(read("s.yaml"), Path("out"), 1, None, lambda *both: reported.append(both))

    assert reported == sorted(reported, key=lambda both: both[0])
    assert reported[-1][0] == reported[-1][1]


def test_a_capacity_of_each_point() -> None:
    """At the rate that is found the share is reached, at the next one above it is not, all in the same worlds."""
    Path("s.yaml").write_text("""
scenario: base.yaml
set: {workload.requests: 60, slo: {ttft: 12 ms}}
seeds: 2
design: {grid: {deployment.tensor_parallel_size: [1, 2, 3]}}
capacity: {low: 2 req/s, high: 2000 req/s, attainment: 90 %, precision: 10 %}
""")
    record(read("s.yaml"), Path("out"), jobs=1)
    rows = table("out")

    def share(row: dict[str, Any], rate: float) -> float:
        settings = [f"deployment.tensor_parallel_size={row['deployment.tensor_parallel_size']}", "slo={ttft: 12 ms}",
                    "workload.requests=60", f"workload.arrivals.rate={rate:.6g} req/s"]  # fmt: skip
        runs = [measure(simcluster.load("base.yaml", settings, seed)) for seed in (0, 1)]
        return sum(round(run["request_goodput"] * run["duration"]) for run in runs) / 120

    for row in rows[:2]:
        good, bad = row["capacity_req_per_s"], row["capacity_fails_at_req_per_s"]
        assert "between" == row["capacity_bound"]
        assert good < bad <= good * 1.1
        assert share(row, good) == pytest.approx(row["slo_attainment"])
        assert share(row, bad) < 0.9 <= row["slo_attainment"]
    assert rows[0]["capacity_req_per_s"] < rows[1]["capacity_req_per_s"]
    assert rows[2]["status"] == "infeasible"


def test_a_place_that_is_taken() -> None:
    """A folder with something else in it is left as it is."""
    Path("out").mkdir()
    Path("out/thesis.tex").write_text("")
    with pytest.raises(InputError, match="other files"):
        record(read("s.yaml"), Path("out"), jobs=1)
    assert ["thesis.tex"] == [place.name for place in Path("out").iterdir()]
