"""Durations of blocks do not depend on earlier queries."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simcluster.plans.prices import device_costs
from simcluster.scenario.load import load
from simcluster.stages.nominal import TimedBlocks
from simcluster.work.batch import Batch

SCENARIOS = {
    "on a wafer": ("llama-3.1-8b-1xwse3", []),
    "a line and its root": ("benchmark/llama-2-70b-tp8-1k", []),
    "some layers with a window": ("llama-3.1-70b-8xh100", ["model=gpt-oss-120b"]),
    "latent, a smooth passage": ("llama-3.1-70b-8xh100", ["model=deepseek-v3", "deployment.weights=4 bit"]),
}
COSTS = {
    name: device_costs(load(scenario, settings).pools[0], lambda kind, n_bytes: 0.0, None)
    for name, (scenario, settings) in SCENARIOS.items()
}


@pytest.mark.parametrize("name", COSTS)
@given(st.lists(st.tuples(st.integers(1, 3), st.sampled_from([100, 101, 5000]), st.integers(1, 80)), max_size=6))
def test_steps_in_a_row_are_steps_alone(name: str, runs: list[tuple[int, int, int]]) -> None:
    """Attention of successive steps, computed together, equals that of each step alone."""
    costs = COSTS[name]
    timed = TimedBlocks(costs)
    op = next(op for op in costs.ops("dense") if op.kind == "attention_decode")
    for n, context, n_steps in runs:
        for step in range(n_steps):
            batch = Batch(n, context + n * step, outputs=n, sequences=n)

            assert TimedBlocks(costs).attention(op, batch) == timed.attention(op, batch)
