"""Ten million tokens are explained within a gigabyte."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from made_runs import write_run

from simcluster.results.tables import TokenFile, write_table
from simcluster.trace.columns import COMPONENT, N_KEYS, TOKEN_COLUMNS

N_REQUESTS, N_TOKENS = 20_000, 500
BATCH = 50

CODE = """
import json, resource, sys
from simcluster.results.read_run import read
from simcluster.variance.explain import explain
found = explain([read(sys.argv[1])]).latencies["itl"]
levels = [share for share in found.levels.values() if share is not None]
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([found.n, sum(found.variance_shares.values()), sum(levels), peak]))
"""


@pytest.mark.slow
def test_ten_million_tokens(tmp_path: Path) -> None:
    """Every gap differs from all others; shares sum to one, and a gigabyte is never used."""
    folder = write_run(tmp_path / "run", [[1.0, 1.0]])
    metadata = {"trace_digest": "d" * 64}
    generator = np.random.default_rng(0)
    ends = np.zeros(N_REQUESTS, np.int64)
    with TokenFile(folder / "tokens.parquet", metadata) as file:
        for first in range(0, N_REQUESTS, BATCH):
            members = np.arange(first, first + BATCH)
            rows = np.zeros((len(TOKEN_COLUMNS), N_TOKENS, BATCH), np.int64)
            rows[0], rows[1] = members, np.arange(N_TOKENS)[:, None]
            rows[3], rows[4] = (first // BATCH * N_TOKENS + np.arange(N_TOKENS))[:, None], BATCH
            for name in ("compute", "weight_fetch", "interconnect", "queue"):
                rows[N_KEYS + COMPONENT[name]] = generator.integers(10**9, 10**10, (N_TOKENS, BATCH))
            times = rows[N_KEYS:].sum(axis=0).cumsum(axis=0)
            rows[5] = times.max(axis=1)[:, None]
            ends[members] = times[-1]
            file.write(rows.reshape(len(TOKEN_COLUMNS), -1))
    n = np.zeros(N_REQUESTS, np.int64)
    table = {
        "request": np.arange(N_REQUESTS), "arrived_at_ticks": n, "prompt_tokens": n + 8,
        "output_tokens": n + N_TOKENS, "replica": n,
        "scheduled_at_ticks": n, "first_token_at_ticks": n + 1, "last_token_at_ticks": ends,
        "tokens_emitted": n + N_TOKENS, "preemptions": n, "restarts": n, "status": ["finished"] * N_REQUESTS,
        "reason": [""] * N_REQUESTS,
    }  # fmt: skip
    write_table(folder / "requests.parquet", table, metadata)
    done = subprocess.run([sys.executable, "-c", CODE, str(folder)], capture_output=True, text=True, check=True)
    n_gaps, shares, levels, peak_kib = json.loads(done.stdout)

    assert N_REQUESTS * (N_TOKENS - 1) == n_gaps
    assert shares == pytest.approx(1, abs=1e-12)
    assert levels == pytest.approx(1, abs=1e-12)
    assert peak_kib < 1e6
