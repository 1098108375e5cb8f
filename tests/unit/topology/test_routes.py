"""Ways of messages: the same as paths where there is one, spread evenly where there are more, around what is down."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections import Counter
from itertools import pairwise

import networkx as nx
import pytest

from simcluster.topology.measure import path
from simcluster.topology.model import Topology, add_link, add_node, topology
from simcluster.topology.read import load
from simcluster.topology.routes import NoRoute, Routes


def two_switches(trunks: int = 1) -> Topology:
    """Devices a, b on one side, c, d on the other, and some switches in between, all links alike."""
    graph: nx.Graph[str] = nx.Graph()
    for name in "abcd":
        add_node(graph, name, "device", name, device="h100-sxm")
    for name in ("left", "right", *(f"middle{number}" for number in range(trunks))):
        add_node(graph, name, "switch", "network")
    for name, switch in zip("abcd", ("left", "left", "right", "right"), strict=True):
        add_link(graph, name, switch, 4e9, 1e-6)
    for number in range(trunks):
        add_link(graph, "left", f"middle{number}", 2e9, 1e-6)
        add_link(graph, f"middle{number}", "right", 2e9, 1e-6)
    return topology("test", "", graph, "nodes", "")


def nodes(routes: Routes, route: tuple[int, ...]) -> list[str]:
    """What a route passes, its ends included; its links must follow one another."""
    links = [routes.links[link] for link in route]
    assert all(one[1] == two[0] for one, two in pairwise(links))
    return [links[0][0], *(link[1] for link in links)]


def test_directed_links() -> None:
    """Each edge is two links that follow one another in number, with the bandwidth and latency of the edge."""
    routes = Routes(two_switches())
    assert 2 * 6 == len(routes.links) == len(routes.capacities_bytes_per_s) == len(routes.latencies_s)
    assert [("a", "left"), ("left", "a")] == list(routes.links[:2])
    assert 4e9 == routes.capacities_bytes_per_s[routes.number["left", "a"]]
    assert 2e9 == routes.capacities_bytes_per_s[routes.number["middle0", "left"]]


@pytest.mark.parametrize("name", ["h100-8", "h100-2x8", "groq-576", "sn40l-16", "wse3-4", "wse3-memoryx"])
def test_equals_path_on_shipped_topologies(name: str) -> None:
    """Between devices of shipped topologies the way is as long, as late and as wide as `measure.path` says."""
    shape = load(name)
    routes = Routes(shape)
    for source in shape.devices[:2]:
        for target in shape.devices[1:40]:
            expected = path(shape, source, target)
            found = routes.route(source, target)
            assert len(expected.links) == len(found)
            assert expected.latency_s == pytest.approx(routes.latency_s(found), rel=1e-12)
            only = len({routes.route(source, target, str(number)) for number in range(20)}) == 1
            if only:
                assert expected.bytes_per_s == routes.bytes_per_s(found)
                assert source == target or list(expected.nodes) == nodes(routes, found)


def test_equal_ways_are_chosen_evenly() -> None:
    """Of 4000 names each of four equal ways gets a quarter, to four standard deviations of a binomial."""
    routes = Routes(two_switches(trunks=4))
    chosen = Counter(nodes(routes, routes.route("a", "c", f"flow {number}"))[2] for number in range(4000))
    assert {f"middle{number}" for number in range(4)} == set(chosen)
    assert all(abs(count - 1000) < 4 * math.sqrt(4000 * 0.25 * 0.75) for count in chosen.values())


def test_ways_of_different_number_are_chosen_evenly() -> None:
    """Where one branch leads to three equal ways and the other to one, each of the four is as likely."""
    graph: nx.Graph[str] = nx.Graph()
    for name in ("a", "b"):
        add_node(graph, name, "device", name, device="h100-sxm")
    for name in ("one", "three", "p", "q", "r", "s"):
        add_node(graph, name, "switch", "network")
    for ends in (("a", "one"), ("a", "three"), ("one", "p"), ("three", "q"), ("three", "r"), ("three", "s")):
        add_link(graph, *ends, 1e9, 1e-6)
    for name in "pqrs":
        add_link(graph, name, "b", 1e9, 1e-6)
    routes = Routes(topology("test", "", graph, "nodes", ""))
    chosen = Counter(nodes(routes, routes.route("a", "b", f"flow {number}"))[2] for number in range(4000))
    assert all(abs(chosen[name] - 1000) < 4 * math.sqrt(4000 * 0.25 * 0.75) for name in "pqrs")


def test_same_name_same_way() -> None:
    """The route of a flow does not depend on earlier queries, nor on which object makes them."""
    one, two = Routes(two_switches(4)), Routes(two_switches(4))
    names = [f"flow {number}" for number in range(50)]
    first = {name: one.route("a", "c", name) for name in names}
    assert first == {name: two.route("a", "c", name) for name in reversed(names)}
    assert first == {name: one.route("a", "c", name) for name in names}


def test_lower_latency_before_equal_length() -> None:
    """Of two ways with as many links, the one with the lower latency is taken, whatever the name."""
    graph: nx.Graph[str] = nx.Graph()
    for name in ("a", "b"):
        add_node(graph, name, "device", name, device="h100-sxm")
    for name, latency_s in (("slow", 2e-6), ("fast", 1e-6)):
        add_node(graph, name, "switch", "network")
        add_link(graph, "a", name, 1e9, latency_s)
        add_link(graph, name, "b", 1e9, latency_s)
    routes = Routes(topology("test", "", graph, "nodes", ""))
    assert {"fast"} == {nodes(routes, routes.route("a", "b", str(number)))[1] for number in range(30)}


def test_any_hash_seed() -> None:
    """Processes with different seeds of Python's own hash choose the same ways."""
    program = (
        "from simcluster.topology.read import load; from simcluster.topology.routes import Routes;"
        "routes = Routes(load('groq-576'));"
        "print([routes.route('lpu0', f'lpu{n}', f'f{n}', frozenset({('lpu0', 'lpu1'), 7})) for n in range(2, 99, 7)])"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert 1 == len(found)
    assert len(found.pop()) > 100


def test_around_a_link_that_is_down() -> None:
    """No flow uses a link that is down, in the directions that are down; without it there are more links to pass."""
    routes = Routes(two_switches(trunks=2))
    one_way = frozenset({routes.number["left", "middle0"]})
    both = frozenset({("middle0", "left")})
    for number in range(30):
        assert "middle1" == nodes(routes, routes.route("a", "c", str(number), one_way))[2]
        assert "middle1" == nodes(routes, routes.route("a", "c", str(number), both))[2]
        assert "middle1" == nodes(routes, routes.route("c", "a", str(number), both))[2]
    back = {nodes(routes, routes.route("c", "a", str(number), one_way))[2] for number in range(30)}
    assert {"middle0", "middle1"} == back
    shape = load("h100-8")
    routes = Routes(shape)
    down = frozenset({("gpu0", "nvswitch0")})
    assert 2 == len(routes.route("gpu0", "gpu1"))
    with pytest.raises(NoRoute):  # the host passes nothing on, the NIC leads nowhere
        routes.route("gpu0", "gpu1", down=down)


def test_no_route() -> None:
    """A target cut off is reported with both ends and all that is down, each direction once."""
    routes = Routes(two_switches())
    down = frozenset({("right", "middle0"), routes.number["a", "left"]})
    with pytest.raises(NoRoute) as error:
        routes.route("b", "c", down=down)
    expected = "no route from b to c in topology test; down: a -> left, right - middle0"
    assert expected == str(error.value)
    assert 2 == len(routes.route("b", "a", down=down))


def test_faulty_names() -> None:
    """A node or link that does not exist is reported by its name."""
    routes = Routes(two_switches())
    with pytest.raises(ValueError, match="no node 'e' in topology test"):
        routes.route("a", "e")
    with pytest.raises(ValueError, match="no node 'e' in topology test"):
        routes.route("e", "a")
    with pytest.raises(ValueError, match="no link between a and b in topology test"):
        routes.route("a", "c", down=frozenset({("a", "b")}))


def test_to_itself() -> None:
    """A node reaches itself over no link, at any width."""
    routes = Routes(two_switches())
    assert () == routes.route("a", "a")
    assert (0.0, math.inf) == (routes.latency_s(()), routes.bytes_per_s(()))


def test_common_switch() -> None:
    """The switch that joins some devices, and an error that names them when none does."""
    routes = Routes(two_switches())
    assert "right" == routes.switch(["c", "d"])
    with pytest.raises(ValueError, match="no switch of topology test joins a, c"):
        routes.switch(["a", "c"])
    assert "nvswitch0" == Routes(load("h100-8")).switch(load("h100-8").devices)
