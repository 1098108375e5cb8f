"""Small scenarios as text, and small real runs for tests of what shows them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from simcluster.results.read_run import RunFolder, read
from simcluster.results.run import record, simulate
from simcluster.scenario.load import load
from simcluster.scenario.resolved import Scenario

ONE_GPU = """
model: llama-3.1-8b
topology: h100-8
workload:
  arrivals: {kind: poisson, rate: 40 req/s}
  prompt_tokens: {kind: fixed, value: 64}
  output_tokens: {kind: uniform, low: 2, high: 9}
  requests: 12
noise: datacenter
"""
"""Noise, and prompts of one length; more lines may follow."""
TWO_GPUS = """
model: llama-3.1-8b
topology: h100-8
deployment: {tensor_parallel_size: 2}
workload:
  arrivals: {kind: poisson, rate: 40 req/s}
  prompt_tokens: {kind: lognormal, median: 64, p99: 256}
  output_tokens: {kind: uniform, low: 2, high: 9}
  requests: 12
noise: datacenter
"""
"""Noise, collectives, and prompts of all lengths; more lines may follow."""

SCENARIO = """
title: {title}
model: llama-3.1-8b
topology: {topology}
deployment: {deployment}
workload:
  arrivals: {{kind: poisson, rate: 20 req/s}}
  prompt_tokens: {{kind: lognormal, median: 200, p99: 800}}
  output_tokens: {{kind: uniform, low: 5, high: 40}}
  requests: {requests}
noise: datacenter
slo: {{ttft: 300 ms, tpot: 20 ms}}
"""
DEPLOYMENTS = {
    "wafer": ("wse3-1", "{pipeline_parallel_size: 1}"),
    "wafers": ("wse3-4", "{pipeline_parallel_size: 4}"),
    "gpus": ("h100-8", "{tensor_parallel_size: 2}"),
    "replicas": ("h100-8", "{tensor_parallel_size: 2, replicas: 2}"),
}
"""Wafers and GPUs under the same traffic, for `run`: topology and deployment."""


def loaded(folder: Path, text: str, *settings: str, seed: int | None = None) -> Scenario:
    """The scenario of a text, which goes into a file `s.yaml` of the folder."""
    file = folder / "s.yaml"
    file.write_text(text, encoding="utf-8")
    return load(file, settings, seed)


def recorded(scenario: Scenario, folder: Path) -> RunFolder:
    """The run of a scenario, from the folder that it was written to."""
    record(scenario, folder)
    return read(folder)


def digests_by_replicas(settings: Sequence[str], *n_replicas: int) -> list[str]:
    """Trace digests of one request to GPUs, of `n` replicas, all but one idle."""
    scenarios = (load("llama-3.1-70b-8xh100", [*settings, f"deployment.replicas={n}"]) for n in n_replicas)
    return [simulate(scenario).summary["trace_digest"] for scenario in scenarios]


def run(folder: Path, name: str = "gpus", title: str = "", requests: int = 20, more: str = "") -> Path:
    """
    Simulate a small scenario.

    Args:
        folder: where its file and its run folder go.
        name: of `DEPLOYMENTS`.
        title: of the scenario; its name by default.
        requests: how many.
        more: lines of the scenario file.

    Returns:
        The run folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    topology, deployment = DEPLOYMENTS[name]
    file = folder / f"{name}.yaml"
    text = SCENARIO.format(
        title=json.dumps(title or f"Chat on {name}"), topology=topology, deployment=deployment, requests=requests
    )
    file.write_text(text + more, encoding="utf-8")
    record(load(file), folder / f"{name}-seed0")
    return folder / f"{name}-seed0"
