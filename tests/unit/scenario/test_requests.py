"""The requests of a scenario are made once, however many need them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from simcluster.results.run import expected_s, simulate
from simcluster.scenario import requests
from simcluster.scenario.load import load
from simcluster.scenario.reread import dump
from simcluster.workload import Requests, materialise

VALID = Path(__file__).resolve().parents[2] / "files" / "scenarios" / "valid"
POISSON = VALID / "arrivals-poisson.yaml"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of requests of every workload that is made from now on."""
    found: list[int] = []

    def counted(*arguments: Any) -> Requests:
        found.append(len(new := materialise(*arguments)))
        return new

    requests._made.cache_clear()
    monkeypatch.setattr(requests, "materialise", counted)
    return found


def test_loading_simulating_and_estimating_make_them_once(made: list[int]) -> None:
    """Loading makes the requests; the simulation, the estimate of its time and the progress bar use the same ones."""
    scenario = load(POISSON)
    result, estimate_s, kept = simulate(scenario), expected_s(scenario), requests.requests_of(scenario)

    assert [len(result.requests())] == made
    assert estimate_s == float(kept.output_tokens.sum()) / 50_000


def test_a_progress_bar_makes_none(made: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """The bar of `replay` on a terminal takes its total from the requests that are there."""
    from simcluster.cli.replay import _progress

    scenario = load(POISSON)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with _progress(scenario):
        pass

    assert 1 == len(made)


def test_a_resolved_scenario_makes_none_again(made: list[int], tmp_path: Path) -> None:
    """A scenario that is written and read back has the requests of the first."""
    (tmp_path / "r.yaml").write_text(dump(load(POISSON)))
    load(tmp_path / "r.yaml")

    assert 1 == len(made)


@pytest.mark.parametrize(
    "setting", ["seed=1", "source_seeds={arrivals: 3}", "workload.requests=3", "workload.arrivals.rate=3 req/s"]
)
def test_other_requests_are_made(made: list[int], setting: str) -> None:
    """Another seed, another seed of a source of the workload, or another workload has requests of its own."""
    before, after = (requests.requests_of(load(POISSON, settings)) for settings in ([], [setting]))

    assert 2 == len(made)
    assert before is not after


def test_seeds_of_the_noise_change_no_request(made: list[int]) -> None:
    """The seed of a source of noise leaves the requests as they are."""
    for seed in (1, 2):
        load(POISSON, ["noise=datacenter", f"source_seeds={{op_jitter: {seed}}}"])

    assert 1 == len(made)


def test_a_file_that_changes_is_read_again(made: list[int], tmp_path: Path) -> None:
    """Requests of a trace are those of its content, not of its name."""
    trace, file = tmp_path / "t.csv", tmp_path / "s.yaml"
    text = (VALID.parents[1] / "traces" / "azure-2023.csv").read_text()
    file.write_text("model: llama-3.1-8b\ntopology: h100-8\nworkload: {trace: t.csv}\n")
    trace.write_text(text)
    n_rows = len(requests.requests_of(load(file)))
    trace.write_text(text.rstrip("\n").rsplit("\n", 1)[0] + "\n")

    assert n_rows - 1 == len(requests.requests_of(load(file)))
    assert [n_rows, n_rows - 1] == made


def test_no_more_than_a_few_are_kept() -> None:
    """Requests of many scenarios in one process are not all kept."""
    for seed in range(20):
        load(POISSON, seed=seed)

    assert requests.MAX_KEPT >= requests._made.cache_info().currsize
