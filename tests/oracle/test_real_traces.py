"""Chat scenarios on a real request trace: everything finishes, and every token's time is accounted for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support import played

import simcluster
from simcluster.trace.columns import COMPONENTS


@pytest.mark.parametrize("name", ["chat-70b-8xh100", "chat-70b-4xwse3"])
def test_five_hundred_real_requests(shared: Path, name: str) -> None:
    """
    The first 500 requests of the Azure conversation trace of 2023 all finish.

    Every token's components sum to its latency and every request's ttft + sum(itl) is its e2e, in integers; no law of
    a run is broken.
    """
    trace = shared / "traces" / "azure2023" / "AzureLLMInferenceTrace_conv.csv"
    result = simcluster.simulate(simcluster.load(name, [f"workload.trace={trace}", "workload.requests=500"]))
    tokens, requests = result.tokens(), result.requests()

    assert [] == played(result).violations()
    assert {"finished": 500} == requests["status"].value_counts().to_dict()
    assert (requests["output_tokens"] == requests["tokens_emitted"]).all()

    tokens = tokens.merge(requests[["request", "arrived_at_ticks"]], on="request")
    tokens = tokens.sort_values(["request", "token"], kind="stable")
    before = np.where(
        tokens["token"] == 0, tokens["arrived_at_ticks"], tokens.groupby("request")["emitted_at_ticks"].shift(1)
    ).astype(np.int64)
    latency = tokens["emitted_at_ticks"] - before
    components = tokens[[f"{component}_ticks" for component in COMPONENTS]].sum(axis=1)
    assert (latency == components).all()

    e2e = requests["last_token_at_ticks"] - requests["arrived_at_ticks"]
    assert latency.groupby(tokens["request"]).sum().tolist() == e2e.tolist()
