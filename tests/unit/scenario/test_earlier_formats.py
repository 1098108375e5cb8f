"""What an earlier version wrote is refused in one sentence that says how to renew it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from simcluster.cli import main
from simcluster.comparison.read import read as read_side
from simcluster.files.problems import InputError
from simcluster.results.invariants import check_run
from simcluster.results.read_run import read
from simcluster.results.run import RESOLVED, record
from simcluster.scenario.load import load
from simcluster.scenario.reread import dump

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder of this version."""
    record(load("llama-3.1-8b-1xwse3", ["workload.output_tokens.value=3"]), tmp_path / "run")
    return tmp_path / "run"


def the_problem(error: pytest.ExceptionInfo[InputError]) -> str:
    (problem,) = error.value.problems
    return str(problem)


def earlier(file: Path, now: str, before: str) -> None:
    """Make a file say that it is of an earlier format."""
    text = file.read_text()
    assert now in text
    file.write_text(text.replace(now, before))


def test_a_run_folder(run: Path) -> None:
    """A run of the earlier format is refused before anything else of it is judged."""
    earlier(run / "provenance.json", "simcluster-run-2", "simcluster-run-1")
    (run / "summary.json").write_text(json.dumps({"unlike": "this version's"}))
    with pytest.raises(InputError) as caught:
        read(run)

    assert the_problem(caught) == (
        f"{run}/provenance.json: format: written by another version (format simcluster-run-1); "
        "this one has simcluster-run-2: run `simcluster replay llama-3.1-8b-1xwse3` again"
    )
    assert main(["check", str(run)]) == 2
    assert main(["compare", str(run), str(run)]) == 2


@pytest.mark.parametrize(
    "reader", [lambda run: read(run).recorded_scenario(), check_run, lambda run: read(run).scenario()]
)
def test_the_scenario_of_a_run(run: Path, reader: object) -> None:
    """A run whose resolved scenario is of the earlier format is refused by that format alone."""
    earlier(run / RESOLVED, "simcluster-scenario-3", "simcluster-scenario-2")
    with pytest.raises(InputError) as caught:
        reader(run)  # type: ignore[operator]

    assert the_problem(caught) == (
        f"{run}/{RESOLVED}:1: format: written by another version (format simcluster-scenario-2); "
        "this one has simcluster-scenario-3: run `simcluster replay llama-3.1-8b-1xwse3` again"
    )


def test_a_resolved_scenario(tmp_path: Path) -> None:
    """One whose pool still stands at the top is refused by its format alone, whatever else it has."""
    file = tmp_path / "old.yaml"
    text = dump(load("llama-3.1-8b-1xwse3")).replace("simcluster-scenario-3", "simcluster-scenario-2")
    file.write_text(text.replace("pools:", "device:"))
    with pytest.raises(InputError, match=r"again$") as caught:
        load(file)

    assert "written by another version (format simcluster-scenario-2)" in the_problem(caught)


def test_a_baseline(tmp_path: Path) -> None:
    """A baseline of the earlier format is refused, and `--update-baseline` is named."""
    file = tmp_path / "base.yaml"
    file.write_text((ROOT / "tests" / "baselines" / "chat-70b-8xh100.yaml").read_text())
    earlier(file, "simcluster-baseline-3", "simcluster-baseline-2")
    with pytest.raises(InputError) as caught:
        read_side(str(file))

    assert the_problem(caught).endswith(
        "format: written by another version (format simcluster-baseline-2); this one has simcluster-baseline-3: "
        "run `simcluster compare` again with --update-baseline"
    )
    assert main(["compare", str(file), "chat-70b-8xh100"]) == 2
