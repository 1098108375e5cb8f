"""Use of links: bytes that were exchanged and sent, against what follows from the model and the tokens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_runs import loaded, recorded

from simcluster.results.read_run import RunFolder
from simcluster.scenario.known_topology import topology_of
from simcluster.scenario.resolved import Scenario
from simcluster.variance.link_use import link_use

SCENARIO = """
model: llama-3.1-8b
topology: h100-8
deployment: {DEPLOYMENT}
workload:
  arrivals: {kind: poisson, rate: 60 req/s}
  prompt_tokens: {kind: lognormal, median: 200, p99: 900}
  output_tokens: {kind: uniform, low: 2, high: 30}
  requests: 60
noise: {preset: none}
"""
NVLINK_BYTES_PER_S = 450e9
HIDDEN, LAYERS, VOCABULARY = 4096, 32, 128_256
ACTIVATION_BYTES = 2


def simulated(folder: Path, deployment: str) -> tuple[RunFolder, Scenario]:
    scenario = loaded(folder, SCENARIO.replace("DEPLOYMENT", deployment))
    return recorded(scenario, folder / "run"), scenario


def used(run: RunFolder, scenario: Scenario) -> dict[tuple[str, str], float]:
    """Bytes by link."""
    topology = topology_of(scenario)
    assert topology is not None
    use = link_use([run], topology)
    assert use is not None
    return {link: share * NVLINK_BYTES_PER_S * run.summary["duration"] for link, share in use.items()}


def processed(run: RunFolder) -> int:
    """Tokens that went through the model: prompts, and all that was made but the last of each request."""
    requests = run.requests
    return int(np.sum(requests["prompt_tokens"] + requests["tokens_emitted"] - 1))


def test_a_pipeline_sends_the_activations_of_every_token(tmp_path: Path) -> None:
    """Two stages: 8 KiB of each token go from the first device to the second, and nothing goes back."""
    run, scenario = simulated(tmp_path, "pipeline_parallel_size: 2")
    n_bytes = processed(run) * HIDDEN * ACTIVATION_BYTES

    assert {("gpu0", "nvswitch0"): n_bytes, ("nvswitch0", "gpu1"): n_bytes} == pytest.approx(used(run, scenario))


def test_a_ring_sends_nearly_twice_the_array(tmp_path: Path) -> None:
    """A ring of n ranks puts 2 (n - 1) / n of every array on each link, and logits are gathered once an output."""
    n_ranks = 4
    run, scenario = simulated(tmp_path, f"tensor_parallel_size: {n_ranks}, all_reduce: ring")
    arrays = (1 + 2 * LAYERS) * processed(run) * HIDDEN * ACTIVATION_BYTES * 2 * (n_ranks - 1) / n_ranks
    logits = run.n_tokens * VOCABULARY * ACTIVATION_BYTES * (n_ranks - 1) / n_ranks
    found = used(run, scenario)

    assert 2 * n_ranks == len(found)
    assert [arrays + logits] * 2 * n_ranks == pytest.approx(list(found.values()), rel=1e-9)


def test_the_mean_of_replications(tmp_path: Path) -> None:
    """Of the same run twice it is that of the run."""
    run, scenario = simulated(tmp_path, "tensor_parallel_size: 2")
    topology = topology_of(scenario)
    assert topology is not None

    assert link_use([run], topology) == pytest.approx(link_use([run, run], topology))


def test_nothing_is_sent_by_single_devices(tmp_path: Path) -> None:
    """Replicas of one device put nothing on any link."""
    assert {} == used(*simulated(tmp_path, "replicas: 2"))
