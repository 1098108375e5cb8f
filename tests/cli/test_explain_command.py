"""`simcluster explain`: what it prints, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from simcluster.cli import main
from simcluster.cli.effects import BELOW_ZERO, print_effects
from simcluster.trace.columns import COMPONENTS
from simcluster.variance.sobol import Estimate
from simcluster.variance.what_if import FigureEffects, SourceEffect, WhatIf

SCENARIO = """
model: llama-3.1-8b
topology: h100-8
deployment: {replicas: 2, tensor_parallel_size: 4}
workload:
  arrivals: {kind: poisson, rate: 100 req/s}
  prompt_tokens: {kind: fixed, value: 64}
  output_tokens: {kind: uniform, low: 2, high: 9}
  requests: 60
noise: {preset: none, op_jitter: {cv: 1 %}, arrival_skew: {mean: 4 us}}
"""


@pytest.fixture(autouse=True)
def scenario(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scenario file in the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("s.yaml").write_text(SCENARIO)


def test_tables(capsys: pytest.CaptureFixture[str]) -> None:
    """Each latency has its components and their sum, then come replicas, ranks and assumptions."""
    main(["replay", "s.yaml"])
    capsys.readouterr()
    assert main(["explain", "runs/s-seed0"]) == 0
    out, err = capsys.readouterr()

    assert "" == err
    for title in ("TTFT, n = 60", "TPOT, n = 60", "ITL, n = ", "E2E, n = 60"):
        assert title in out
    assert 4 == sum(line.startswith("sum ") and "100.0 %" in line for line in out.splitlines())
    assert "between steps, beyond the requests'" in out
    assert "rank  replica, stage  last at collectives" in out
    assert "* one run: differences between replications are not seen" in out


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    """With --json one document comes, with shares by component."""
    main(["replay", "s.yaml", "--seeds", "2", "--jobs", "1"])
    capsys.readouterr()
    assert main(["explain", "runs/s-seeds", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)

    assert list(COMPONENTS) == list(found["itl"]["variance_shares"])
    assert list(COMPONENTS) == list(found["tpot"]["variance_shares"])
    assert ["p99", "p99.9"] == list(found["itl"]["tail_shares"])
    assert ["replication", "request", "step", "within_step"] == list(found["itl"]["levels"])
    assert [0, 1] == found["seeds"]


def test_not_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that is not a run folder or does not exist is an input error with its name."""
    Path("empty").mkdir()

    assert main(["explain", "empty"]) == 2
    assert "empty: not a run folder" in capsys.readouterr().err
    assert main(["explain", "runs/nothing"]) == 2
    assert "runs/nothing: no such folder" in capsys.readouterr().err


@pytest.mark.parametrize(("edited", "said"), [(True, "another scenario"), (False, "no scenario.resolved.yaml")])
@pytest.mark.parametrize("more", [[], ["runs/s-seed0"], ["--causal"]])
def test_a_run_without_its_scenario(
    edited: bool, said: str, more: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A run whose scenario was edited or deleted since is refused: alone, with others, and with --causal."""
    main(["replay", "s.yaml", "-o", "runs"])
    main(["replay", "s.yaml", "-o", "broken"])
    file = Path("broken/s-seed0/scenario.resolved.yaml")
    if edited:
        file.write_text(file.read_text().replace("seed: 0", "seed: 1"))
    else:
        file.unlink()
    capsys.readouterr()

    assert 2 == main(["explain", "broken/s-seed0", *more])
    out, err = capsys.readouterr()
    assert "" == out
    assert said in err


def test_causal(capsys: pytest.CaptureFixture[str]) -> None:
    """With --causal a scenario is simulated in many worlds, and its sources and straggler are printed."""
    events = "events=[{kind: device_slow, device: gpu1, times_slower: 1.5, at: 0 s}]"
    assert main(["explain", "s.yaml", "--causal", "--seeds", "2", "--jobs", "1", "--set", events]) == 0
    out, err = capsys.readouterr()

    assert "" == err
    assert "s, 2 seeds from 0, 22 runs, noise none" in out
    assert "is due to interactions" in out
    assert "arrival_skew" in out
    assert any(line.startswith("gpu1 ") for line in out.splitlines())


@pytest.mark.parametrize(("alone", "is_noted"), [(-0.2, True), (-0.0001, False), (0.2, False)])
def test_a_share_below_zero_is_explained(alone: float, is_noted: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """Where a share prints with a minus, a line says that this is chance."""
    share, sure = Estimate(alone, alone, 0.5), Estimate(0.5, 0.4, 0.6)
    sources = {"drift": SourceEffect(total=sure, first=share, interaction=0.5 - alone)}
    figure = FigureEffects(2.0, 1.0, sources, interactions=sure, devices=None, entities={})
    print_effects(WhatIf("s", "none", [0, 1], 6, 0.95, {"mean_itl_ms": figure}, notes=[], assumptions=[]))

    assert is_noted == (BELOW_ZERO in capsys.readouterr().out)


def test_causal_json_of_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    """The scenario of a run, or of replications, can be asked about by its folder."""
    main(["replay", "s.yaml", "--seeds", "2", "--jobs", "1"])
    capsys.readouterr()
    assert main(["explain", "runs/s-seeds", "--causal", "--seeds", "2", "--jobs", "1", "--json"]) == 0
    of_folder = json.loads(capsys.readouterr().out)
    main(["explain", "s.yaml", "--causal", "--seeds", "2", "--jobs", "1", "--json"])
    of_file = json.loads(capsys.readouterr().out)

    assert of_file["figures"] == of_folder["figures"]
    assert {"arrivals", "output_tokens", "op_jitter", "arrival_skew"} == set(
        of_file["figures"]["mean_itl_ms"]["sources"]
    )


@pytest.mark.parametrize("option", [["--seeds", "3"], ["--devices"], ["--set", "seed=1"], ["--jobs", "1"]])
def test_options_of_causal(option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """What only --causal needs is refused without it."""
    assert main(["explain", "s.yaml", *option]) == 2
    assert "go with --causal" in capsys.readouterr().err


def test_pictures_that_have_no_place(capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that cannot be made is reported before anything is explained, as with a sweep."""
    main(["replay", "s.yaml"])
    capsys.readouterr()
    for words in (["explain", "runs/s-seed0"], ["sweep", "cut-of-8xh100"]):
        assert 2 == main([*words, "--plot", "s.yaml/pictures"])
        out, err = capsys.readouterr()
        assert "" == out
        assert "'s.yaml/pictures': " in err
