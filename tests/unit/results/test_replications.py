"""Replications: the same bytes however they were made, killed ones resumed, and Student's intervals."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_runs import TWO_GPUS, loaded

from simcluster.files.problems import InputError
from simcluster.numerics.streams import stream, uniforms
from simcluster.results import replications
from simcluster.results.read_run import read
from simcluster.results.replications import interval, metrics, read_all, replicate
from simcluster.scenario.resolved import Scenario


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Scenario:
    """A small scenario with noise."""
    return loaded(tmp_path_factory.mktemp("scenario"), TWO_GPUS, seed=7)


def content(folder: Path) -> dict[str, str]:
    """Digests of all files by path."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def test_workers_change_no_byte(scenario: Scenario, tmp_path: Path) -> None:
    """One process and two workers leave the same files with the same content."""
    replicate(scenario, 3, tmp_path / "one", jobs=1)
    replicate(scenario, 3, tmp_path / "two", jobs=2)

    assert content(tmp_path / "one") == content(tmp_path / "two")
    assert ["seed-0007", "seed-0008", "seed-0009"] == sorted(p.name for p in (tmp_path / "one").glob("seed*"))


def test_only_missing_seeds_run(scenario: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More seeds keep the existing runs, and the result is that of one command."""
    made: list[str] = []
    real = replications.record
    monkeypatch.setattr(
        replications, "record", lambda one, place, policies: (made.append(place.name), real(one, place))
    )
    replicate(scenario, 2, tmp_path / "grown", jobs=1)
    replicate(scenario, 4, tmp_path / "grown", jobs=1)
    replicate(scenario, 4, tmp_path / "fresh", jobs=1)

    assert ["seed-0007", "seed-0008", "seed-0009", "seed-0010"] == made[:4]
    assert content(tmp_path / "fresh") == content(tmp_path / "grown")


def test_killed_ones_are_resumed(scenario: Scenario, tmp_path: Path) -> None:
    """A killed command leaves a folder that says so; the same command ends it as if undisturbed."""
    replicate(scenario, 3, tmp_path / "whole", jobs=1)
    left = tmp_path / "killed.incomplete"
    shutil.copytree(tmp_path / "whole" / "seed-0008", left / "seed-0008")
    shutil.copytree(tmp_path / "whole" / "seed-0007", left / "seed-0007.incomplete")
    with pytest.raises(InputError, match="unfinished replications, 1 finished; run the same command again"):
        read_all(left)
    replicate(scenario, 3, tmp_path / "killed", jobs=1)

    assert content(tmp_path / "whole") == content(tmp_path / "killed")
    assert not left.exists()


def test_runs_of_another_scenario_are_made_again(scenario: Scenario, tmp_path: Path) -> None:
    """A run that was changed, or is of another scenario, is not taken for one of these."""
    (pool,) = scenario.pools
    pool = pool.model_copy(update={"engine": pool.engine.model_copy(update={"max_num_seqs": 2})})
    other = scenario.model_copy(update={"pools": (pool,)})
    replicate(other, 2, tmp_path / "runs", jobs=1)
    replicate(scenario, 2, tmp_path / "runs", jobs=1)
    replicate(scenario, 2, tmp_path / "fresh", jobs=1)

    assert content(tmp_path / "fresh") == content(tmp_path / "runs")


def test_a_taken_place_is_left_alone(scenario: Scenario, tmp_path: Path) -> None:
    """A folder that holds something else is not touched."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    with pytest.raises(InputError, match="taken by something else"):
        replicate(scenario, 2, tmp_path / "mine", jobs=1)

    assert ["thesis.txt"] == [p.name for p in (tmp_path / "mine").iterdir()]
    assert ["mine"] == [p.name for p in tmp_path.iterdir()]


def test_table_and_summary_agree(scenario: Scenario, tmp_path: Path) -> None:
    """The table has a row a seed with the runs' own figures, and the summary their means."""
    summary = replicate(scenario, 3, tmp_path / "runs", jobs=1)
    table = pd.read_parquet(tmp_path / "runs" / "replications.parquet")
    runs = read_all(tmp_path / "runs")

    assert summary == json.loads((tmp_path / "runs" / "replications.json").read_text())
    assert [7, 8, 9] == table["seed"].tolist()
    assert [run.summary["p99_itl_ms"] for run in runs] == table["p99_itl_ms"].tolist()
    assert summary["metrics"]["p99_itl_ms"]["mean"] == pytest.approx(table["p99_itl_ms"].mean(), rel=1e-12)
    assert [run.summary["itl_shares"]["queue"] for run in runs] == table["itl_shares.queue"].tolist()
    assert set(table) - {"seed"} == set(metrics(runs[0].summary))


def test_one_run_reads_as_one(scenario: Scenario, tmp_path: Path) -> None:
    """A run folder is its own only replication, and a folder of replications is not a run."""
    replicate(scenario, 2, tmp_path / "runs", jobs=1)

    assert [7] == [run.summary["seed"] for run in read_all(tmp_path / "runs" / "seed-0007")]
    with pytest.raises(InputError, match="a folder of replications"):
        read(tmp_path / "runs")


def test_interval_covers() -> None:
    """The interval of ten values covers their true mean in 95 % of 1,000 cases, to three standard errors."""
    values = uniforms(stream(3, "intervals"), 10_000).reshape(1000, 10)
    found = [interval(row) for row in values.tolist()]
    inside = np.mean([one.low <= 0.5 <= one.high for one in found if one.low is not None and one.high is not None])

    assert inside == pytest.approx(0.95, abs=3 * (0.95 * 0.05 / 1000) ** 0.5)


def test_interval_of_few() -> None:
    """One value has no interval; equal values have one of no width."""
    assert (None, None) == (interval([2.0]).low, interval([2.0]).half_width)
    assert (0.1, 0.1) == (interval([0.1] * 3).low, interval([0.1] * 3).high)
    assert 0.0 == interval([0.1] * 3).half_width
