"""
Scenario files, good and bad: what each resolves to, and the errors of each bad one.

Next to each valid file is its resolved twin. `REFRESH_GOLDEN=1 pytest tests/unit/test_scenario_corpus.py` writes
the twins anew; the review reads the difference.
"""

import builtins
import json
import math
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from simcluster.cli import main
from simcluster.files import source
from simcluster.files.problems import InputError
from simcluster.results.run import simulate
from simcluster.scenario.files import names
from simcluster.scenario.load import load
from simcluster.scenario.reread import dump

FILES = Path(__file__).resolve().parents[2] / "files"
VALID = sorted(f for f in (FILES / "scenarios" / "valid").iterdir() if not f.name.endswith(".resolved.yaml"))
INVALID = sorted((FILES / "scenarios" / "invalid").iterdir())
EXPECTED = re.compile(rb"^# expect: (\d+): ?(.*)$", re.MULTILINE)

LEFT_OUT = ("gpu", "wafer", "group", "device")
"""Keys of a resolved pool that come from the catalogue as they are, a thousand lines long."""


def twin(file: Path) -> Path:
    return file.with_name(f"{file.stem}.resolved.yaml")


def resolved(file: Path) -> str:
    """The resolved scenario without what is left out, and without the place of this checkout."""
    data = yaml.safe_load(dump(load(file)))
    pools = [{key: value for key, value in pool.items() if key not in LEFT_OUT} for pool in data["pools"]]
    short = {key: value for key, value in data.items() if key != "assumptions"} | {"pools": pools}
    # The place goes before the text is made: the length of a path decides where lines are broken.
    placeless = json.loads(json.dumps(short).replace(f"{FILES}/", "FILES/"))
    return yaml.safe_dump(placeless, sort_keys=False, default_flow_style=None, width=118)


def announced(file: Path) -> list[tuple[int, str]]:
    """Lines and paths of the problems that a file says it has."""
    return sorted((int(line), path.decode()) for line, path in EXPECTED.findall(file.read_bytes()))


@pytest.mark.parametrize("file", VALID, ids=lambda file: file.stem)
def test_resolves_to_its_twin(file: Path) -> None:
    """A valid file resolves to the twin next to it, apart from what the catalogue brings."""
    actual = resolved(file)
    if os.environ.get("REFRESH_GOLDEN"):
        twin(file).write_text(actual, encoding="utf-8")

    assert twin(file).read_text(encoding="utf-8") == actual


@pytest.mark.parametrize("file", VALID, ids=lambda file: file.stem)
def test_another_python_resolves_to_the_same(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From 3.12 on `sum` adds floats with less rounding than before; nothing that is resolved depends on it."""
    plain = sum

    def compensated(values: Iterable[Any], start: Any = 0) -> Any:
        added = [start, *values]
        is_float = isinstance(added[-1], float) and all(isinstance(value, int | float) for value in added)
        return math.fsum(added) if is_float else plain(added[1:], start)

    monkeypatch.setattr(builtins, "sum", compensated)
    assert twin(file).read_text(encoding="utf-8") == resolved(file)


def test_every_twin_has_a_file() -> None:
    """There is no twin of a file that is gone."""
    twins = set((FILES / "scenarios" / "valid").glob("*.resolved.yaml"))

    assert {twin(file) for file in VALID} == twins


@pytest.mark.parametrize("file", VALID, ids=lambda file: file.stem)
def test_resolved_files_are_the_scenario(file: Path, tmp_path: Path) -> None:
    """The whole resolved scenario, written and read back, is the same scenario and plays to the same trace."""
    scenario = load(file)
    (tmp_path / "again.yaml").write_text(dump(scenario), encoding="utf-8")
    again = load(tmp_path / "again.yaml")

    assert scenario == again
    assert scenario.digest() == again.digest()
    assert simulate(scenario).summary["trace_digest"] == simulate(again).summary["trace_digest"]


@pytest.mark.parametrize("file", INVALID, ids=lambda file: file.stem)
def test_invalid_files_tell_everything(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An invalid file gives exactly the problems that its first lines announce, each on a line of its own."""
    monkeypatch.chdir(file.parent)
    with pytest.raises(InputError) as caught:
        load(file.name)
    problems = caught.value.problems

    assert announced(file) == sorted((problem.line, problem.path) for problem in problems)
    assert all(problem.found and problem.expected and problem.file == file.name for problem in problems)
    assert main(["check", file.name]) == 2
    printed = capsys.readouterr()
    assert len(problems) == len(printed.err.splitlines())
    assert printed.out == ""


def test_five_mistakes_are_found_at_once(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Five mistakes in one file are five lines, each with its place, its finding and what would be right."""
    monkeypatch.chdir(FILES / "scenarios" / "invalid")

    assert main(["check", "five-mistakes.yaml"]) == 2
    assert [
        "five-mistakes.yaml:6: seeds: unknown key 'seeds'; did you mean 'seed'?",
        "five-mistakes.yaml:8: topology: no topology 'h100-80'; did you mean 'h100-8'?",
        "five-mistakes.yaml:10: deployment.gpu_memory_utilization: '900 %'; expected at most 100 %",
        "five-mistakes.yaml:12: workload.arrivals.rate: 4 has no unit; expected a rate such as '4 req/s'",
        "five-mistakes.yaml:15: workload.requests: -3; expected at least 1",
    ] == capsys.readouterr().err.splitlines()


@pytest.mark.parametrize("name", names())
def test_scenarios_that_come_along_are_fine(name: str) -> None:
    """What comes with simcluster resolves, except the one that shows what does not fit."""
    if name == "gpt3-175b-1xwse3":
        with pytest.raises(InputError, match="does not fit"):
            load(name)
    else:
        assert Path(name).name == load(name).name


def test_the_corpus_has_every_key() -> None:
    """Every key of the scenario file stands in some valid file."""
    from simcluster.scenario.spec import Deployment, EventSpec, Layout, NoiseOverride, PoolSpec, ScenarioFile, Slo
    from simcluster.workload import WorkloadSpec

    used: set[tuple[str, ...]] = set()

    def collect(data: Any, path: tuple[str, ...]) -> None:
        for entry in data if isinstance(data, list) else ():
            collect(entry, path)
        for key, value in data.items() if isinstance(data, dict) else ():
            used.add((*path, key))
            collect(value, (*path, key))

    for file in VALID:
        collect(source.read(file).data, ())

    sections = {(): ScenarioFile, ("deployment",): Deployment, ("workload",): WorkloadSpec}
    sections |= {("pools", "small-ones"): PoolSpec, ("noise",): NoiseOverride, ("slo",): Slo, ("events",): EventSpec}
    for path, model in sections.items():
        keys = {field.alias or name for name, field in model.model_fields.items()}
        keys -= set(Layout.model_fields) if model is PoolSpec else set()  # they are those of a deployment
        assert set() == keys - {used_path[-1] for used_path in used if used_path[:-1] == path}
