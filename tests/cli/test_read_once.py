"""Commands on runs read each scenario once, build each planner once, and make few passes over the tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_runs import TWO_GPUS, loaded, run

from simcluster.cli import main
from simcluster.files import source
from simcluster.plans.planner import Planner
from simcluster.results.read_run import RunFolder
from simcluster.results.replications import replicate
from simcluster.results.run import RESOLVED, record
from simcluster.scenario.resolved import Scenario

EVENTS = """
events:
  - {kind: device_slow, device: gpu1, times_slower: 2, at: 100 ms, lasts: 100 ms}
"""


class Calls(Counter[str]):
    """How often scenarios are read and validated, planners are built and tokens are passed over."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self._monkeypatch = monkeypatch
        read, validate = source.read, Scenario.model_validate_json
        self._count(source, "read", "read", read, lambda file: Path(file).name == RESOLVED)
        self._count(Scenario, "model_validate_json", "validated", validate)
        self._count(Planner, "__init__", "planners", Planner.__init__)
        self._count(RunFolder, "tokens", "passes", RunFolder.tokens)

    def _count(
        self, owner: Any, name: str, what: str, before: Any, counts: Callable[..., bool] = lambda *given: True
    ) -> None:
        def counted(*given: Any, **named: Any) -> Any:
            self[what] += counts(*given)
            return before(*given, **named)

        self._monkeypatch.setattr(owner, name, counted)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    return Calls(monkeypatch)


def test_explain_a_run(tmp_path: Path, calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    """Each once; one pass over the tokens finds the means, and one what depends on them."""
    folder = tmp_path / "one"
    record(loaded(tmp_path, TWO_GPUS + EVENTS), folder)
    calls.clear()

    assert 0 == main(["explain", str(folder)])
    assert {"read": 1, "validated": 1, "planners": 1, "passes": 2} == calls


def test_explain_a_pipeline(tmp_path: Path, calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    """The begin of a pipeline is simulated again to see its stages, for which the kernel plans it anew."""
    folder = run(tmp_path, "wafers")
    calls.clear()

    assert 0 == main(["explain", str(folder)])
    assert {"read": 1, "validated": 1, "planners": 2, "passes": 2} == calls


def test_explain_replications_with_pictures(tmp_path: Path, calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    """Each once for every run, also with pictures, which take two passes more."""
    folder = tmp_path / "two"
    replicate(loaded(tmp_path, TWO_GPUS + EVENTS), 2, folder, jobs=1)
    calls.clear()

    assert 0 == main(["explain", str(folder), "--plot", str(tmp_path / "pictures")])
    assert {"read": 2, "validated": 2, "planners": 2, "passes": 8} == calls


def test_explain_causal_of_a_run(tmp_path: Path, calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    """The scenario is read once; a planner is built for every simulation, and the tokens are not looked at."""
    folder = tmp_path / "one"
    record(loaded(tmp_path, TWO_GPUS + EVENTS), folder)
    calls.clear()

    assert 0 == main(["explain", str(folder), "--causal", "--seeds", "2", "--jobs", "1"])
    n_runs = int(capsys.readouterr().out.split(" runs,")[0].split()[-1])
    assert {"read": 1, "validated": 1, "planners": n_runs} == calls


def test_report(tmp_path: Path, calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    """Each once for every run; a run is explained and drawn in four passes over its tokens."""
    folders = [run(tmp_path, name) for name in ("gpus", "replicas")]
    calls.clear()

    assert 0 == main(["report", *map(str, folders), "-o", str(tmp_path / "report.html")])
    assert {"read": 2, "validated": 2, "planners": 2, "passes": 8} == calls
