"""Collectives on graphs: the closed forms when idle, known factors when links are shared or degraded."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import networkx as nx
import pytest
import simpy
from hypothesis import given
from hypothesis import strategies as st

from simcluster.catalog.calibration.collectives import (
    ALGORITHMS,
    Collective,
    CollectiveFit,
    Launch,
    fabric,
    fabrics,
)
from simcluster.costs.collectives import COLLECTIVES, flat, hierarchical_all_reduce, line_of, phases_s
from simcluster.costs.exchange import (
    Leg,
    MessageRound,
    Phase,
    hierarchical_legs,
    legs,
    messages,
    phases,
    seconds,
    uses_over,
)
from simcluster.kernel.clock import NORMAL, after
from simcluster.kernel.fabric import Fabric
from simcluster.numerics.maxmin import alone_rate
from simcluster.numerics.ticks import to_ticks
from simcluster.plans.replica_plan import FlowLoad
from simcluster.topology.model import Topology, add_link, add_node, topology
from simcluster.topology.read import load
from simcluster.topology.routes import Routes

B = 1e9
NAMES: list[tuple[Collective, str]] = [(c, algorithm) for c, names in ALGORITHMS.items() for algorithm in names]


class Net:
    """A graph with its routes, and a fabric of its links."""

    def __init__(self, shape: Topology) -> None:
        self.routes = Routes(shape)
        self.devices = shape.devices
        self.uses = uses_over(self.routes.route, self.routes.switch, self.routes.capacities_bytes_per_s)
        self.env = simpy.Environment(0)
        self.fabric = Fabric(self.env, self.routes.capacities_bytes_per_s)

    def link(self, a: str, b: str) -> int:
        """Number of a directed link."""
        return self.routes.number[a, b]

    def phases(self, exchange: Sequence[Leg]) -> tuple[Phase, ...]:
        """Phases of an exchange on this graph."""
        return phases(exchange, self.uses)

    def messages(self, exchange: Sequence[Leg]) -> tuple[MessageRound, ...]:
        """Messages of an exchange on this graph."""
        return messages(exchange, self.routes.route, self.routes.switch)

    def play(self, parts: Sequence[Phase | MessageRound], done: Callable[[int], None]) -> None:
        """Start successive parts now."""
        if not parts:
            done(int(self.env.now))
            return
        part = parts[0]
        loads = [part] if isinstance(part, Phase) else part.transfers
        left = [len(loads)]

        def arrived() -> None:
            left[0] -= 1
            if not left[0]:
                self.play(parts[1:], done)

        def send() -> None:
            for one in loads:
                self.fabric.start(FlowLoad(one.alone_s, one.uses), arrived)

        after(self.env, to_ticks(part.latency_s), NORMAL, send)

    def ticks(self, *exchanges: Sequence[Phase | MessageRound]) -> list[int]:
        """Durations when all begin now."""
        began, ends = int(self.env.now), [-1] * len(exchanges)
        for number, parts in enumerate(exchanges):
            self.play(parts, lambda tick, number=number: ends.__setitem__(number, tick))  # type: ignore[misc]
        self.env.run()
        return [end - began for end in ends]


def line(algorithm: str, fixed_s: float = 3e-6, bytes_per_s: float = 0.6e9) -> CollectiveFit:
    """A fit of an algorithm."""
    return CollectiveFit(
        algorithm=algorithm, library="nccl", launch=("graph",), fixed_s=fixed_s, step_s=0.7e-6,
        bytes_per_s=bytes_per_s, min_ranks=2, max_ranks=None, status="assumed", points=0, median_error=None,
        p90_error=None, source="", date="", note="",
    )  # fmt: skip


def star(devices: int = 8) -> Topology:
    """Devices on one switch."""
    return tree({"switch": [f"gpu{number}" for number in range(devices)]}, {})


def tree(below: dict[str, list[str]], trunks: dict[tuple[str, str], float]) -> Topology:
    """Devices on switches, at B each, and trunks between the switches."""
    graph: nx.Graph[str] = nx.Graph()
    for switch, devices in below.items():
        add_node(graph, switch, "switch", "network")
        for device in devices:
            add_node(graph, device, "device", switch, device="h100-sxm")
            add_link(graph, device, switch, B, 0.0)
    for (a, b), bytes_per_s in trunks.items():
        add_link(graph, a, b, bytes_per_s, 0.0)
    return topology("test", "", graph, "nodes", "")


def leg(collective: Collective, algorithm: str, *groups: Sequence[str], n_bytes: float = 1e6) -> tuple[Leg, ...]:
    """An exchange of one leg, by a synthetic fit."""
    return (Leg(collective, line(algorithm), tuple(map(tuple, groups)), n_bytes),)


@given(st.sampled_from(fabrics()), st.integers(1, 8), st.floats(0, 1e10), st.sampled_from(["graph", "eager"]))
def test_phases_add_up_to_the_closed_forms(link: str, n_ranks: int, n_bytes: float, launch: Launch) -> None:
    """For every shipped link the phases of each collective last, bit for bit, what the closed form says."""
    net, found = NETS["star"], fabric(link)
    group = net.devices[:n_ranks]
    for collective in ("all_reduce", "all_gather", "reduce_scatter", "all_to_all"):
        fits = getattr(found, collective)
        exchange = legs(collective, fits, group, n_bytes, launch)  # type: ignore[arg-type]
        assert phases_s(flat(collective, fits, n_ranks, launch), n_bytes) == seconds(net.phases(exchange))


@given(st.integers(1, 8), st.integers(1, 4), st.floats(0, 1e10))
def test_hierarchical_phases_add_up(n_ranks: int, n_nodes: int, n_bytes: float) -> None:
    """The phases of a hierarchical all-reduce last, bit for bit, what its closed form says."""
    net, inside, across = NETS["h100-4x8"], fabric("nvlink4"), fabric("infiniband-ndr")
    nodes = tuple(net.devices[8 * node : 8 * node + n_ranks] for node in range(n_nodes))
    if n_ranks * n_nodes == 1:
        assert () == hierarchical_legs(inside, across, nodes, n_bytes, "graph")
        return
    found = net.phases(hierarchical_legs(inside, across, nodes, n_bytes, "graph"))
    assert (1 if 1 in (n_ranks, n_nodes) else 3) == len(found)
    closed = hierarchical_all_reduce(inside, across, n_ranks, n_nodes, "graph")
    assert phases_s(closed, n_bytes) == seconds(found)


def test_hierarchical_loads() -> None:
    """Inside, each phase fills the NVLinks of all nodes both ways; across, all groups fill all rails, in one load."""
    net = NETS["h100-4x8"]
    nodes = tuple(net.devices[8 * node : 8 * node + 8] for node in range(4))
    first, second, third = net.phases(
        hierarchical_legs(fabric("nvlink4"), fabric("infiniband-ndr"), nodes, 1e9, "graph")
    )
    nvlinks = {net.link(*ends) for node in nodes for gpu in node for ends in ends_of(gpu, gpu[:6] + "nvswitch0")}
    assert {(link, 1.0) for link in nvlinks} == set(first.uses) == set(third.uses)
    across = {
        net.link(*ends)
        for number in range(4)
        for rail in range(8)
        for ends in (
            *ends_of(f"node{number}/gpu{rail}", f"node{number}/nic{rail}"),
            *ends_of(f"node{number}/nic{rail}", f"rail{rail}"),
        )
    }
    assert {(link, 1.0) for link in across} == set(second.uses)


def ends_of(a: str, b: str) -> tuple[tuple[str, str], tuple[str, str]]:
    """Both directions."""
    return (a, b), (b, a)


def test_nodes_of_unequal_size() -> None:
    """Nodes with different numbers of ranks are refused."""
    with pytest.raises(ValueError, match="nodes of 1, 2 ranks; expected the same number"):
        hierarchical_legs(fabric("nvlink4"), fabric("infiniband-ndr"), (("a", "b"), ("c",)), 1.0, "graph")


@pytest.mark.parametrize(("collective", "algorithm"), NAMES)
def test_alone_a_flow_fills_its_bottleneck(collective: Collective, algorithm: str) -> None:
    """The bottleneck has weight 1 and is full when the flow is alone; no link carries more than it can."""
    shape = tree({"left": ["a", "b"], "right": ["c", "d"]}, {("left", "right"): 0.5 * B})
    net = Net(shape)
    groups = [("a", "b")] if algorithm == "nvls" else [("a", "c"), ("b", "d")]
    (phase,) = net.phases(leg(collective, algorithm, *groups))
    capacities = net.routes.capacities_bytes_per_s
    rate = alone_rate(phase.uses, capacities)
    assert rate in {capacities[link] for link, weight in phase.uses if weight == 1.0}
    assert all(weight * rate <= capacities[link] for link, weight in phase.uses)


@pytest.mark.parametrize(("collective", "algorithm"), NAMES)
def test_idle_graph(collective: Collective, algorithm: str) -> None:
    """On an idle star phases last the closed form, latency and bytes rounded to ticks once each."""
    net = Net(star())
    group = net.devices[:2] if collective == "send" else net.devices
    exchange = leg(collective, algorithm, group)
    found = net.phases(exchange)
    assert [to_ticks(found[0].latency_s) + to_ticks(found[0].alone_s)] == net.ticks(found)
    closed_s = line_of(COLLECTIVES[collective][algorithm], exchange[0].fit, len(group)).at(1e6)
    assert closed_s == seconds(found)


@pytest.mark.parametrize("algorithm", ["ring", "two_shot", "nvls"])
@pytest.mark.parametrize("share", [0.5, 0.25, 0.3])
def test_one_degraded_link_of_eight(algorithm: str, share: float) -> None:
    """One direction of one of eight links at a share f of its capacity: the bytes take 1/f as long."""
    net = Net(star())
    found = net.phases(leg("all_reduce", algorithm, net.devices))
    net.fabric.set_capacity(net.link("switch", "gpu5"), share * B)
    assert [to_ticks(found[0].latency_s) + to_ticks(found[0].alone_s / share)] == net.ticks(found)


@pytest.mark.parametrize("algorithm", ["ring", "two_shot", "one_shot", "tree", "halving_doubling"])
@pytest.mark.parametrize(("trunk", "factor"), [(0.5, 2), (1.0, 2), (2.0, 1)])
def test_two_groups_share_a_trunk(algorithm: str, trunk: float, factor: int) -> None:
    """Two pairs over one trunk no wider than a port take twice the bytes' time each; over a wider one, once."""
    net = Net(tree({"left": ["a", "b"], "right": ["c", "d"]}, {("left", "right"): trunk * B}))
    one, two = (net.phases(leg("all_reduce", algorithm, group)) for group in (("a", "c"), ("b", "d")))
    latency, alone = to_ticks(one[0].latency_s), to_ticks(one[0].alone_s)
    assert [latency + alone] == net.ticks(one)
    assert [latency + to_ticks(factor * one[0].alone_s)] * 2 == net.ticks(one, two)


def test_two_groups_share_a_nic() -> None:
    """Two pairs whose nodes have one NIC each take twice the bytes' time, and the remaining flow goes on alone."""
    net = Net(
        tree(
            {"nic0": ["a", "b"], "nic1": ["c", "d"], "wire": []},
            {("nic0", "wire"): 0.1 * B, ("nic1", "wire"): 0.1 * B},
        )
    )
    one, two = (net.phases(leg("all_reduce", "ring", group)) for group in (("a", "c"), ("b", "d")))
    half = net.phases(leg("all_reduce", "ring", ("b", "d"), n_bytes=5e5))
    latency, alone_s = to_ticks(one[0].latency_s), one[0].alone_s
    assert [latency + to_ticks(2 * alone_s)] * 2 == net.ticks(one, two)
    assert [latency + to_ticks(1.5 * alone_s), latency + to_ticks(alone_s)] == net.ticks(one, half)


def test_a_group_of_one_loads_nothing() -> None:
    """A single rank has no leg, and an algorithm among one rank uses no link."""
    assert () == legs("all_reduce", fabric("nvlink4").all_reduce, ("gpu0",), 1.0, "graph")
    assert () == Net(star()).uses("all_reduce", "ring", (("gpu0",),))


def test_groups_on_ports_of_their_own() -> None:
    """Two groups on one switch do not affect each other."""
    net = Net(star())
    one, two = (net.phases(leg("all_reduce", "ring", group)) for group in (net.devices[:4], net.devices[4:]))
    assert net.ticks(one) * 2 == net.ticks(one, two)


@pytest.mark.parametrize(("collective", "algorithm"), NAMES)
@pytest.mark.parametrize("n_ranks", [2, 3, 5, 8])
def test_messages_add_up_to_the_phases(collective: Collective, algorithm: str, n_ranks: int) -> None:
    """On a star, where messages meet only at ports, rounds last together as long as the phases, to a tick a round."""
    if collective == "send" and n_ranks > 2:
        pytest.skip("a send has two ranks")
    net = Net(star())
    exchange = leg(collective, algorithm, net.devices[:n_ranks], n_bytes=123456.0)
    rounds = net.messages(exchange)
    assert COLLECTIVES[collective][algorithm].steps(n_ranks) == len(rounds)
    (by_message,), (by_phase,) = net.ticks(rounds), net.ticks(net.phases(exchange))
    assert abs(by_message - by_phase) <= len(rounds) + 1


def test_hierarchical_messages_add_up_to_the_phases() -> None:
    """Also over four nodes of eight GPUs, each with a NIC of its own, on the shipped graph and with shipped fits."""
    net = Net(load("h100-4x8"))
    nodes = tuple(net.devices[8 * node : 8 * node + 8] for node in range(4))
    exchange = hierarchical_legs(fabric("nvlink4"), fabric("infiniband-ndr"), nodes, 3e6, "graph")
    rounds = net.messages(exchange)
    (by_message,), (by_phase,) = net.ticks(rounds), net.ticks(net.phases(exchange))
    assert abs(by_message - by_phase) <= len(rounds) + 3


def test_messages_that_meet_on_a_trunk() -> None:
    """Direct all-to-all over a trunk as wide as a port, four messages each way: the bytes take 4/3 as long."""
    net = Net(tree({"left": ["a", "b"], "right": ["c", "d"]}, {("left", "right"): B}))
    exchange = leg("all_to_all", "direct", "abcd")
    (found,) = net.phases(exchange)
    assert [to_ticks(found.latency_s) + to_ticks(found.alone_s * 4 / 3)] == net.ticks(net.messages(exchange))


NETS = {"star": Net(star()), "h100-4x8": Net(load("h100-4x8"))}
