"""
Which replicas share links, in cases small enough to be seen at a glance.

A replica that shares none is simulated in closed form by `auto`, so a shared link that goes unseen would be an error
of that fidelity; one that is seen where none is costs time only.
"""

from __future__ import annotations

from itertools import permutations

import networkx as nx
import pytest

from simcluster.topology.model import add_link, add_node, topology
from simcluster.topology.read import load
from simcluster.topology.routes import NoRoute, Routes
from simcluster.topology.sharing import links_shared


def graph(devices: str, *links: str) -> Routes:
    """Routes over devices and switches of one letter each, capitals being switches; links as `aS`."""
    found: nx.Graph[str] = nx.Graph()
    for name in devices:
        add_node(found, name, "device", name, device="h100-sxm")
    for name in sorted({end for ends in links for end in ends if end.isupper()}):
        add_node(found, name, "switch", "network")
    for a, b in links:
        add_link(found, a, b, 4e9, 1e-6)
    return Routes(topology("test", "", found, "nodes", ""))


STAR = graph("abcdef", *(f"{name}S" for name in "abcdef"))
"""Six devices on one switch."""
TWO_SWITCHES = graph("abcdef", "aS", "bS", "cS", "dT", "eT", "fT", "ST")
"""Three devices on each of two switches, with one link between these."""


def shared(routes: Routes, *replicas: str, transfers: tuple[str, ...] = ()) -> list[bool]:
    """`links_shared` of replicas such as `ab-cd`: a stage on a and b, then one on c and d."""
    groups = [[tuple(stage) for stage in replica.split("-")] for replica in replicas]
    return links_shared(routes, groups, [(a, b) for a, b in transfers])


class TestBetweenReplicas:
    """Links of one replica against those of another."""

    def test_ports_of_one_switch_are_disjoint(self) -> None:
        """Replicas on one switch share no link: each rank has its own port."""
        assert [False, False, False] == shared(STAR, "ab", "cd", "ef")

    def test_a_single_device_uses_no_link(self) -> None:
        """A replica of one rank neither exchanges nor sends, so not even one in its place shares with it."""
        assert [False, False] == shared(STAR, "a", "ab")

    def test_a_link_between_switches(self) -> None:
        """Two replicas over both switches share the link between these; a third inside one switch does not."""
        routes = graph("abcdefg", "aS", "bS", "cS", "gS", "dT", "eT", "fT", "ST")

        assert [True, True, False] == shared(routes, "ad", "be", "cg")

    def test_exchanges_against_sends(self) -> None:
        """A send over the link on which another replica exchanges shares it, for both."""
        assert [True, True] == shared(TWO_SWITCHES, "ad", "b-e")

    def test_a_link_has_two_directions(self) -> None:
        """Sends against each other over one link do not meet; sends the same way do."""
        assert [False, False] == shared(TWO_SWITCHES, "a-d", "e-b")
        assert [True, True] == shared(TWO_SWITCHES, "a-d", "b-e")

    def test_three_chained_replicas(self) -> None:
        """The middle one shares a link with both others, so all three count although the outer two do not meet."""
        row = graph("abcdefgh", "aS", "bS", "cT", "dU", "eU", "fV", "gT", "hV", "ST", "TU", "UV")
        assert [True, True, True] == shared(row, "ac", "bd", "ge")
        assert [False, False] == shared(row, "ac", "ge")

    def test_the_order_of_replicas_does_not_matter(self) -> None:
        """Each replica has the same answer in every order."""
        replicas = ("ad", "be", "c")
        expected = dict(zip(replicas, shared(TWO_SWITCHES, *replicas), strict=True))
        for order in permutations(replicas):
            assert expected == dict(zip(order, shared(TWO_SWITCHES, *order), strict=True))


class TestWithinAReplica:
    """Links of the stages of one replica."""

    def test_its_own_sends_over_its_own_exchanges(self) -> None:
        """A send to the next stage may use the ports on which a stage exchanges."""
        assert [False] == shared(STAR, "ab-cd")

    def test_exchanges_of_two_of_its_stages(self) -> None:
        """Stages work at the same time, so a link between the ranks of two of them is shared."""
        assert [True] == shared(TWO_SWITCHES, "ad-be")
        assert [False] == shared(TWO_SWITCHES, "ab-de")


class TestTransfers:
    """Traffic of other tenants."""

    def test_over_a_port_of_a_replica(self) -> None:
        """A transfer to a rank meets what its peers send there; a replica elsewhere is not concerned."""
        assert [True, False] == shared(STAR, "ab", "cd", transfers=("ea",))

    def test_over_a_link_between_switches(self) -> None:
        """A transfer between devices of no replica shares the link that it crosses with a replica."""
        assert [True, False] == shared(TWO_SWITCHES, "ad", "b", transfers=("ce",))

    def test_only_in_its_direction(self) -> None:
        """A transfer against the sends of a replica does not meet them."""
        assert [True] == shared(TWO_SWITCHES, "a-d", transfers=("be",))
        assert [False] == shared(TWO_SWITCHES, "a-d", transfers=("eb",))

    def test_elsewhere(self) -> None:
        """A transfer over links that no replica uses changes nothing."""
        assert [False, False] == shared(STAR, "ab", "c", transfers=("de", "cf"))


def test_no_route_is_an_error() -> None:
    """Ranks that cannot reach each other are not taken for ranks that share nothing."""
    with pytest.raises(NoRoute, match="no route from a to d"):
        shared(graph("abcd", "aS", "bS", "cT", "dT"), "ad")


class TestShippedTopologies:
    """The replicas that people place most."""

    @pytest.mark.parametrize("n_ranks", [2, 4, 8])
    def test_replicas_in_one_rack(self, n_ranks: int) -> None:
        """GPUs of an NVL72 rack have ports of their own on its switch, so replicas in it are disjoint."""
        rack = load("gb200-nvl72")
        replicas = [[tuple(rack.devices[first : first + n_ranks])] for first in range(0, 72, n_ranks)]

        assert [False] * (72 // n_ranks) == links_shared(Routes(rack), replicas)

    def test_one_node_each(self) -> None:
        """A node for each replica: nothing is shared; both nodes for both: the ports are."""
        two_nodes = load("h100-2x8")
        routes, gpus = Routes(two_nodes), two_nodes.devices

        assert [False, False] == links_shared(routes, [[gpus[:8]], [gpus[8:]]])
        assert [False, False] == links_shared(routes, [[gpus[:4]], [gpus[4:8]]])
        assert [True, True] == links_shared(routes, [[gpus], [gpus]])

    def test_wafers(self) -> None:
        """Pipelines over two wafers of four in a row are disjoint; one that reaches over another's wafer is not."""
        row = load("wse3-4")
        a, b, c, d = ((name,) for name in row.devices)

        assert [False, False] == links_shared(Routes(row), [[a, b], [c, d]])
        assert [True, True] == links_shared(Routes(row), [[a, b, c], [b, d]])
