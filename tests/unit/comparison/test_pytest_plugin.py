"""The fixture `simcluster_gate` in tests of other projects."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCENARIO = """
model: llama-3.1-8b
topology: h100-8
workload:
  arrivals: {kind: poisson, rate: 20 req/s}
  prompt_tokens: {kind: fixed, value: 64}
  output_tokens: {kind: uniform, low: 4, high: 12}
  requests: 8
noise: {preset: datacenter, without: [op_jitter]}
gates: [median_itl_ms > +2%]
"""
TESTS = """
def test_gate(simcluster_gate):
    assert simcluster_gate("base.yaml", "s.yaml", worlds=4) is not None

def test_slower(simcluster_gate):
    simcluster_gate("s.yaml", "slow.yaml", worlds=4)

def test_limit(simcluster_gate):
    simcluster_gate("s.yaml", "s.yaml", worlds=4, fail_if=["median_itl_ms > 1 s"])

def test_wrong(simcluster_gate):
    simcluster_gate("s.yaml", "s.yaml", settings=["seeed=3"])

def test_not_decided(simcluster_gate):
    simcluster_gate("s.yaml", "slow.yaml", worlds=4, fail_if=["median_itl_ms > +5%"], inconclusive="skip")
"""


def run(folder: Path, *arguments: str) -> str:
    """Output of pytest in a folder."""
    command = [sys.executable, "-m", "pytest", "-rfEs", "-p", "no:cacheprovider", "-p", "no:xdist", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stdout


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with scenarios and tests of them."""
    (tmp_path / "s.yaml").write_text(SCENARIO)
    (tmp_path / "slow.yaml").write_text(f"{SCENARIO}deployment: {{slowdown: 1.05}}\n")
    (tmp_path / "test_it.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    return tmp_path


def test_fixture(project: Path) -> None:
    """A regression fails with its cause, wrong input with what is right, what is not decided as asked."""
    written = run(project, "--simcluster-update-baselines", "-k", "test_gate")
    assert "None is not None" in written  # where a baseline was written, nothing was compared
    out = run(project)

    assert "2 failed, 2 passed, 1 skipped" in out
    assert "FAIL: s.yaml → slow.yaml" in out
    assert "allowed +2 %: weight_fetch" in out
    assert "did you mean 'seed'?" in out
    assert "INCONCLUSIVE: s.yaml → slow.yaml" in out


def test_it_costs_nothing_until_it_is_used(project: Path) -> None:
    """pytest starts without importing any of the large packages."""
    (project / "test_it.py").write_text(
        "import sys\ndef test_it():\n    assert not {'numpy', 'pydantic', 'scipy'} & set(sys.modules)\n"
    )

    assert "1 passed" in run(project)
