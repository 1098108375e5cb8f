"""Random variations of shipped scenarios: real costs, collectives and noise, checked as the made-up ones are."""

from __future__ import annotations

import json
from math import prod
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import Played, played

from simcluster.files import source
from simcluster.policies.routers import ROUTERS
from simcluster.policies.schedulers import SCHEDULERS
from simcluster.results.run import simulate
from simcluster.scenario.load import load
from simcluster.scenario.resolver import Resolver

BASES = {
    "llama-3.1-70b-8xh100": [(8, 1, 1), (2, 2, 2), (4, 1, 2), (4, 2, 1)],
    "llama-3.1-70b-4xwse3": [(1, 4, 1)],
    "gpt4-1.8t-60xwse3-w8": [(1, 60, 1)],
    "gpt4-1.8t-32xh100-w8": [(4, 8, 1)],
}
"""Layouts by scenario: ranks, stages, replicas."""


ARRIVALS = [
    {"kind": "poisson", "rate": "40 req/s"},
    {"kind": "poisson", "rate": "4000 req/s"},
    {"kind": "deterministic", "rate": "100 req/s"},
    {"kind": "closed", "concurrency": 3},
]
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
    arrivals = draw(st.sampled_from(ARRIVALS))
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
        f"workload.arrivals={json.dumps(arrivals)}",
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


LAYOUTS = {
    "wse-3": [(1, 1, 1), (1, 2, 1), (1, 1, 2)],
    "h100-sxm": [(1, 1, 1), (1, 1, 2), (2, 1, 1), (4, 1, 1), (2, 2, 1), (1, 2, 2), (2, 1, 2)],
    "a100-sxm-80": [(1, 1, 1), (1, 1, 2), (2, 1, 1), (4, 1, 1), (1, 2, 1)],
}
"""Ranks, stages and replicas of a pool by its kind of device."""
N_DEVICES = {"wse-3": 4, "h100-sxm": 8, "a100-sxm-80": 8}
FLEET = {"wafers": "wse3-4", "h100s": "h100-8", "a100s": "a100-8"}
FLEET_EVENTS = st.sampled_from(
    [
        "{kind: device_down, device: wafers/wafer0, at: 5 ms}",
        "{kind: device_down, device: wafers/wafer1, at: 8 ms, lasts: 20 ms}",
        "{kind: device_down, device: h100s/gpu0, at: 10 ms, lasts: 30 ms}",
        "{kind: device_down, node: h100s/node0, mtbf: 60 ms, mttr: 15 ms}",
        "{kind: device_down, device: a100s/gpu1, at: 15 ms}",
        "{kind: device_slow, device: a100s/gpu0, times_slower: 2, at: 5 ms, lasts: 30 ms}",
        "{kind: device_slow, device: wafers/wafer0, times_slower: 3, mtbf: 40 ms, mttr: 10 ms}",
        "{kind: link_slow, link: [h100s/gpu0, h100s/nvswitch0], bandwidth: 30 %, at: 5 ms}",
        "{kind: link_down, link: [a100s/gpu2, a100s/nvswitch0], at: 20 ms, lasts: 10 ms}",
        "{kind: transfer, from: h100s/gpu0, to: h100s/gpu3, size: 100 MB, at: 5 ms, every: 20 ms}",
    ]
)


@st.composite
def pools(draw: st.DrawFn) -> dict[str, Any]:
    """A pool on devices of some kind, with a layout and an engine of its own."""
    device = draw(st.sampled_from(sorted(LAYOUTS)))
    ranks, stages, replicas = draw(st.sampled_from(LAYOUTS[device]))
    pool: dict[str, Any] = {
        "device": device,
        "model": draw(st.sampled_from(["llama-3.1-8b", "llama-2-7b", "llama-2-13b"])),
        "tensor_parallel_size": ranks,
        "pipeline_parallel_size": stages,
        "replicas": replicas,
        "weights": draw(st.sampled_from(["16 bit", "8 bit"])),
        "max_num_batched_tokens": draw(st.sampled_from([8, 33, 512])),
        "max_num_seqs": draw(st.integers(1, 8)),
        "block_size": draw(st.sampled_from([8, 16])),
        "num_gpu_blocks_override": draw(st.integers(8, 30)),
        "scheduler": draw(st.sampled_from(sorted(SCHEDULERS))),
        "admission_lag": draw(st.integers(0, 2)),
    }
    optional = {"max_model_len": st.integers(40, 70), "engine": st.just("vllm"), "launch": st.just("eager")}
    return pool | {key: draw(values) for key, values in optional.items() if draw(st.booleans())}


def _n_used(found: list[dict[str, Any]], device: str) -> int:
    """Devices of a kind that some pools use."""
    sizes = ("tensor_parallel_size", "pipeline_parallel_size", "replicas")
    return sum(prod(pool[size] for size in sizes) for pool in found if pool["device"] == device)


@st.composite
def fleets(draw: st.DrawFn) -> dict[str, Any]:
    """A scenario with one to three unlike pools behind one router."""
    found = [draw(pools()) for _ in range(draw(st.integers(1, 3)))]
    # Those for which there are devices; the first has always enough.
    found = [
        pool
        for number, pool in enumerate(found)
        if _n_used(found[: number + 1], pool["device"]) <= N_DEVICES[pool["device"]]
    ]
    events = draw(st.lists(FLEET_EVENTS, max_size=3))
    topology: dict[str, Any] = {"parts": FLEET}
    if draw(st.booleans()):
        topology["links"] = [{"from": "h100s/nic0", "to": "a100s/nic0", "link": "ethernet-100g"}]
    workload = {
        "arrivals": draw(st.sampled_from(ARRIVALS)),
        "prompt_tokens": {"kind": "uniform", "low": 1, "high": 60},
        "output_tokens": {"kind": "uniform", "low": 1, "high": 8},
        "requests": draw(st.integers(1, 10)),
    }
    return {
        "topology": topology,
        "router": draw(st.sampled_from(sorted(ROUTERS))),
        "pools": {f"pool{number}": pool for number, pool in enumerate(found)},
        "workload": workload | draw(st.sampled_from([{}, {"horizon": "80 ms"}])),
        "noise": draw(st.sampled_from(["none", "datacenter", "noisy"])),
        "seed": draw(st.integers(0, 10**6)),
        "events": [source.parse(event).data for event in events],
    }


def fleet_op_and_auto(fleet: dict[str, Any]) -> list[Played]:
    """The run of a fleet, op by op and at fidelity auto."""
    text = (yaml.safe_dump(fleet | {"fidelity": fidelity}) for fidelity in ("op", "auto"))
    return [played(simulate(Resolver(source.parse(one), Path("fleet.yaml")).scenario())) for one in text]


def require_sound(fleet: dict[str, Any]) -> None:
    """Op and auto give the same rows and fates, no law is broken, and no request is left without a reason."""
    op, auto = fleet_op_and_auto(fleet)

    assert op.digest == auto.digest
    assert op.requests["status"] == auto.requests["status"]
    assert [] == auto.violations()
    assert "horizon" in fleet["workload"] or "unfinished" not in auto.requests["status"]


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(fleets())
def test_fleets_of_unlike_pools_are_sound(fleet: dict[str, Any]) -> None:
    """One to three pools of wafers and GPUs of two kinds: op and auto agree to the byte, and every law holds."""
    require_sound(fleet)


@pytest.mark.slow
@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(fleets())
def test_many_fleets_of_unlike_pools_are_sound(fleet: dict[str, Any]) -> None:
    """The same for three hundred fleets."""
    require_sound(fleet)


def test_random_fleets_meet_what_they_are_for() -> None:
    """Among random fleets there are several kinds of devices, models and layouts, and requests that changed pools."""
    met = set()

    @settings(deadline=None, max_examples=60, database=None, derandomize=True)
    @given(fleets())
    def look(fleet: dict[str, Any]) -> None:
        found = fleet["pools"].values()
        met.add(f"{len(found)} pools")
        met.update(key for key in ("device", "model", "scheduler") if len({pool[key] for pool in found}) > 1)

    look()
    assert met == {"1 pools", "2 pools", "3 pools", "device", "model", "scheduler"}
