"""Paths, distances, bisections and groups against closed forms."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from simcluster.files.source import parse
from simcluster.topology.generate import Generate, generate
from simcluster.topology.measure import GroupLink, bisection_bytes_per_s, diameter, distances, group_link, path
from simcluster.topology.model import Topology, topology
from simcluster.topology.read import from_document, load

LINK_BYTES_PER_S = 450e9


def built(kind: str, **entry: Any) -> Topology:
    whole = {"device": "h100-sxm", "link": "nvlink4", "kind": kind} | entry
    return topology("test", "", generate(TypeAdapter[Generate](Generate).validate_python(whole)), kind, "")


def written(text: str) -> Topology:
    return from_document(parse(text, "test.yaml"))


class TestBisection:
    @pytest.mark.parametrize(("rows", "columns"), [(4, 6), (6, 4), (2, 8), (8, 8), (1, 6)])
    def test_mesh(self, rows: int, columns: int) -> None:
        """An a x b mesh with an even longer side is cut across it: as many links as the shorter side is long."""
        found = bisection_bytes_per_s(built("mesh", rows=rows, columns=columns))

        assert found == pytest.approx(min(rows, columns) * LINK_BYTES_PER_S)

    @pytest.mark.parametrize("devices", [2, 7, 8, 72])
    def test_switch(self, devices: int) -> None:
        """A switch lets half of the devices send at full speed: N/2 B."""
        found = bisection_bytes_per_s(built("star", devices=devices))

        assert found == pytest.approx(devices // 2 * LINK_BYTES_PER_S)

    def test_ring(self) -> None:
        """A ring is cut in two places."""
        assert bisection_bytes_per_s(built("ring", devices=10)) == pytest.approx(2 * LINK_BYTES_PER_S)

    @pytest.mark.parametrize("devices", [2, 5, 8])
    def test_fully_connected(self, devices: int) -> None:
        """Every device of one half has a link to every device of the other."""
        found = bisection_bytes_per_s(built("fully_connected", devices=devices))

        assert found == pytest.approx(devices // 2 * math.ceil(devices / 2) * LINK_BYTES_PER_S)

    @pytest.mark.parametrize("k", [2, 4, 6])
    def test_fat_tree(self, k: int) -> None:
        """A k-ary fat tree has full bisection: half of its k^3/4 devices send at full speed."""
        assert bisection_bytes_per_s(built("fat_tree", k=k)) == pytest.approx(k**3 // 8 * LINK_BYTES_PER_S)

    def test_rails(self) -> None:
        """Between two halves of a cluster lie the NICs of one half."""
        found = bisection_bytes_per_s(load("h100-4x8"))

        assert found == pytest.approx(2 * 8 * 50e9)

    def test_one_device_has_none(self) -> None:
        """A single device cannot be halved."""
        with pytest.raises(ValueError, match="a bisection needs two"):
            bisection_bytes_per_s(load("wse3-1"))


class TestPath:
    TRIANGLE = """
        nodes:
          - {name: a, kind: device, device: h100-sxm}
          - {name: b, kind: device, device: h100-sxm}
          - {name: slow, kind: switch}
          - {name: fast, kind: switch}
          - {name: twin, kind: switch}
          - {name: host, kind: host}
        links:
          - {from: a, to: slow, bandwidth: 100 GB/s, latency: 3 us}
          - {from: slow, to: b, bandwidth: 100 GB/s, latency: 3 us}
          - {from: a, to: twin, bandwidth: 9 GB/s, latency: 2 us}
          - {from: twin, to: b, bandwidth: 9 GB/s, latency: 1 us}
          - {from: a, to: fast, bandwidth: 20 GB/s, latency: 1 us}
          - {from: fast, to: b, bandwidth: 10 GB/s, latency: 2 us, count: 3}
          - {from: a, to: host, bandwidth: 100 GB/s, latency: 0 us}
          - {from: host, to: b, bandwidth: 100 GB/s, latency: 0 us}
        """

    def test_prefers_latency_then_order(self) -> None:
        """Of equally many hops the quickest path wins, of equally quick ones the node that was written first."""
        assert path(written(self.TRIANGLE), "a", "b").nodes == ("a", "fast", "b")
        assert path(written(self.TRIANGLE), "b", "a").nodes == ("b", "fast", "a")

    def test_adds_latency_and_takes_the_narrowest(self) -> None:
        """Latency is the sum over the edges, bandwidth the minimum; three parallel links are three times as wide."""
        route = path(written(self.TRIANGLE), "a", "b")

        assert route.latency_s == pytest.approx(3e-6)
        assert route.bytes_per_s == 20e9

    def test_may_begin_or_end_at_a_host(self) -> None:
        """Hosts send and receive, though nothing passes through them."""
        assert path(written(self.TRIANGLE), "host", "b").nodes == ("host", "b")
        assert path(written(self.TRIANGLE), "a", "host").nodes == ("a", "host")

    def test_to_itself_is_empty(self) -> None:
        """A node is at no distance from itself."""
        route = path(written(self.TRIANGLE), "a", "a")

        assert (("a",), (), 0, math.inf) == (route.nodes, route.links, route.latency_s, route.bytes_per_s)

    def test_unknown_node(self) -> None:
        """A name that is not there is an error that names a neighbour."""
        with pytest.raises(ValueError, match="did you mean 'gpu1'"):
            path(built("ring", devices=4), "gpu0", "gpu_1")


class TestDistances:
    def test_mesh_is_manhattan(self) -> None:
        """On a mesh, hops are the sum of the distances along both sides."""
        result = built("mesh", rows=3, columns=5)
        hops, latency_s = distances(result)

        for a in range(15):
            for b in range(15):
                assert hops[a, b] == abs(a // 5 - b // 5) + abs(a % 5 - b % 5)
        assert latency_s == pytest.approx(hops * 0.6e-6, rel=1e-9)

    @settings(max_examples=30, deadline=None)
    @given(
        edges=st.sets(st.tuples(st.integers(0, 6), st.integers(0, 6)).filter(lambda pair: pair[0] < pair[1])),
        latencies_us=st.lists(st.integers(0, 5), min_size=50, max_size=50),
    )
    def test_agree_with_the_single_path(self, edges: set[tuple[int, int]], latencies_us: list[int]) -> None:
        """All pairs at once give the hops and latency of each path on its own, on any graph."""
        joined = sorted(edges | {(number, number + 1) for number in range(6)})
        nodes = "".join(f"\n  - {{name: n{number}, kind: device, device: h100-sxm}}" for number in range(7))
        links = "".join(
            f"\n  - {{from: n{a}, to: n{b}, bandwidth: 1 GB/s, latency: {latency} us}}"
            for (a, b), latency in zip(joined, latencies_us, strict=False)
        )
        result = written(f"nodes:{nodes}\nlinks:{links}")
        hops, latency_s = distances(result)

        for a, one in enumerate(result.devices):
            for b, other in enumerate(result.devices):
                route = path(result, one, other)
                assert hops[a, b] == len(route.links)
                assert latency_s[a, b] == pytest.approx(route.latency_s, abs=1e-15)

    @pytest.mark.parametrize(
        ("name", "hops"),
        [("h100-8", 2), ("gb200-nvl72", 2), ("h100-2x8", 6), ("wse3-9", 4), ("wse3-1", 0), ("groq-576", 5)],
    )
    def test_diameters(self, name: str, hops: int) -> None:
        """The largest distance follows from the shape."""
        assert diameter(load(name)).hops == hops


class TestGroupLink:
    def test_one_node(self) -> None:
        """GPUs of one node use its NVLink."""
        ranks = [f"node1/gpu{number}" for number in range(8)]

        assert group_link(load("h100-2x8"), ranks) == GroupLink(("nvlink4",), False)

    def test_two_nodes(self) -> None:
        """GPUs of two nodes use NVLink inside and InfiniBand between, however wide PCI Express is."""
        result = load("h100-2x8")

        assert group_link(result, result.devices) == GroupLink(("nvlink4", "infiniband-ndr"), True)

    def test_one_of_each_node(self) -> None:
        """With one GPU in each node there is nothing inside."""
        found = group_link(load("h100-4x8"), [f"node{node}/gpu0" for node in range(4)])

        assert found == GroupLink(("infiniband-ndr",), True)

    def test_fast_network_behind_slow_pcie(self) -> None:
        """The link between nodes is the one that leaves the enclosure, not the narrowest on the way."""
        result = built("gpu_cluster", device="b200", link="nvlink5", nodes=2, network="infiniband-xdr")

        assert group_link(result, result.devices).links == ("nvlink5", "infiniband-xdr")

    @pytest.mark.parametrize(
        ("name", "ranks", "expected"),
        [
            ("wse3-9", ["wafer0", "wafer1"], GroupLink(("swarmx",), True)),
            ("groq-576", [f"lpu{number}" for number in range(8, 16)], GroupLink(("groq-c2c",), False)),
            ("groq-576", ["lpu0", "lpu8"], GroupLink(("groq-c2c",), True)),
            ("gb200-nvl72", ["gpu0", "gpu70"], GroupLink(("nvlink5",), False)),
            ("sn40l-16", ["rdu0", "rdu15"], GroupLink(("sn40l-fabric",), False)),
            ("wse3-1", ["wafer0"], GroupLink((), False)),
        ],
    )
    def test_other_systems(self, name: str, ranks: list[str], expected: GroupLink) -> None:
        """A switch, a full mesh and a network are distinguished by their enclosures."""
        assert group_link(load(name), ranks) == expected

    def test_ring_in_one_box(self) -> None:
        """Devices of one enclosure without a common switch use the links on the way."""
        assert group_link(built("ring", devices=6), ["gpu0", "gpu3"]) == GroupLink(("nvlink4",), False)
