"""The public functions at the top of the package stay functions, whatever is imported."""

from __future__ import annotations

import inspect
import pkgutil
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from small_runs import ONE_GPU, loaded

import simcluster
from simcluster.results.run import record

ROOT = Path(__file__).resolve().parent.parent

PUBLIC = ("load", "simulate", "compare", "sweep", "explain")
RESERVED = (*PUBLIC, "plan", "audit", "collective")
"""Names of public functions, those to come included; importing a part of that name would rebind it."""

SWEEP = "scenario: one-gpu.yaml\ndesign: {grid: {workload.requests: [3, 4]}}\n"


@pytest.fixture(autouse=True)
def everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every module of the package is imported; the current folder has a small scenario and a sweep of it."""
    for module in pkgutil.walk_packages(simcluster.__path__, "simcluster."):
        import_module(module.name)
    monkeypatch.chdir(tmp_path)
    Path("one-gpu.yaml").write_text(ONE_GPU)
    Path("sweep.yaml").write_text(SWEEP)


def test_load_and_simulate() -> None:
    """A scenario is loaded with a setting and a seed, and simulated."""
    scenario = simcluster.load("one-gpu.yaml", ["workload.requests=3"], seed=5)
    result = simcluster.simulate(scenario)

    assert (scenario.seed, result.summary["completed"], len(result.requests())) == (5, 3, 3)


def test_compare() -> None:
    """A scenario is identical with itself, and longer prompts fail a gate on TTFT."""
    same = simcluster.compare("one-gpu.yaml", "one-gpu.yaml", looks=[2])
    longer = ["workload.prompt_tokens.value=4000"]
    found = simcluster.compare(
        Path("one-gpu.yaml"),
        Path("one-gpu.yaml"),
        candidate_settings=longer,
        fail_if=["mean_ttft_ms > +5%"],
        looks=[5],
    )

    assert ("identical", "PASS") == (same.candidates[0].status, same.verdict)
    assert "FAIL" == found.verdict


def test_compare_needs_a_candidate() -> None:
    """A base alone is refused."""
    with pytest.raises(ValueError, match="no candidate"):
        simcluster.compare("one-gpu.yaml")


def test_sweep() -> None:
    """Every point has a row; a folder keeps them, and nothing is left behind without one."""
    found = simcluster.sweep("sweep.yaml", "kept", ["seed=3"])
    before = sorted(Path().iterdir())
    again = simcluster.sweep("sweep.yaml", settings=["seed=3"])

    assert [3, 4] == [row["completed"] for row in found.rows] == list(again.table()["completed"])
    assert {"ok": 2} == {name: n for name, n in found.summary["points"].items() if n and name != "all"}
    assert (Path("kept") / "sweep.json").is_file() and before == sorted(Path().iterdir())


def test_explain(tmp_path: Path) -> None:
    """The parts of a run's gaps between tokens sum to their mean."""
    record(loaded(tmp_path, ONE_GPU), Path("run"))
    itl = simcluster.explain("run")["itl"]

    assert itl["mean_ms"] == pytest.approx(sum(itl["mean_path_ms"].values()))


def test_each_is_a_documented_and_typed_function() -> None:
    """After all these calls each name is still a function, whose documentation and types say what it takes."""
    for name in PUBLIC:
        function = getattr(simcluster, name)
        signature = inspect.signature(function)
        assert inspect.isfunction(function), name
        assert "\n    Args:\n" in (function.__doc__ or ""), name
        assert signature.return_annotation is not signature.empty, name
        assert all(parameter.annotation is not parameter.empty for parameter in signature.parameters.values()), name


def test_all_and_the_page_agree() -> None:
    """`__all__`, `dir` and the page on Python name the same functions, with the parameters that they have."""
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    shown = dict(re.findall(r"^\* `(\w+)\((.*?)\)`", page, re.MULTILINE))
    own = {name: [*inspect.signature(getattr(simcluster, name)).parameters] for name in PUBLIC}

    assert {*PUBLIC, "Policies"} == set(simcluster.__all__) <= set(dir(simcluster))
    assert own == {name: re.findall(r"(?:^|, )\*?(\w+)", text) for name, text in shown.items()}
    with pytest.raises(AttributeError, match="no attribute 'happiness'"):
        _ = simcluster.happiness


def test_no_part_has_a_reserved_name() -> None:
    """No subpackage is called like a public function, and only three modules lie loose at the package's root."""
    parts = {module.name: module.ispkg for module in pkgutil.iter_modules(simcluster.__path__)}

    assert not {*RESERVED} & {*parts}
    assert {"__main__", "pytest_plugin"} == {name for name, is_package in parts.items() if not is_package}


def test_names_cost_nothing_before_they_are_used() -> None:
    """Importing the package imports none of its parts."""
    code = "import sys, simcluster; print(*(name for name in sys.modules if name.startswith('simcluster.')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert not done.stdout.strip()
