"""Exchanges are chosen once: in closed form and as flows over idle links they last equally long."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_runs import loaded

from simcluster.plans.planner import Planner
from simcluster.plans.prices import Prices, exchange_as_built_s
from simcluster.work.op import Collective

SCENARIO = """
model: llama-3.1-8b
topology: {topology}
deployment: {{tensor_parallel_size: {n_ranks}, all_reduce: {algorithm}}}
fidelity: message
workload:
  arrivals: {{kind: single}}
  prompt_tokens: {{kind: fixed, value: 16}}
  output_tokens: {{kind: fixed, value: 3}}
"""


@pytest.mark.parametrize("n_bytes", [8192.0, 3e5, 1e8])
@pytest.mark.parametrize("kind", ["all_reduce", "all_gather"])
@pytest.mark.parametrize(
    ("topology", "n_ranks", "algorithm"),
    [("h100-8", 2, "auto"), ("h100-8", 8, "ring"), ("h100-2x8", 16, "auto"), ("gb200-nvl72", 16, "auto")],
)
def test_closed_form_and_flows_agree(
    tmp_path: Path, topology: str, n_ranks: int, algorithm: str, kind: Collective, n_bytes: float
) -> None:
    """Within an enclosure, across enclosures, and by a named algorithm: to the last bit."""
    text = SCENARIO.format(topology=topology, n_ranks=n_ranks, algorithm=algorithm)
    scenario = loaded(tmp_path, text)
    links = Planner(scenario).links
    assert links is not None
    (stage,) = scenario.replicas[0].stages
    legs = Prices(scenario, scenario.pools[0]).legs(links, stage.devices, kind, n_bytes)

    assert exchange_as_built_s(scenario.pools[0])(kind, n_bytes) == links.seconds(legs)
