"""
Splitwise's runs of Llama-2-70B on an engine without CUDA graphs: time of a prompt, time of a token, power.

A batch of equal prompts arrives at once and is served to its end. `prompt_time` is until the first token of the
batch, `token_time` between tokens. The engine's memory ran out at the largest batches (their requests were served in
turns); those are left out, and so are lengths beyond the model's context.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from simcluster.calibrate.runs.simulated import resolved
from simcluster.files.source import read_text
from simcluster.results.run import simulate
from simcluster.scenario.resolved import Scenario

TOPOLOGIES = {"h100-80gb": "h100-8", "a100-80gb": "a100-8"}
MAX_BATCH = 32
CONTEXT_TOKENS = 4096


Setting = tuple[str, int, int, int, int]
"""Hardware, ranks, prompt, batch, tokens."""
MEASURED = ("prompt_time", "token_time", "average_power")


def settings_of(file: Path) -> dict[Setting, dict[str, float]]:
    """Read the median of the repetitions of every setting."""
    runs: dict[Setting, list[dict[str, str]]] = {}
    for row in csv.DictReader(read_text(file).splitlines()):
        ranks, prompt, batch, tokens = (
            int(float(row[name])) for name in ("tensor_parallel", "prompt_size", "batch_size", "token_size")
        )
        runs.setdefault((row["hardware"], ranks, prompt, batch, tokens), []).append(row)
    return {
        setting: {key: median(float(row[key]) for row in rows) for key in MEASURED}
        for setting, rows in sorted(runs.items())
    }


def judge(file: Path) -> Iterator[dict[str, Any]]:
    """Judge every setting: measured, simulated, relative error; or why it was left out."""
    for setting, measured in settings_of(file).items():
        hardware, ranks, prompt, batch, tokens = setting
        row: dict[str, Any] = {"hardware": hardware, "tensor_parallel": ranks, "prompt": prompt, "batch": batch,
                               "tokens": tokens}  # fmt: skip
        if batch > MAX_BATCH or prompt + tokens > CONTEXT_TOKENS:
            why = "the engine's memory ran out" if batch > MAX_BATCH else "beyond the model's context"
            yield {**row, "skipped": why}
            continue
        summary = simulate(scenario(TOPOLOGIES[hardware], ranks, prompt, batch, tokens)).summary
        keys = ("mean_ttft_ms", "mean_itl_ms", "average_power_share")
        for key, name in zip(MEASURED, keys, strict=True):
            known, value = measured[key], summary[name]
            if known > 0 and value is not None:
                row |= {key: round(known, 4), f"predicted_{key}": round(value, 4),
                        f"{key}_err_pct": round(100 * (value / known - 1), 2)}  # fmt: skip
        yield row


def scenario(topology: str, ranks: int, prompt: int, batch: int, tokens: int) -> Scenario:
    """Make the scenario of one setting."""
    data = {
        "model": "llama-2-70b",
        "topology": topology,
        "deployment": {
            "tensor_parallel_size": ranks, "launch": "eager", "max_num_seqs": batch,
            "max_num_batched_tokens": max(prompt * batch, 2048), "gpu_memory_utilization": "100 %",
            "host_time_per_step": "0 us",
        },
        "workload": {
            "arrivals": {"kind": "closed", "concurrency": batch},
            "prompt_tokens": {"kind": "fixed", "value": prompt},
            "output_tokens": {"kind": "fixed", "value": tokens},
            "requests": batch,
        },
    }  # fmt: skip
    return resolved(data, "splitwise")
