"""What people put into their CI: the action, the pre-commit hook and the workflow of the docs; and our own gates."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from simcluster.pytest_plugin import SimclusterGate

ROOT = Path(__file__).resolve().parent.parent
BASELINES = ROOT / "tests" / "baselines"
GATED = {
    "chat-70b-8xh100": ["workload.requests=25"],
    "chat-70b-4xwse3": ["workload.requests=12"],
    "gpt3-175b-9xwse3": ["workload.output_tokens.value=8"],
}
"""Scenarios that come with simcluster, made cheap."""


@pytest.mark.parametrize("name", GATED)
def test_our_scenarios_keep_their_gates(name: str, simcluster_gate: SimclusterGate) -> None:
    """No change makes a scenario slower than its baseline allows; --simcluster-update-baselines accepts one."""
    simcluster_gate(BASELINES / f"{name}.yaml", name, settings=GATED[name], worlds=10, inconclusive="pass")


def action() -> dict[str, Any]:
    """The composite action."""
    return yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def test_the_action_is_well_formed() -> None:
    """Every input that a step uses is declared, and every one that is declared is used."""
    data = action()
    text = (ROOT / "action.yml").read_text(encoding="utf-8")

    assert "composite" == data["runs"]["using"]
    assert set(data["inputs"]) == set(re.findall(r"inputs\.([\w-]+)", text))
    assert all("description" in one for one in (data, *data["inputs"].values(), *data["outputs"].values()))


@pytest.mark.parametrize(("slowdown", "code"), [("1.0", 0), ("1.5", 1)])
def test_the_action_compares(slowdown: str, code: int, tmp_path: Path) -> None:
    """Its script, run as GitHub runs it: exit code, summary, annotations, JUnit."""
    (script,) = [step["run"] for step in action()["runs"]["steps"] if step.get("id") == "compare"]
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "simcluster").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m simcluster "$@"\n')
    (programs / "simcluster").chmod(0o755)
    settings = f"--seeds 2 --jobs 1\n--candidate-set deployment.slowdown={slowdown}\n  --fail-if median_itl_ms>+2%\n"
    environment = {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT),
        "BASE": "llama-3.1-8b-1xwse3", "CANDIDATE": "llama-3.1-8b-1xwse3",
        "ARGUMENTS": f"--set workload.output_tokens.value=3 {settings}",
        "JUNIT": "j.xml", "GITHUB_OUTPUT": "output", "GITHUB_STEP_SUMMARY": "summary.md",
    }  # fmt: skip
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert code == done.returncode, done.stderr
    assert f"exit-code={code}\n" == (tmp_path / "output").read_text()
    assert ("::error file=" in done.stdout) == bool(code)
    assert "### llama" in (tmp_path / "summary.md").read_text()
    assert (tmp_path / "j.xml").is_file()


def test_the_action_runs_no_inputs() -> None:
    """Inputs reach the script as variables, so that none of them is read as shell code."""
    assert not any("${{" in step.get("run", "") for step in action()["runs"]["steps"])


def test_the_pre_commit_hook_checks_scenarios_and_topologies() -> None:
    """It takes the files of those folders, wherever they are, and its command is one that checks them."""
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    files = re.compile(hook["files"])

    assert ["simcluster", "check"] == hook["entry"].split()
    assert files.search("scenarios/chat.yaml") and files.search("a/topologies/b/c.json")
    assert not files.search("myscenarios/chat.yaml") and not files.search("scenarios/readme.md")
    done = subprocess.run(
        [sys.executable, "-m", "simcluster", "check", "scenarios/chat-70b-8xh100.yaml", "topologies/h100-8.yaml"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert 0 == done.returncode
