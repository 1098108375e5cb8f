"""Small real runs for tests of what shows them: wafers and GPUs under the same traffic."""

from __future__ import annotations

import json
from pathlib import Path

from simcluster.resolve import load
from simcluster.run import record

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
