"""Explanations of runs: what was planted is found, with the components of the trace and in its own units."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_runs import write_run
from small_runs import loaded, recorded

import simcluster
from simcluster.noise.pace import DevicePace
from simcluster.numerics.streams import stream, uniforms
from simcluster.results.metrics import LATENCIES, TICKS_PER_MS
from simcluster.results.read_run import RunFolder, read
from simcluster.results.replications import read_all, replicate
from simcluster.scenario.resolved import Scenario
from simcluster.trace.columns import COMPONENTS
from simcluster.variance.explain import explain
from simcluster.variance.explanation import explanation_as_json

SCENARIO = """
model: llama-3.1-8b
topology: h100-8
deployment: {replicas: 2, tensor_parallel_size: 4}
workload:
  arrivals: {kind: poisson, rate: 100 req/s}
  prompt_tokens: {kind: lognormal, median: 64, p99: 256}
  output_tokens: {kind: uniform, low: 1, high: 12}
  requests: 150
noise: {preset: none, op_jitter: {cv: 1 %}, arrival_skew: {mean: 3.9 us}}
"""
MEAN_MS = 5.0


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Scenario:
    """Two replicas under noise, requests of one token among the others."""
    return loaded(tmp_path_factory.mktemp("scenario"), SCENARIO)


@pytest.fixture(scope="module")
def run(scenario: Scenario, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """One run of it."""
    return recorded(scenario, tmp_path_factory.mktemp("runs") / "run")


def planted(folder: Path, seed: int, share: float, n_requests: int = 20, n_gaps: int = 30) -> RunFolder:
    """A run whose gaps spread by independent uniform compute and interconnect, this share of the variance compute."""
    draws = uniforms(stream(seed, "planted"), 2 * n_requests * n_gaps).reshape(2, n_requests, n_gaps)
    parts = np.rint((MEAN_MS + draws * np.sqrt([[[share]], [[1 - share]]])) * TICKS_PER_MS).astype(np.int64)
    gaps_ms = (parts.sum(axis=0) / TICKS_PER_MS).tolist()

    def split(request: int, token: int, ticks: int) -> dict[str, int]:
        if not token:
            return {"compute": ticks}
        compute = int(parts[0, request, token - 1])
        return {"compute": compute, "interconnect": ticks - compute}

    write_run(folder, [[20.0, *gaps] for gaps in gaps_ms], seed=seed, split=split)
    return read(folder)


@pytest.mark.parametrize("share", [0.7, 0.05])
def test_a_planted_share_is_reported_within_its_interval(tmp_path: Path, share: float) -> None:
    """Of gaps whose variance is by construction 70 % compute, twelve replications say so within their interval."""
    found = explain([planted(tmp_path / str(seed), seed, share) for seed in range(12)]).latencies["itl"]
    low, high = found.variance_share_intervals["compute"]

    assert low <= share <= high
    assert high - low < 0.1
    assert found.variance_shares["compute"] == pytest.approx(share, abs=0.05)
    assert found.levels["replication"] == pytest.approx(0, abs=0.01)


def test_shares_sum_to_one(run: RunFolder) -> None:
    """Of every latency, the shares of the variance, of both tails, and of the levels sum to one to 1e-12."""
    found = explain([run])
    for name in LATENCIES:
        assert sum(found.latencies[name].variance_shares.values()) == pytest.approx(1, abs=1e-12)
        for tail in found.latencies[name].tail_shares.values():
            assert tail is None or sum(tail.values()) == pytest.approx(1, abs=1e-12)
        assert sum(share for share in found.latencies[name].levels.values() if share) == pytest.approx(1, abs=1e-12)
    assert found.latencies["itl"].tail_shares["p99"] is not None
    assert sum(one.variance_share for one in found.replicas) == pytest.approx(1, abs=1e-12)
    assert sum(one.token_share for one in found.replicas) == pytest.approx(1, abs=1e-12)
    for level in ("p99",):
        assert sum(one.tail_shares[level] for one in found.replicas) == pytest.approx(1, abs=1e-12)


def test_means_and_spreads_are_those_of_the_summary(run: RunFolder) -> None:
    """n, mean, standard deviation and mean path agree with the run's own metrics."""
    found = explain([run])
    for name in LATENCIES:
        assert found.latencies[name].mean_ms == pytest.approx(run.summary[f"mean_{name}_ms"], rel=1e-9)
        assert found.latencies[name].std_ms == pytest.approx(run.summary[f"std_{name}_ms"], rel=1e-9)
        path_ms = found.latencies[name].mean_path_ms
        assert sum(path_ms.values()) == pytest.approx(found.latencies[name].mean_ms, rel=1e-12)
    for name in ("itl", "ttft"):
        shares = {part: ms / found.latencies[name].mean_ms for part, ms in found.latencies[name].mean_path_ms.items()}
        assert run.summary[f"{name}_shares"] == pytest.approx(shares)


def test_shares_are_numpys(scenario: Scenario, run: RunFolder) -> None:
    """Variance and tail shares of the gaps agree with numpy's covariances of the token table."""
    tokens = simcluster.simulate(scenario).tokens()
    gaps = tokens[tokens["token"] > 0]
    parts = gaps[[f"{name}_ticks" for name in COMPONENTS]].to_numpy(float)
    whole = parts.sum(axis=1)
    found = explain([run]).latencies["itl"]

    covariances = [np.mean((part - part.mean()) * (whole - whole.mean())) for part in parts.T]
    assert list(found.variance_shares.values()) == pytest.approx(np.array(covariances) / whole.var(), abs=1e-9)
    means = gaps.assign(whole=whole).groupby("request")["whole"].transform("mean")
    assert found.levels["request"] == pytest.approx(means.var(ddof=0) / whole.var(), rel=1e-9)
    residual = gaps.assign(residual=whole - means).groupby(["replica", "step"])["residual"].transform("mean")
    assert found.levels["step"] == pytest.approx((residual**2).mean() / whole.var(), rel=1e-9)


def test_replications_are_pooled(scenario: Scenario, tmp_path: Path) -> None:
    """Of several runs, n adds up, and between replications there is what their means differ by."""
    replicate(scenario, 3, tmp_path / "runs", jobs=1)
    runs = read_all(tmp_path / "runs")
    alone = [explain([run]).latencies["itl"] for run in runs]
    found = explain(runs).latencies["itl"]
    n, means = np.array([one.n for one in alone]), np.array([one.mean_ms for one in alone])
    mean = n @ means / n.sum()

    assert n.sum() == found.n
    assert mean == pytest.approx(found.mean_ms, rel=1e-12)
    between = n @ (means - mean) ** 2 / n.sum() / found.std_ms**2
    assert between == pytest.approx(found.levels["replication"], rel=1e-6)
    assert sum(found.levels.values()) == pytest.approx(1, abs=1e-12)


def test_nothing_varies(tmp_path: Path) -> None:
    """Equal latencies have no shares, which is not an error."""
    found = explain([read(write_run(tmp_path / "same", [[5.0, 2.0, 2.0], [5.0, 2.0, 2.0]]))])

    assert (None, None) == (found.latencies["itl"].variance_shares, found.latencies["itl"].levels)
    assert 0.0 == found.latencies["itl"].std_ms
    assert [] == found.replicas


@pytest.mark.parametrize("latencies_ms", [[[]], [[5.0]], [[5.0], []]])
def test_hardly_anything(tmp_path: Path, latencies_ms: list[list[float]]) -> None:
    """A run without gaps, or without any token, has no gaps to explain."""
    found = explain([read(write_run(tmp_path / "few", latencies_ms))])

    assert found.latencies["itl"] is None
    data = json.loads(json.dumps(explanation_as_json(found), allow_nan=False))
    assert {"n": 0, "levels": None} == data["itl"]


def test_unfinished_requests_do_not_count(tmp_path: Path, scenario: Scenario) -> None:
    """With a horizon, only what finished is explained, as in the metrics."""
    workload = scenario.workload | {"horizon": "700 ms"}
    cut = recorded(scenario.model_copy(update={"workload": workload}), tmp_path / "cut")
    found = explain([cut])

    assert cut.summary["unfinished"] > 0
    assert cut.summary["completed"] == found.latencies["ttft"].n
    assert found.latencies["itl"].mean_ms == pytest.approx(cut.summary["mean_itl_ms"], rel=1e-9)


def waits_ms(run: RunFolder) -> list[float]:
    """Mean wait for peers over the steps of each replica, as the trace has it."""
    tokens: Any = {name: [] for name in ("replica", "step", "wait_for_peers_ticks")}
    for block in run.tokens(tuple(tokens)):
        for name, values in block.items():
            tokens[name].append(values)
    replica, step, wait = (np.concatenate(parts) for parts in tokens.values())
    found = []
    for number in range(2):
        _, first = np.unique(step[replica == number], return_index=True)
        found.append(float(wait[replica == number][first].mean()) / TICKS_PER_MS)
    return found


def test_the_critical_path_is_that_of_the_trace(tmp_path: Path, scenario: Scenario) -> None:
    """The waits that are asked for again are those in the trace, and eight equal ranks are last one time in four."""
    workload = scenario.workload | {"prompt_tokens": {"kind": "fixed", "value": 1}, "requests": 300}
    made = recorded(scenario.model_copy(update={"workload": workload}), tmp_path / "run")
    found = explain([made]).critical_path

    assert found.of_steps == found.steps
    assert waits_ms(made) == pytest.approx([group.wait_ms_per_step for group in found.groups], rel=0.01)
    for group in found.groups:
        n = found.steps / 2 * 65
        for rank in group.ranks:
            assert rank.last_share == pytest.approx(0.25, abs=4 * (0.25 * 0.75 / n) ** 0.5)


def test_the_gap_to_the_second_slowest(scenario: Scenario, tmp_path: Path) -> None:
    """Of exponential delays the last exceeds the second last by one mean, so each rank saves a quarter of that."""
    found = explain([recorded(scenario, tmp_path / "run")]).critical_path
    n_collectives = 65
    expected_ms = 3.9e-3 * n_collectives / 4

    for group in found.groups:
        saves_ms = [rank.saves_ms_per_step for rank in group.ranks]
        assert np.mean(saves_ms) == pytest.approx(expected_ms, rel=0.05)


def test_a_planted_straggler_is_the_slowest(scenario: Scenario, tmp_path: Path) -> None:
    """A device that events make twice as slow all the time is named, and no other."""
    events = "events: [{kind: device_slow, device: gpu6, times_slower: 2, at: 0 s}]\n"
    run = recorded(loaded(tmp_path, SCENARIO + events), tmp_path / "run")
    ranks = [rank for group in explain([run]).critical_path.groups for rank in group.ranks]

    for what in ("compute", "fetch"):
        assert {"gpu6": 0.5} == {
            rank.device: rank.paces[what].saves_share for rank in ranks if rank.paces[what].saves_share
        }
        assert {0.0} == {rank.paces[what].slowest_share for rank in ranks if rank.device != "gpu6"}


def test_the_slowest_device_of_a_spread(tmp_path: Path) -> None:
    """Of devices that differ permanently, the one with the greatest factor is the slowest in every step."""
    noise = "noise={preset: none, device_spread: {compute: 2 %, memory: 1 %}}"
    scenario = loaded(tmp_path, SCENARIO, noise)
    groups = explain([recorded(scenario, tmp_path / "run")]).critical_path.groups
    for group in groups:
        devices = [rank.device for rank in group.ranks]
        paces = [DevicePace(scenario.seed, device, scenario.noise, "gpu").at(0) for device in devices]
        for place, what in enumerate(("compute", "fetch")):
            factors = [pace[place] for pace in paces]
            slowest = factors.index(max(factors))
            assert [float(rank == slowest) for rank in range(4)] == [r.paces[what].slowest_share for r in group.ranks]
            expected = 1 - sorted(factors)[-2] / max(factors)
            assert group.ranks[slowest].paces[what].saves_share == pytest.approx(expected)


def test_no_group_no_critical_path(tmp_path: Path) -> None:
    """A run without its scenario notes that the critical path is unknown, and has all the rest."""
    found = explain([read(write_run(tmp_path / "made", [[5.0, 2.0, 3.0]]))])

    assert found.critical_path is None
    assert any(note.startswith("critical path: ") for note in found.notes)
