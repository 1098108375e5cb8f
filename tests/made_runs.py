"""Run folders with given latencies, written as a run writes them, for tests of what reads them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from simcluster.numerics.ticks import TICKS_PER_S
from simcluster.results.metrics import TICKS_PER_MS, TokenSums, summarise
from simcluster.results.run import RUN_FORMAT
from simcluster.results.tables import TokenFile, write_table
from simcluster.trace.columns import COMPONENT, COMPONENTS, N_KEYS, TOKEN_COLUMNS

DIGEST = "d" * 64


def write_run(
    folder: Path,
    latencies_ms: Sequence[Sequence[float]],
    *,
    arrivals_ms: Sequence[float] | None = None,
    waits_ms: Sequence[float] | None = None,
    batch_sizes: Sequence[int] = (1,),
    name: str = "made",
    seed: int = 0,
    noise: str = "none",
    assumptions: Sequence[str] = (),
    split: Callable[[int, int, int], dict[str, int]] | None = None,
) -> Path:
    """
    Write a run.

    Args:
        folder: where; made.
        latencies_ms: of each request its TTFT and then its gaps; a request without any is not finished.
        arrivals_ms: of the requests; all at 0 by default.
        waits_ms: from arrival until scheduled, part of the TTFT; none by default.
        batch_sizes: of the steps, again from the first when they run out; every token is a step of its own.
        name: of the scenario.
        seed: of the scenario.
        noise: preset.
        assumptions: of the summary.
        split: components of request, token and latency in ticks; by default as `_components` has them.
    """
    arrived = np.rint(np.array(arrivals_ms or [0.0] * len(latencies_ms)) * TICKS_PER_MS).astype(np.int64)
    waits = np.rint(np.array(waits_ms or [0.0] * len(latencies_ms)) * TICKS_PER_MS).astype(np.int64)
    rows = []
    first, last = np.full(len(arrived), -1), np.full(len(arrived), -1)
    for request, given_ms in enumerate(latencies_ms):
        instant = int(arrived[request])
        for token, latency_ms in enumerate(given_ms):
            ticks = round(latency_ms * TICKS_PER_MS)
            instant += ticks
            components = _components(ticks, 0 if token else int(waits[request]))
            if split is not None:
                parts = split(request, token, ticks)
                components = [parts.get(component, 0) for component in COMPONENTS]
            rows.append([request, token, 0, 0, 0, instant, *components])
            last[request] = instant
            if not token:
                first[request] = instant
    rows.sort(key=lambda row: row[5])
    for step, row in enumerate(rows):
        row[3], row[4] = step, batch_sizes[step % len(batch_sizes)]
    block = np.array(rows, np.int64).reshape(-1, len(TOKEN_COLUMNS)).T
    n_tokens = np.array([len(given_ms) for given_ms in latencies_ms], np.int64)
    requests = {
        "request": np.arange(len(arrived)),
        "arrived_at_ticks": arrived,
        "prompt_tokens": np.full(len(arrived), 8),
        "output_tokens": np.maximum(n_tokens, 1),
        "replica": np.zeros(len(arrived), np.int64),
        "scheduled_at_ticks": np.where(n_tokens > 0, arrived + waits, -1),
        "first_token_at_ticks": first,
        "last_token_at_ticks": last,
        "tokens_emitted": n_tokens,
        "preemptions": np.zeros(len(arrived), np.int64),
        "restarts": np.zeros(len(arrived), np.int64),
        "status": ["finished" if n else "unfinished" for n in n_tokens],
        "reason": ["" for _ in n_tokens],
    }
    sums = TokenSums()
    sums.add(block)
    duration_ticks = max(int(last.max(initial=0)), int(arrived.max(initial=0)))
    summary = {
        "scenario": name, "title": name, "seed": seed, "device": "made-device", "noise": noise,
        "scenario_digest": "s" * 64, "trace_digest": DIGEST,
        **summarise(requests, sums, duration_ticks, 0.0, {}), "assumptions": list(assumptions),
    }  # fmt: skip
    provenance = {
        "simcluster": "0",
        "seed": seed,
        "format": RUN_FORMAT,
        "ticks_per_s": TICKS_PER_S,
        "trace_digest": DIGEST,
    }
    folder.mkdir(parents=True)
    with TokenFile(folder / "tokens.parquet", provenance) as file:
        file.write(block)
    write_table(folder / "requests.parquet", requests, provenance)
    (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    (folder / "provenance.json").write_text(json.dumps(provenance), encoding="utf-8")
    return folder


def _components(ticks: int, waited: int) -> list[int]:
    """Components that sum to a latency: waiting, then three quarters weight fetch, a little stall, compute."""
    components = [0] * len(COMPONENTS)
    served = ticks - waited
    components[COMPONENT["queue"]] = waited
    components[COMPONENT["weight_fetch"]] = served * 3 // 4
    components[COMPONENT["stall"]] = served // 1000
    components[COMPONENT["compute"]] = served - served * 3 // 4 - served // 1000
    assert len(components) == len(TOKEN_COLUMNS) - N_KEYS
    return components
