"""`simcluster replay`: what it leaves, what it prints, and that the same input gives the same bytes."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_runs import TWO_GPUS

from simcluster.cli import main
from simcluster.results.read_run import read

COMMAND = (sys.executable, "-m", "simcluster")

SCENARIO = f"{TWO_GPUS}slo: {{ttft: 30 ms}}\n"
FILES = {"tokens.parquet", "requests.parquet", "summary.json", "scenario.resolved.yaml", "provenance.json"}


@pytest.fixture
def scenario(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A scenario file in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text(SCENARIO)
    return tmp_path / "s.yaml"


def replay(*arguments: str) -> int:
    return main(["replay", *arguments])


def summary(folder: str | Path) -> dict[str, Any]:
    return json.loads((Path(folder) / "summary.json").read_text())  # type: ignore[no-any-return]


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_leaves_five_files(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run folder is named after scenario and seed, and holds five files and nothing else."""
    assert replay("s.yaml") == 0

    assert ["s-seed0"] == [folder.name for folder in Path("runs").iterdir()]
    assert {file.name for file in Path("runs/s-seed0").iterdir()} == FILES
    assert capsys.readouterr().err == ""
    assert read("runs/s-seed0").n_tokens == summary("runs/s-seed0")["total_output_tokens"]


def test_summary_has_the_names_of_vllm(scenario: Path) -> None:
    """The summary holds what vLLM's benchmark reports, under its names."""
    replay("s.yaml")
    found = summary("runs/s-seed0")

    latencies = {
        f"{kind}_{name}_ms" for kind in ("mean", "median", "p99") for name in ("ttft", "tpot", "itl", "e2el")
    }
    assert set() == (
        latencies
        | {"duration", "completed", "failed", "request_throughput", "output_throughput", "total_token_throughput"}
        | {"total_input_tokens", "total_output_tokens", "request_goodput"}
    ) - set(found)
    assert 12 == found["completed"]


def test_json_is_one_document_and_nothing_else(scenario: Path) -> None:
    """With --json stdout is one strict JSON document, the list of the summaries."""
    done = subprocess.run([*COMMAND, "replay", "s.yaml", "s.yaml", "--json"], capture_output=True, check=True)
    documents = json.loads(done.stdout, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))

    assert [summary("runs/s-seed0"), summary("runs/s-seed0.2")] == documents
    assert done.stderr == b""


def test_the_same_input_gives_the_same_bytes(scenario: Path) -> None:
    """Two processes with different hash seeds write equal files; another seed does not."""
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        arguments = ["replay", "s.yaml", "--output", hash_seed]
        subprocess.run([*COMMAND, *arguments], check=True, env=environment, capture_output=True)
    replay("s.yaml", "--output", "other", "--seed", "1")

    for name in FILES:
        assert sha256(Path("1/s-seed0") / name) == sha256(Path("2/s-seed0") / name)
    assert summary("1/s-seed0")["trace_digest"] != summary("other/s-seed1")["trace_digest"]


def test_another_processor_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what numpy and its linear algebra do faster on this processor than on an old one, files are equal."""
    monkeypatch.chdir(tmp_path)
    faster = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    kinds = {"this": {}, "old": {"OPENBLAS_CORETYPE": "Nehalem", "NPY_DISABLE_CPU_FEATURES": " ".join(faster)}}
    settings = ["--set", "workload.requests=300", "--set", "noise=datacenter"]
    for name, changed in kinds.items():
        command = [*COMMAND, "replay", "benchmark/llama-2-70b-tp8-1k", *settings, "-o", name]
        subprocess.run(command, check=True, env=os.environ | changed, capture_output=True)

    for name in FILES:
        assert sha256(Path("this/llama-2-70b-tp8-1k-seed0") / name) == sha256(
            Path("old/llama-2-70b-tp8-1k-seed0") / name
        )


def test_a_resolved_scenario_reproduces_its_trace(scenario: Path) -> None:
    """Playing the resolved file of a run again gives its trace digest, and under another seed another one."""
    replay("s.yaml")
    replay("runs/s-seed0/scenario.resolved.yaml", "--output", "again")
    replay("runs/s-seed0/scenario.resolved.yaml", "--output", "again", "--seed", "5")

    first = summary("runs/s-seed0")
    assert first == summary("again/s-seed0")
    assert first["trace_digest"] != summary("again/s-seed5")["trace_digest"]


@pytest.mark.parametrize("resolved", [False, True])
def test_fidelity_is_an_option(scenario: Path, resolved: bool) -> None:
    """Every op can be simulated as an event, also of a resolved scenario; the trace is the same."""
    replay("s.yaml")
    file = "runs/s-seed0/scenario.resolved.yaml" if resolved else "s.yaml"
    assert replay(file, "--fidelity", "op", "--output", "op") == 0

    assert "op" == summary("op/s-seed0")["fidelity"]
    assert summary("runs/s-seed0")["trace_digest"] == summary("op/s-seed0")["trace_digest"]


def test_settings(scenario: Path) -> None:
    """--set changes keys of the scenario, several at once."""
    assert replay("s.yaml", "--set", "workload.requests=3", "--set", "noise=none") == 0

    found = summary("runs/s-seed0")
    assert (3, "none") == (found["completed"], found["noise"])


def test_several_scenarios_share_a_table(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Runs side by side: one column each, and where each is."""
    Path("t.yaml").write_text(SCENARIO)
    assert replay("s.yaml", "t.yaml") == 0

    printed = capsys.readouterr().out
    assert ["run: runs/s-seed0", "run: runs/t-seed0"] == printed.splitlines()[-2:]


def test_a_run_replaces_the_former_one(scenario: Path) -> None:
    """A second run of the same name takes the place of the first and leaves nothing else behind."""
    replay("s.yaml")
    replay("s.yaml", "--set", "workload.requests=2")

    assert 2 == summary("runs/s-seed0")["completed"]
    assert ["s-seed0"] == [folder.name for folder in Path("runs").iterdir()]


class TestRefusals:
    def test_all_scenarios_are_reported_before_any_is_played(
        self, scenario: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """One bad scenario among good ones stops everything before anything is written."""
        Path("bad.yaml").write_text("model: x\n")
        Path("worse.yaml").write_text("")
        assert replay("s.yaml", "bad.yaml", "worse.yaml") == 2

        printed = capsys.readouterr()
        assert {"bad.yaml", "worse.yaml"} == {line.split(":")[0] for line in printed.err.splitlines()}
        assert printed.out == ""
        assert not Path("runs").exists()

    def test_another_folder_is_not_replaced(self, scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """A folder that is no run stays as it is."""
        Path("runs/s-seed0").mkdir(parents=True)
        Path("runs/s-seed0/mine.txt").write_text("mine")
        assert replay("s.yaml") == 2

        assert "runs/s-seed0: not a run folder; expected a free place or a former run\n" == (capsys.readouterr().err)
        assert ["mine.txt"] == [file.name for file in Path("runs/s-seed0").iterdir()]

    @pytest.mark.parametrize("output", ["taken/x", "/dev/null/x", "/proc/x", "x" * 300])
    def test_a_place_that_cannot_be_written(
        self, output: str, scenario: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A place where no folder can be is reported in one line."""
        Path("taken").write_text("")
        assert replay("s.yaml", "--output", output) == 2

        assert 1 == len(capsys.readouterr().err.splitlines())
        assert {"s.yaml", "taken"} == {file.name for file in Path().iterdir()}

    def test_a_file_in_the_place_of_the_run(self, scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """A file in the place of the run folder is reported and kept."""
        Path("runs").mkdir()
        Path("runs/s-seed0").write_text("mine")
        assert replay("s.yaml") == 2

        assert capsys.readouterr().err.startswith("runs/s-seed0: ")
        assert Path("runs/s-seed0").read_text() == "mine"

    @pytest.mark.parametrize(
        "arguments",
        [("--seed", "-1"), ("--seed", str(2**63)), ("--seed", "x"), ("--fidelity", "x"), ("--set",), ("--sed", "1")],
    )
    def test_bad_options(self, arguments: tuple[str, ...], scenario: Path) -> None:
        """Options that cannot be used exit with 2, and nothing is written."""
        assert replay("s.yaml", *arguments) == 2
        assert not Path("runs").exists()

    def test_names_never_lead_out_of_the_output(self, scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """A resolved file whose name was made a path is refused."""
        replay("s.yaml")
        file = Path("runs/s-seed0/scenario.resolved.yaml")
        Path("evil.yaml").write_text(file.read_text().replace("name: s\n", "name: ../../evil\n", 1))
        capsys.readouterr()

        assert replay("evil.yaml", "--output", "deep/er") == 2
        assert capsys.readouterr().err.startswith("evil.yaml:2: name: '../../evil'; ")
        assert not Path("deep").exists()

    def test_terminal_codes_are_not_passed_on(self, scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """What a file holds reaches the terminal as printable text only, one line a problem."""
        Path("s.yaml").write_text(SCENARIO.replace("h100-8", '"\\e[31mred\\nrunning.yaml:1: fine"'))
        assert replay("s.yaml") == 2

        reported = capsys.readouterr().err
        assert reported.replace("\n", "").isprintable()
        assert all(line.startswith("s.yaml:3: topology: ") for line in reported.splitlines())


def test_a_killed_run_is_recognised_and_replaced(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a killed process leaves is known as incomplete, by its name and to `check`; the next run removes it."""
    long = ["replay", "s.yaml", "--set", "workload.requests=1000000", "--set", "workload.arrivals.rate=1000 req/s"]
    process = subprocess.Popen([*COMMAND, *long], stdout=subprocess.DEVNULL)
    left = Path("runs/s-seed0.incomplete")
    try:
        while not (left / "tokens.parquet").exists():
            assert process.poll() is None
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()

    assert ["s-seed0.incomplete"] == [folder.name for folder in Path("runs").iterdir()]
    assert main(["check", str(left)]) == 2
    assert "an unfinished run" in capsys.readouterr().err
    assert replay("s.yaml") == 0
    assert ["s-seed0"] == [folder.name for folder in Path("runs").iterdir()]
    assert main(["check", "runs/s-seed0"]) == 0


def test_an_interrupted_run_leaves_nothing(scenario: Path) -> None:
    """Control-C ends a run with exit code 130 and leaves no folder of it."""
    long = ["replay", "s.yaml", "--set", "workload.requests=1000000", "--set", "workload.arrivals.rate=1000 req/s"]
    process = subprocess.Popen(
        [*COMMAND, *long],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # ignored if tests run behind &
    )
    while not Path("runs/s-seed0.incomplete/tokens.parquet").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, reported = process.communicate()

    assert (130, b"interrupted") == (process.returncode, reported.strip())
    assert [] == list(Path("runs").iterdir())
