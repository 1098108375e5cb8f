"""Random variations of shipped scenarios: real costs, collectives and noise, checked as the made-up ones are."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import Played, played

from simcluster.policies.schedulers import SCHEDULERS
from simcluster.results.run import simulate
from simcluster.scenario.load import load

BASES = {
    "llama-3.1-70b-8xh100": [(8, 1, 1), (2, 2, 2), (4, 1, 2), (4, 2, 1)],
    "llama-3.1-70b-4xwse3": [(1, 4, 1)],
    "gpt4-1.8t-60xwse3-w8": [(1, 60, 1)],
    "gpt4-1.8t-32xh100-w8": [(4, 8, 1)],
}
"""Layouts by scenario: ranks, stages, replicas."""


WHEN = ["at: 5 ms", "at: 20 ms, lasts: 30 ms", "mtbf: 40 ms, mttr: 10 ms"]
EVENTS = {
    "llama-3.1-70b-8xh100": st.builds(
        "{{kind: {}, {}}}".format,
        st.sampled_from(
            [
                "device_slow, device: gpu0, times_slower: 1.5",
                "device_slow, device: gpu5, times_slower: 3",
                "device_down, device: gpu1",
                "device_down, node: node0",
                "link_slow, link: [gpu0, nvswitch0], bandwidth: 30 %",
                "link_slow, link: [nvswitch0, gpu6], extra_latency: 3 us",
                "link_down, link: [gpu2, nvswitch0]",
            ]
        ),
        st.sampled_from(WHEN),
    )
    | st.just("{kind: transfer, from: gpu0, to: gpu4, size: 1 GB, at: 5 ms, every: 20 ms}"),
    "llama-3.1-70b-4xwse3": st.builds(
        "{{kind: {}, {}}}".format,
        st.sampled_from(
            [
                "device_slow, device: wafer1, times_slower: 2",
                "device_down, device: wafer3",
                "link_slow, link: [wafer0, wafer0/io], bandwidth: 10 %, extra_latency: 2 us",
            ]
        ),
        st.sampled_from(WHEN),
    ),
}
"""Events by scenario."""


@st.composite
def scenarios(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A scenario's name and settings of it: few short requests, small steps and a small cache."""
    name = draw(st.sampled_from(sorted(BASES)))
    ranks, stages, replicas = draw(st.sampled_from(BASES[name]))
    arrivals = draw(
        st.sampled_from(
            [
                "{kind: poisson, rate: 40 req/s}",
                "{kind: poisson, rate: 4000 req/s}",
                "{kind: deterministic, rate: 100 req/s}",
                "{kind: closed, concurrency: 3}",
            ]
        )
    )
    return name, [
        f"deployment.tensor_parallel_size={ranks}",
        f"deployment.pipeline_parallel_size={stages}",
        f"deployment.replicas={replicas}",
        f"deployment.max_num_batched_tokens={draw(st.sampled_from([8, 33, 512]))}",
        f"deployment.max_num_seqs={draw(st.integers(1, 8))}",
        f"deployment.num_gpu_blocks_override={draw(st.integers(4, 30))}",
        f"deployment.scheduler={draw(st.sampled_from(sorted(SCHEDULERS)))}",
        f"deployment.admission_lag={draw(st.integers(0, 2))}",
        f"deployment.router={draw(st.sampled_from(['round_robin', 'least_loaded']))}",
        f"workload.arrivals={arrivals}",
        "workload.prompt_tokens={kind: uniform, low: 1, high: 60}",
        "workload.output_tokens={kind: uniform, low: 1, high: 8}",
        f"workload.requests={draw(st.integers(1, 8))}",
        f"noise={draw(st.sampled_from(['none', 'datacenter']))}",
        f"seed={draw(st.integers(0, 10**6))}",
        *draw(st.sampled_from([[], ["workload.horizon=80 ms"]])),
        *([] if name not in EVENTS else [f"events=[{', '.join(draw(st.lists(EVENTS[name], max_size=3)))}]"]),
    ]


def op_and_auto(name: str, changes: list[str]) -> list[Played]:
    """The run of a scenario with these settings, op by op and at fidelity auto."""
    return [played(simulate(load(name, [*changes, f"fidelity={fidelity}"]))) for fidelity in ("op", "auto")]


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(scenarios())
def test_op_and_auto_agree_and_every_law_holds(case: tuple[str, list[str]]) -> None:
    """With real costs and noise, op and auto give the same rows, and no law is broken."""
    op, auto = op_and_auto(*case)

    assert op.digest == auto.digest
    assert op.requests["status"] == auto.requests["status"]
    assert [] == auto.violations()


@pytest.mark.soak
@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(scenarios())
def test_soak_of_shipped_scenarios(case: tuple[str, list[str]]) -> None:
    """A hundred variations of shipped scenarios with failures break no law, and op and auto agree to the byte."""
    op, auto = op_and_auto(*case)

    assert op.digest == auto.digest
    assert [] == auto.violations()
