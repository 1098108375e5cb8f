"""`deployment.slowdown`: every op of a deployment takes as many times as long, and nothing else does."""

from __future__ import annotations

from pathlib import Path

import pytest

from simcluster.results.run import measure, simulate
from simcluster.scenario.load import load

SCENARIO = """
model: llama-3.1-8b
topology: {topology}
deployment: {{tensor_parallel_size: {ranks}, slowdown: {slowdown}}}
workload:
  arrivals: {{kind: closed, concurrency: 1}}
  prompt_tokens: {{kind: fixed, value: 64}}
  output_tokens: {{kind: fixed, value: 20}}
  requests: 2
noise: {noise}
"""


@pytest.fixture
def mean_itl_ms(tmp_path: Path):  # type: ignore[no-untyped-def]
    """A function from a topology, ranks and a slowdown to the mean gap and its components, in ms."""

    def found(topology: str, ranks: int, slowdown: float) -> tuple[float, dict[str, float]]:
        path = tmp_path / "s.yaml"
        path.write_text(SCENARIO.format(topology=topology, ranks=ranks, slowdown=slowdown, noise="none"))
        summary = measure(load(path))
        mean = summary["mean_itl_ms"]
        return mean, {name: share * mean for name, share in summary["itl_shares"].items()}

    return found


@pytest.mark.parametrize("topology", ["h100-8", "wse3-1", "wse1-1"])
def test_on_one_device_all_takes_longer(mean_itl_ms, topology: str) -> None:  # type: ignore[no-untyped-def]
    """Where nothing goes over links, a slowdown of 1.05 makes gaps 5 % longer, but for a picosecond an op."""
    nominal, _ = mean_itl_ms(topology, 1, 1.0)
    slow, _ = mean_itl_ms(topology, 1, 1.05)

    assert 1.05 == pytest.approx(slow / nominal, rel=1e-6)


def test_links_are_as_they_were(mean_itl_ms) -> None:  # type: ignore[no-untyped-def]
    """Among ranks, launches, arithmetic and fetches take twice as long, and exchanges over links what they took."""
    _, nominal = mean_itl_ms("h100-8", 8, 1.0)
    _, slow = mean_itl_ms("h100-8", 8, 2.0)

    assert nominal["interconnect"] == pytest.approx(slow["interconnect"])
    for name in ("weight_fetch", "kv_fetch", "launch_host"):
        assert 2 * nominal[name] == pytest.approx(slow[name], rel=1e-6)


def test_op_by_op_the_same(tmp_path: Path) -> None:
    """Played op by op a slowed deployment with noise and prompts among decodes has the same trace."""
    path = tmp_path / "s.yaml"
    path.write_text(SCENARIO.format(topology="h100-8", ranks=4, slowdown=1.3, noise="datacenter"))
    scenario = load(path, ["workload.arrivals.concurrency=2", "workload.requests=4"])
    digests = [
        simulate(scenario.model_copy(update={"fidelity": fidelity})).summary["trace_digest"]
        for fidelity in ("auto", "op")
    ]

    assert digests[0] == digests[1]


def test_it_is_part_of_the_digest(tmp_path: Path) -> None:
    """A slowed scenario is another one."""
    path = tmp_path / "s.yaml"
    path.write_text(SCENARIO.format(topology="h100-8", ranks=1, slowdown=1.0, noise="none"))

    assert load(path).digest() != load(path, ["deployment.slowdown=1.05"]).digest()
