"""A transfer takes the formulas of a replica apart while it lasts, and costs next to nothing besides."""

from __future__ import annotations

import pytest
import simpy

import simcluster
from simcluster.kernel import engine
from simcluster.kernel.simulate import run_scenario

CASES = {
    "chat-70b-8xh100": "{kind: transfer, from: gpu0, to: gpu1, size: 1 MB, at: 300 ms}",
    "spread-175b-2x8xh100": "{kind: transfer, from: node0/gpu0, to: node1/gpu0, size: 1 MB, at: 100 ms}",
    "chat-70b-4xwse3": "{kind: transfer, from: wafer0, to: wafer2, size: 1 MB, at: 100 ms}",
}


@pytest.mark.parametrize("name", CASES)
def test_a_transfer_has_the_trace_of_playing_everything(name: str) -> None:
    """With a transfer on its links, a replica has the same trace in `auto` and op by op."""
    settings = ["workload.requests=3", "noise=none"]
    traces = [
        simcluster.simulate(simcluster.load(name, [*settings, *more])).summary["trace_digest"]
        for more in ([f"events=[{CASES[name]}]", "fidelity=op"], [f"events=[{CASES[name]}]"])
    ]

    assert traces[0] == traces[1]


@pytest.mark.parametrize("name", CASES)
def test_a_transfer_adds_few_events(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of some hundred steps with one transfer takes at most 1.3 times the events of the run without."""

    def n_events(*more: str) -> int:
        made: list[simpy.Environment] = []
        monkeypatch.setattr(engine.simpy, "Environment", lambda: made.append(make()) or made[-1])
        run_scenario(simcluster.load(name, ["workload.requests=40", "noise=none", *more]), [])
        return next(made[0]._eid)

    make = simpy.Environment

    assert n_events(f"events=[{CASES[name]}]") <= 1.3 * n_events()
