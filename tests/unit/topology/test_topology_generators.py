"""Generated topologies have the sizes, names and figures that are published or follow from the catalogue."""

from pathlib import Path
from typing import Any

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from simcluster.catalog import entries
from simcluster.topology.generate import GENERATORS, Generate, generate
from simcluster.topology.measure import bisection_bytes_per_s, path, unreachable
from simcluster.topology.model import MAX_NODES, NODE_KINDS, Graph, Topology, topology

EXAMPLES: list[dict[str, Any]] = [
    {"kind": "wafer", "device": "wse-1"},
    {"kind": "wafer", "device": "wse-2"},
    {"kind": "wafer", "device": "wse-3"},
    {"kind": "wafer", "device": "wse-3", "interior": "none"},
    {"kind": "wafer_pipeline", "device": "wse-3", "wafers": 9, "link": "swarmx"},
    {"kind": "wafer_memoryx", "device": "wse-3", "link": "swarmx", "capacity": "12 TB"},
    {"kind": "gpu_node", "device": "h100-sxm", "link": "nvlink4"},
    {"kind": "gpu_cluster", "device": "h100-sxm", "nodes": 3, "link": "nvlink4", "network": "infiniband-ndr"},
    {
        "kind": "gpu_cluster", "device": "b200", "nodes": 9, "gpus_per_node": 4, "link": "nvlink5",
        "network": "infiniband-xdr", "spines": 2,
    },
    {"kind": "nvl72", "device": "gb200", "link": "nvlink5"},
    {"kind": "groq", "device": "groq-lpu", "racks": 1, "link": "groq-c2c"},
    {"kind": "groq", "device": "groq-lpu", "racks": 9, "link": "groq-c2c"},
    {"kind": "sn40l", "device": "sn40l", "link": "sn40l-fabric"},
    {"kind": "star", "device": "h100-sxm", "devices": 33, "link": "nvlink4"},
    {"kind": "ring", "device": "mi300x", "devices": 8, "link": "xgmi"},
    {"kind": "fully_connected", "device": "mi300x", "devices": 8, "link": "xgmi"},
    {"kind": "mesh", "device": "wse-3", "rows": 2, "columns": 3, "link": "swarmx"},
    {"kind": "fat_tree", "device": "h100-sxm", "k": 4, "link": "infiniband-ndr"},
]  # fmt: skip


def parameters(**entry: Any) -> Generate:
    return TypeAdapter[Generate](Generate).validate_python(entry)


def built(**entry: Any) -> Topology:
    checked = parameters(**entry)
    return topology("test", "", generate(checked), checked.kind, "")


@pytest.mark.parametrize("entry", EXAMPLES, ids=lambda entry: f"{entry['kind']}-{entry['device']}")
class TestEveryGenerator:
    def test_size_is_known_before_building(self, entry: dict[str, Any]) -> None:
        """The size counted beforehand is the size built."""
        graph = generate(parameters(**entry))

        assert parameters(**entry).size() == (len(graph), graph.number_of_edges())

    def test_attributes_are_there(self, entry: dict[str, Any]) -> None:
        """Every node says its kind, group and place, every device its catalogue name, every edge its figures."""
        graph = generate(parameters(**entry))

        for _, node in graph.nodes(data=True):
            assert node["kind"] in NODE_KINDS
            assert node["group"]
            assert {"x", "y", "width", "height"} <= node.keys()
            assert (node["kind"] == "device") == ("device" in node)
        for _, _, edge in graph.edges(data=True):
            assert edge["bytes_per_s"] > 0
            assert edge["latency_s"] >= 0
            assert edge["count"] >= 1
            assert edge["link"] == "" or entries.link(edge["link"])

    def test_is_connected(self, entry: dict[str, Any]) -> None:
        """All nodes are joined, and devices even without hosts and memories."""
        result = built(**entry)

        assert nx.is_connected(result.graph)
        assert unreachable(result.graph, result.devices) == []

    def test_is_the_same_every_time(self, entry: dict[str, Any]) -> None:
        """Nodes and edges come in the same order with the same attributes."""
        one, two = generate(parameters(**entry)), generate(parameters(**entry))

        assert list(one.nodes(data=True)) == list(two.nodes(data=True))
        assert list(one.edges(data=True)) == list(two.edges(data=True))


def test_every_kind_has_an_example_and_a_function() -> None:
    """Each generator can be named in a file, and each kind that can be named has a generator."""
    schema = TypeAdapter[Generate](Generate).json_schema()

    assert set(GENERATORS) == set(schema["discriminator"]["mapping"])
    assert set(GENERATORS) == {entry["kind"] for entry in EXAMPLES}


def test_a_finished_graph_cannot_be_changed() -> None:
    """networkx refuses to add to the graph of a topology."""
    result = built(kind="nvl72", device="gb200", link="nvlink5")

    with pytest.raises(nx.NetworkXError, match=r"[Ff]rozen"):
        result.graph.add_node("gpu72")


class TestWafers:
    def test_die_borders_add_up_to_the_mesh(self) -> None:
        """The links across a column of borders are all 762 rows of a WSE-3 at 4 bytes a cycle and 1 GHz."""
        graph = built(kind="wafer", device="wse-3").graph
        across = [graph.edges[f"wafer0/die{row}_2", f"wafer0/die{row}_3"] for row in range(12)]

        assert sum(edge["bytes_per_s"] for edge in across) == pytest.approx(762 * 4 * 1e9)
        assert sum(edge["count"] for edge in across) == 762

    def test_crossing_all_dies_takes_a_cycle_a_core(self) -> None:
        """Seven dies from west to east are 1172 cores at 1 GHz; from first to last lie six sevenths of them."""
        route = path(built(kind="wafer", device="wse-3"), "wafer0/die0_0", "wafer0/die0_6")

        assert route.latency_s == pytest.approx(1.172e-6 * 6 / 7)
        assert set(route.links) == {"wafer-mesh"}

    @pytest.mark.parametrize(("device", "rows", "columns"), [("wse-2", 757, 996), ("wse-3", 762, 1172)])
    def test_bisection_of_the_dies(self, device: str, rows: int, columns: int) -> None:
        """Halving 12 x 7 dies cuts all rows, and the width of one die where the cut steps aside."""
        grid = entries.device(device).grid
        assert grid is not None
        step = (4 * columns // 7) - (3 * columns // 7)

        found = bisection_bytes_per_s(built(kind="wafer", device=device), "die")

        assert found == pytest.approx((rows + step) * grid.link_bytes_per_cycle * grid.clock_hz)

    def test_ports_make_up_the_io(self) -> None:
        """Twelve ports of 100 Gb/s are 150 GB/s, spread over the west and the east edge."""
        graph = built(kind="wafer", device="wse-3").graph
        ports = list(graph.adj["wafer0"])
        edge_dies = [next(die for die in graph.adj[port] if "die" in die) for port in ports]

        assert sum(graph.edges["wafer0", port]["bytes_per_s"] for port in ports) == pytest.approx(150e9)
        assert len(set(edge_dies)) == 12
        assert {die.rpartition("_")[2] for die in edge_dies} == {"0", "6"}

    @pytest.mark.parametrize("wafers", [2, 4, 9, 60, 120])
    def test_neighbours_are_5_us_and_150_GB_per_s_apart(self, wafers: int) -> None:
        """The published latency from wafer to wafer is paid once, not at both ends."""
        result = built(kind="wafer_pipeline", device="wse-3", wafers=wafers, link="swarmx")
        route = path(result, f"wafer{wafers - 2}", f"wafer{wafers - 1}")

        assert route.latency_s == pytest.approx(5e-6, rel=1e-12)
        assert route.bytes_per_s == pytest.approx(150e9)
        assert result.devices == tuple(f"wafer{number}" for number in range(wafers))

    def test_memoryx_feeds_at_the_wafers_io(self) -> None:
        """Weights from the MemoryX come at 150 GB/s; its capacity is the one given."""
        result = built(kind="wafer_memoryx", device="wse-3", link="swarmx", capacity="12 TB")

        assert path(result, "memoryx0", "wafer0").bytes_per_s == pytest.approx(150e9)
        assert result.graph.nodes["memoryx0"]["capacity_bytes"] == 12e12
        assert result.devices == ("wafer0",)


class TestGpus:
    @pytest.mark.parametrize(
        ("device", "link", "bytes_per_s"),
        [("a100-sxm-80", "nvlink3", 300e9), ("h100-sxm", "nvlink4", 450e9), ("b200", "nvlink5", 900e9)],
    )
    def test_gpus_meet_in_one_switch_at_full_speed(self, device: str, link: str, bytes_per_s: float) -> None:
        """Two GPUs of a node are one NVSwitch apart, at the latency of the catalogue from end to end."""
        route = path(built(kind="gpu_node", device=device, link=link), "gpu0", "gpu7")

        assert route.nodes == ("gpu0", "nvswitch0", "gpu7")
        assert route.bytes_per_s == bytes_per_s
        assert route.latency_s == pytest.approx(entries.link(link).latency_s, rel=1e-12)

    def test_one_rail_is_one_switch(self) -> None:
        """GPUs of equal number meet in their rail switch: 50 GB/s, one InfiniBand and two PCI Express latencies."""
        result = built(**EXAMPLES[7])
        route = path(result, "node0/gpu5", "node2/gpu5")
        expected_s = entries.link("infiniband-ndr").latency_s + 2 * entries.link("pcie5").latency_s

        assert route.nodes == ("node0/gpu5", "node0/nic5", "rail5", "node2/nic5", "node2/gpu5")
        assert route.bytes_per_s == 50e9
        assert route.latency_s == pytest.approx(expected_s, rel=1e-12)

    def test_no_path_leads_through_a_host(self) -> None:
        """Between rails, traffic takes the NVSwitch of a node and not its host, which is as few hops away."""
        route = path(built(**EXAMPLES[7]), "node0/gpu0", "node1/gpu1")

        assert "node0/nvswitch0" in route.nodes or "node1/nvswitch0" in route.nodes
        assert not [node for node in route.nodes if "host" in node]

    def test_spines_are_not_oversubscribed(self) -> None:
        """The links of a rail to the spines add up to its links to the nodes."""
        graph = built(**EXAMPLES[8]).graph
        up = sum(graph.edges["rail3", f"spine{spine}"]["bytes_per_s"] for spine in range(2))
        down = sum(graph.edges["rail3", f"node{node}/nic3"]["bytes_per_s"] for node in range(9))

        assert up == pytest.approx(down)

    def test_names_tell_node_and_place(self) -> None:
        """Devices are counted node by node."""
        devices = built(**EXAMPLES[7]).devices

        assert devices[0] == "node0/gpu0"
        assert devices[13] == "node1/gpu5"
        assert len(devices) == 24

    def test_nvl72_keeps_the_total_per_gpu(self) -> None:
        """72 GPUs in 18 trays, 900 GB/s each, all in one switch."""
        result = built(kind="nvl72", device="gb200", link="nvlink5")
        trays = {result.graph.nodes[name]["tray"] for name in result.devices}

        assert len(result.devices) == 72
        assert len(trays) == 18
        assert path(result, "gpu0", "gpu71").bytes_per_s == 900e9


@pytest.fixture(scope="module")
def racks() -> Topology:
    return built(kind="groq", device="groq-lpu", racks=8, link="groq-c2c")


class TestGroq:
    def test_has_eleven_ports_a_chip(self, racks: Topology) -> None:
        """Seven ports of an LPU go to its node, at most four leave it, and one carries an eleventh of 235 GB/s."""
        graph = racks.graph
        for name in racks.devices:
            groups = [graph.nodes[other]["group"] for other in graph.adj[name]]
            assert groups.count(graph.nodes[name]["group"]) == 7
            assert 3 <= len(groups) - 7 <= 4
        assert graph.edges["lpu0", "lpu1"]["bytes_per_s"] == pytest.approx(235e9 / 11)
        assert graph.edges["lpu0", "lpu1"]["latency_s"] == pytest.approx(300e-9)

    def test_every_node_reaches_the_next_in_one_hop(self, racks: Topology) -> None:
        """The first LPUs of consecutive nodes are joined, across racks too."""
        pairs = [(f"lpu{8 * node}", f"lpu{8 * node + 8}") for node in range(71)]

        assert [pair for pair in pairs if not racks.graph.has_edge(*pair)] == []

    def test_two_links_join_all_nodes_of_a_rack(self, racks: Topology) -> None:
        """Any two nodes of a rack have exactly two links, and any two racks eighteen."""
        graph: Graph = racks.graph
        between_nodes: dict[frozenset[str], int] = {}
        between_racks: dict[frozenset[int], int] = {}
        for a, b in graph.edges:
            one, two = graph.nodes[a], graph.nodes[b]
            if one["rack"] != two["rack"]:
                key = frozenset((one["rack"], two["rack"]))
                between_racks[key] = between_racks.get(key, 0) + 1
            elif one["group"] != two["group"]:
                pair = frozenset((one["group"], two["group"]))
                between_nodes[pair] = between_nodes.get(pair, 0) + 1

        assert set(between_nodes.values()) == {2}
        assert len(between_nodes) == 8 * 36
        assert set(between_racks.values()) == {18}
        assert len(between_racks) == 28


def test_sn40l_sockets_share_one_latency() -> None:
    """Sockets are one fabric apart, at its latency from socket to socket."""
    route = path(built(kind="sn40l", device="sn40l", link="sn40l-fabric"), "rdu0", "rdu15")

    assert route.nodes == ("rdu0", "fabric0", "rdu15")
    assert route.latency_s == pytest.approx(entries.link("sn40l-fabric").latency_s)


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 12), columns=st.integers(1, 12))
def test_meshes_are_grids(rows: int, columns: int) -> None:
    """A mesh is the grid graph of its rows and columns."""
    graph = built(kind="mesh", device="h100-sxm", rows=rows, columns=columns, link="nvlink4").graph

    assert nx.is_isomorphic(nx.grid_2d_graph(rows, columns), graph)


class TestAbsurdSizes:
    @pytest.mark.parametrize(
        "entry",
        [
            {"kind": "mesh", "device": "h100-sxm", "rows": 10**12, "columns": 10**12, "link": "nvlink4"},
            {"kind": "fully_connected", "device": "h100-sxm", "devices": 1002, "link": "nvlink4"},
            {"kind": "fat_tree", "device": "h100-sxm", "k": 10**12, "link": "nvlink4"},
            {"kind": "star", "device": "h100-sxm", "devices": MAX_NODES, "link": "nvlink4"},
            {"kind": "wafer_pipeline", "device": "wse-3", "wafers": 10**9, "link": "swarmx"},
            {
                "kind": "gpu_cluster", "device": "h100-sxm", "nodes": 10**6, "link": "nvlink4",
                "network": "infiniband-ndr",
            },
        ],
        ids=lambda entry: entry["kind"],
    )  # fmt: skip
    def test_are_refused_before_building(self, entry: dict[str, Any]) -> None:
        """Nothing is built when the count is beyond the limits."""
        with pytest.raises(ValidationError, match="at most 20,000 nodes and 500,000 links"):
            parameters(**entry)

    def test_limits_are_inclusive(self) -> None:
        """The largest star that may be built is accepted."""
        assert parameters(kind="star", device="h100-sxm", devices=MAX_NODES - 1, link="nvlink4").size() == (
            MAX_NODES,
            MAX_NODES - 1,
        )


def test_the_docs_name_every_generator_and_parameter() -> None:
    """The table of generators in the docs has a row for each, with all of its parameters."""
    text = (Path(__file__).resolve().parents[3] / "docs" / "topologies.md").read_text()

    for entry in EXAMPLES:
        row = next(line for line in text.splitlines() if line.startswith(f"| `{entry['kind']}` |"))
        for name in type(parameters(**entry)).model_fields.keys() - {"kind"}:
            assert f"`{name}" in row
