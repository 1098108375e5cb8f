"""Exchanges over links that are slow, shared or cut, against what max-min sharing says by hand; noise is off."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support import Played, played

from simcluster.catalog.calibration.collectives import fabric
from simcluster.costs.collectives import ALL_GATHER, ALL_REDUCE, fastest
from simcluster.numerics.ticks import to_ticks
from simcluster.results.run import simulate
from simcluster.scenario.load import load

NAME = "llama-3.1-70b-8xh100"
ONE = ["noise=none", "workload.prompt_tokens.value=64", "workload.output_tokens.value=6"]


def run(changes: list[str], name: str = NAME) -> Played:
    return played(simulate(load(name, [*ONE, *changes])))


def exchanged(run: Played, replica: int = 0) -> list[int]:
    """Interconnect of a replica's tokens after the first."""
    of_replica = (run.tokens["replica"] == replica) & (run.tokens["token"] > 0)
    return run.tokens["interconnect_ticks"][of_replica].tolist()


def bandwidth_s(n_ranks: int, link: str = "nvlink4", layers: int = 80) -> tuple[float, int]:
    """The bandwidth part of all collectives of a decode token at batch 1, and how many they are."""
    fits, shape = fabric(link), load(NAME, ONE).pools[0].model
    n_bytes = shape.hidden * 2.0
    reduce = fastest("all_reduce", fits.all_reduce, n_ranks, n_bytes, "graph")
    gathered = shape.vocab * 2.0
    gather = fastest("all_gather", fits.all_gather, n_ranks, gathered, "graph")
    one_s = ALL_REDUCE[reduce.algorithm].share(n_ranks) * n_bytes / reduce.bytes_per_s
    last_s = ALL_GATHER[gather.algorithm].share(n_ranks) * gathered / gather.bytes_per_s
    return (2 * layers + 1) * one_s + last_s, 2 * layers + 2


@pytest.mark.parametrize("share", ["50 %", "25 %"])
def test_one_slow_link_of_eight_lengthens_every_exchange_by_its_share(share: str) -> None:
    """With one link of eight at a share f, the bandwidth part of every collective takes 1/f as long, to the tick."""
    quiet = exchanged(run([]))
    slow = exchanged(run([f"events=[{{kind: link_slow, link: [gpu3, nvswitch0], bandwidth: {share}, at: 0 s}}]"]))
    part_s, n = bandwidth_s(8)
    expected = part_s * (100 / float(share.split()[0]) - 1)

    for before, after in zip(quiet, slow, strict=True):
        assert abs(after - before - to_ticks(expected)) <= n


def test_extra_latency_is_paid_in_every_round() -> None:
    """A microsecond more on one link is a microsecond more for every round of every collective over it."""
    quiet, slow = run([]), run(["events=[{kind: link_slow, link: [gpu3, nvswitch0], extra_latency: 1 us, at: 0 s}]"])
    fits, shape = fabric("nvlink4"), load(NAME, ONE).pools[0].model
    reduce = fastest("all_reduce", fits.all_reduce, 8, shape.hidden * 2.0, "graph")
    gather = fastest("all_gather", fits.all_gather, 8, shape.vocab * 2.0, "graph")
    rounds = 161 * ALL_REDUCE[reduce.algorithm].steps(8) + ALL_GATHER[gather.algorithm].steps(8)
    longer = np.subtract(exchanged(slow), exchanged(quiet))

    assert np.abs(longer - 10**6 * rounds).max() <= 162


TRUNK = {
    "nodes": [
        *({"name": f"gpu{n}", "kind": "device", "device": "h100-sxm", "group": "node"} for n in range(4)),
        *({"name": f"sw{n}", "kind": "switch", "group": "node"} for n in range(2)),
    ],
    "links": [
        *({"from": f"gpu{n}", "to": f"sw{n // 2}", "link": "nvlink4"} for n in range(4)),
        {"from": "sw0", "to": "sw1", "link": "nvlink4"},
    ],
}
"""Two GPUs on each of two switches, and one link between these."""


def on_trunk(replicas: int, path: Path, fidelity: str = "auto") -> list[str]:
    """Replicas with one rank on either side of the trunk, one request each, at the same time."""
    devices = ["gpu0, gpu2", "gpu1, gpu3"][:replicas]
    (path / "trunk.yaml").write_text(json.dumps(TRUNK))
    return [
        f"topology={path / 'trunk.yaml'}", "model=llama-3.1-8b", "deployment.tensor_parallel_size=2",
        "deployment.all_reduce=one_shot",
        f"deployment.replicas={replicas}", f"deployment.devices=[{', '.join(devices)}]", f"fidelity={fidelity}",
        f"workload.requests={replicas}", f"workload.arrivals={{kind: closed, concurrency: {replicas}}}",
    ]  # fmt: skip


def parts_of_two(changes: list[str]) -> tuple[float, float, int, int]:
    """Bandwidth part of an all-reduce and of the all-gather of two ranks, layers, and rounds of a token."""
    shape, fits = load(NAME, [*ONE, *changes]).pools[0].model, fabric("nvlink4")
    reduce = fastest("all_reduce", fits.all_reduce, 2, shape.hidden * 2.0, "graph", "one_shot")
    gather = fastest("all_gather", fits.all_gather, 2, shape.vocab * 2.0, "graph")
    one_s = ALL_REDUCE[reduce.algorithm].share(2) * shape.hidden * 2.0 / reduce.bytes_per_s
    last_s = ALL_GATHER[gather.algorithm].share(2) * shape.vocab * 2.0 / gather.bytes_per_s
    steps = ALL_REDUCE[reduce.algorithm].steps(2)
    rounds = (2 * shape.layers + 1) * steps + ALL_GATHER[gather.algorithm].steps(2)
    return one_s, last_s, shape.layers, rounds


@pytest.mark.parametrize("fidelity", ["auto", "op"])
def test_two_replicas_on_one_trunk_take_twice_as_long_to_exchange(tmp_path: Path, fidelity: str) -> None:
    """Two groups in step share the trunk evenly: the bandwidth part of an exchange doubles, its latency does not."""
    alone = exchanged(run(on_trunk(1, tmp_path, fidelity)))
    both = run(on_trunk(2, tmp_path, fidelity))
    one_s, last_s, layers, _ = parts_of_two(on_trunk(1, tmp_path))
    n = 2 * layers + 1
    longer = to_ticks(n * one_s + last_s)

    for replica in range(2):
        for before, after in zip(alone, exchanged(both, replica), strict=True):
            assert abs(after - before - longer) <= 2 * (n + 1)


def test_op_and_auto_agree_on_a_shared_trunk(tmp_path: Path) -> None:
    """Replicas that share a link have the same trace in op and in auto."""
    assert run(on_trunk(2, tmp_path, "op")).digest == run(on_trunk(2, tmp_path, "auto")).digest


def test_a_transfer_takes_half_of_the_link_while_it_lasts(tmp_path: Path) -> None:
    """A long transfer over the trunk doubles the bandwidth part of one replica's exchanges until it is over."""
    alone = exchanged(run(on_trunk(1, tmp_path)))
    transfer = "events=[{kind: transfer, from: gpu1, to: gpu3, size: 100 GB, at: 0 s}]"
    disturbed = exchanged(run([*on_trunk(1, tmp_path), transfer]))
    both = exchanged(run(on_trunk(2, tmp_path)))

    assert np.abs(np.subtract(disturbed, both)).max() <= 2 * 66
    assert min(disturbed) > max(alone)


def test_a_cut_link_without_another_way_is_a_clear_failure() -> None:
    """A rank that no link reaches stops its replica; without another replica, requests fail with the reason."""
    cut = run(["events=[{kind: link_down, link: [gpu0, nvswitch0], at: 30 ms}]"])

    assert ["failed"] == cut.requests["status"]
    assert "no route from gpu0 to gpu1" in cut.requests["reason"][0]
    assert "gpu0 - nvswitch0" in cut.requests["reason"][0]


def test_traffic_is_rerouted_around_a_cut_link(tmp_path: Path) -> None:
    """Over a second trunk of a quarter of the width bytes take four times as long, and every round its latency."""
    second = {
        "nodes": [*TRUNK["nodes"], {"name": "sw2", "kind": "switch", "group": "node"}],
        "links": [*TRUNK["links"], {"from": "sw0", "to": "sw2", "link": "nvlink4"},
                  {"from": "sw2", "to": "sw1", "bandwidth": "112.5 GB/s", "latency": "1 us"}],
    }  # fmt: skip
    changes = on_trunk(1, tmp_path)
    (tmp_path / "trunk.yaml").write_text(json.dumps(second))
    before = run(changes)
    after = run([*changes, "events=[{kind: link_down, link: [sw0, sw1], at: 0 s}]"])

    one_s, last_s, layers, rounds = parts_of_two(changes)
    longer = to_ticks(3 * ((2 * layers + 1) * one_s + last_s)) + rounds * 10**6
    assert ["finished"] == after.requests["status"]
    for one, other in zip(exchanged(before), exchanged(after), strict=True):
        assert abs(other - one - longer) <= 2 * (2 * layers + 2)


@pytest.mark.parametrize("changes", [[], ["deployment.all_reduce=ring"], ["deployment.all_reduce=two_shot"]])
def test_message_is_op_within_a_tick_a_round(changes: list[str]) -> None:
    """Message by message, a token lasts as long as op by op, except for a tick in each round of its exchanges."""
    op, message = (run([*changes, f"fidelity={fidelity}"]) for fidelity in ("op", "message"))
    algorithm = changes[0].split("=")[1] if changes else "one_shot"
    rounds = 161 * (ALL_REDUCE[algorithm].steps(8) + 1) + 9
    gaps = [np.diff(run.tokens["emitted_at_ticks"]) for run in (op, message)]

    assert np.abs(gaps[0] - gaps[1]).max() <= rounds
