"""Topology files, good and bad, and the topologies that come with simcluster."""

import json
import re
from pathlib import Path

import networkx as nx
import pytest

from simcluster.catalog import entries
from simcluster.files.problems import InputError
from simcluster.files.source import parse, read
from simcluster.topology.measure import path
from simcluster.topology.model import MAX_NODES, Topology
from simcluster.topology.read import TopologyFile, folder, from_document, load, names

FILES = Path(__file__).resolve().parents[2] / "files" / "topology"
EXPECTED = re.compile(r"^(?:#|<!--) expect: (\d+): (.*?): (.*?)(?: -->)?$", re.MULTILINE)


def same_graph(one: Topology, other: Topology) -> bool:
    def edges(topology: Topology) -> set[object]:
        return {(frozenset((a, b)), *sorted(data.items())) for a, b, data in topology.graph.edges(data=True)}

    return list(one.graph.nodes(data=True)) == list(other.graph.nodes(data=True)) and edges(one) == edges(other)


@pytest.mark.parametrize("file", sorted((FILES / "valid").glob("*.yaml")), ids=lambda file: file.stem)
def test_valid_files_are_read(file: Path) -> None:
    """Each valid file gives a topology with devices, named after the file or what it imports."""
    result = load(file.name, file.parent)

    assert result.devices
    assert Path(result.source).is_file()


@pytest.mark.parametrize("file", sorted((FILES / "invalid").iterdir()), ids=lambda file: file.name)
def test_invalid_files_tell_everything(file: Path) -> None:
    """Each invalid file gives exactly the problems that its comments announce, with lines and paths."""
    announced = EXPECTED.findall(file.read_text())

    with pytest.raises(InputError) as caught:
        load(str(file))

    problems = caught.value.problems
    assert sorted((int(line), where) for line, where, _ in announced) == sorted((p.line, p.path) for p in problems)
    for line, where, found in announced:
        assert any((p.line, p.path) == (int(line), where) and found in p.found for p in problems), found
    assert all(problem.expected for problem in problems)


def test_unknown_names_get_their_neighbour() -> None:
    """A misspelt node, device and link are reported with the nearest right one."""
    with pytest.raises(InputError) as caught:
        load("unknown-node.yaml", FILES / "invalid")
    assert "did you mean 'gpu1'?" in {problem.expected for problem in caught.value.problems}

    with pytest.raises(InputError) as caught:
        load("unknown-names.yaml", FILES / "invalid")
    assert {"did you mean 'h100-sxm'?", "did you mean 'nvlink4'?"} <= {p.expected for p in caught.value.problems}


class TestWritten:
    def test_catalogue_links_count_a_switch_once(self) -> None:
        """Through a switch, two edges of a catalogue link add up to its latency from end to end."""
        route = path(load("two-servers.yaml", FILES / "valid"), "a/gpu0", "a/gpu1")

        assert route.latency_s == pytest.approx(entries.link("nvlink4").latency_s)
        assert route.bytes_per_s == 450e9

    def test_figures_beside_a_link_hold(self) -> None:
        """A value given with a link's name replaces the catalogue's figure; parallel links add up."""
        graph = load("two-servers.yaml", FILES / "valid").graph

        assert {"link": "ethernet-100g", "bytes_per_s": 12.5e9, "latency_s": 1e-05, "count": 1} == graph.edges[
            "store", "network"
        ]
        assert graph.edges["a/switch", "network"]["bytes_per_s"] == 100e9
        assert graph.edges["b/switch", "network"]["bytes_per_s"] == 12.5e9
        assert graph.nodes["store"]["capacity_bytes"] == 2e12

    def test_order_is_the_files(self) -> None:
        """Devices come in the order in which they are written."""
        assert load("two-servers.yaml", FILES / "valid").devices == ("a/gpu0", "a/gpu1", "b/gpu0", "b/gpu1")

    def test_in_a_scenario(self) -> None:
        """A topology written in place is the same as one in a file, and its faults have the scenario's lines."""
        text = "title: x\ntopology:\n  generate: {kind: star, device: h100-sxm, devices: 4, link: nvlink4}\n"

        assert len(from_document(parse(text, "chat.yaml"), ("topology",)).devices) == 4
        with pytest.raises(InputError) as caught:
            from_document(parse(text.replace("star", "stair"), "chat.yaml"), ("topology",))
        assert [("chat.yaml", 3, "topology.generate")] == [
            (problem.file, problem.line, problem.path) for problem in caught.value.problems
        ]

    def test_many_unknown_names_stay_cheap(self) -> None:
        """Tens of thousands of faults are reported without searching a neighbour for each."""
        nodes = "\n".join(f"  - {{name: gpu{number}, kind: switch}}" for number in range(2000))
        links = "\n".join(f"  - {{from: a{number}, to: b{number}, link: nvlink4}}" for number in range(5000))

        with pytest.raises(InputError) as caught:
            from_document(parse(f"nodes:\n{nodes}\nlinks:\n{links}\n", "big.yaml"))

        assert len(caught.value.problems) == 10_000

    def test_schema_describes_the_file(self) -> None:
        """The JSON schema names the four forms and all generators."""
        schema = TopologyFile.model_json_schema()

        assert {"title", "generate", "nodes", "links", "parts", "import"} == set(schema["properties"])
        assert {"Wafer", "GpuCluster", "FatTree", "NodeEntry", "LinkEntry"} <= set(schema["$defs"])


class TestImported:
    @pytest.mark.parametrize("name", ["wse3-1", "h100-2x8", "wse3-memoryx", "groq-576"])
    @pytest.mark.parametrize("key", ["edges", "links"])
    def test_node_link_json_comes_back_the_same(self, name: str, key: str, tmp_path: Path) -> None:
        """A topology written by networkx as node-link JSON and read again is the same graph."""
        whole = load(name)
        data = nx.node_link_data(whole.graph, edges=key)
        (tmp_path / "graph.json").write_text(json.dumps(data))

        again = load("graph.json", tmp_path)

        assert again.devices == whole.devices
        assert again.kind == "import"
        assert same_graph(whole, again)

    @pytest.mark.parametrize("name", ["h100-2x8", "wse3-9"])
    def test_graphml_comes_back_the_same(self, name: str, tmp_path: Path) -> None:
        """A topology written by networkx as GraphML and read again is the same graph."""
        whole = load(name)
        nx.write_graphml(whole.graph, tmp_path / "graph.graphml")

        assert same_graph(whole, load("graph.graphml", tmp_path))

    def test_parallel_links_are_in_the_figure(self) -> None:
        """In an imported graph bytes_per_s is the edge's sum, as in the graph itself; other attributes stay."""
        graph = load("pair.json", FILES / "valid").graph

        assert graph.edges["gpu0", "1"]["bytes_per_s"] == 1.8e12
        assert graph.nodes["gpu0"]["colour"] == "red"

    def test_relative_to_the_file_that_imports(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """An import is looked up in the folder of the file that names it, wherever the program runs."""
        monkeypatch.chdir(tmp_path)

        assert len(from_document(read(FILES / "valid" / "imported-json.yaml")).devices) == 2

    @pytest.mark.parametrize(
        ("text", "found"),
        [
            ('{"nodes": [], "edges": [], "links": []}', "both edges and links"),
            ('{"nodes": []}', "no edges"),
            ('{"directed": true, "nodes": [], "edges": []}', "a directed graph"),
            ('{"nodes": [{"id": "a", "kind": "switch", "more": {"a": 1}}], "edges": []}', "attribute 'more'"),
            ('{"nodes": [{"id": "a", "kind": "switch", "x": NaN, "y": 0}], "edges": []}', "'NaN'"),
            ('{"nodes": [{"id": "a b", "kind": "switch"}], "edges": []}', "'a b'"),
            ('{"nodes": [{"id": "a", "kind": "switch"}], "edges": []}', "no device"),
            ('["a"]', "a list where a mapping belongs"),
            ('{"nodes": [', "not YAML"),
        ],
    )
    def test_bad_json(self, text: str, found: str, tmp_path: Path) -> None:
        """What cannot be a topology is refused in words."""
        (tmp_path / "bad.json").write_text(text)

        with pytest.raises(InputError, match=re.escape(found)):
            load("bad.json", tmp_path)

    def test_parallel_edges_of_a_multigraph(self, tmp_path: Path) -> None:
        """Two edges between two nodes are refused: which figures would hold?"""
        graph: nx.MultiGraph[str] = nx.MultiGraph()
        graph.add_node("a", kind="device", device="h100-sxm")
        graph.add_node("b", kind="device", device="h100-sxm")
        graph.add_edge("a", "b", link="nvlink4")
        graph.add_edge("a", "b", link="pcie5")
        nx.write_graphml(graph, tmp_path / "multi.graphml")

        with pytest.raises(InputError, match="a second link between 'a' and 'b'"):
            load("multi.graphml", tmp_path)

    def test_sizes_are_limited_before_building(self, tmp_path: Path) -> None:
        """GraphML with more nodes than are read, or nested without end, is refused while scanning."""
        nodes = "".join(f'<node id="n{number}"/>' for number in range(MAX_NODES + 1))
        (tmp_path / "many.graphml").write_text(f'<graphml><graph edgedefault="undirected">{nodes}</graph></graphml>')
        (tmp_path / "deep.graphml").write_text("<graphml>" * 100_000)

        with pytest.raises(InputError, match="the graph is too large"):
            load("many.graphml", tmp_path)
        with pytest.raises(InputError, match="nested deeper"):
            load("deep.graphml", tmp_path)

    def test_other_encodings_do_not_hide_a_doctype(self, tmp_path: Path) -> None:
        """Only UTF-8 is read, whatever the file says, so nothing can be smuggled in UTF-16 or UTF-7."""
        text = '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE a [<!ENTITY b "c">]><graphml/>'
        (tmp_path / "wide.graphml").write_bytes(text.encode("utf-16"))
        (tmp_path / "lying.graphml").write_text(text)
        (tmp_path / "seven.graphml").write_text(
            '<?xml version="1.0" encoding="utf-7"?>+ADwAIQ-DOCTYPE a +AFsAPAAh-ENTITY b "c"+AD4AXQA+-<graphml/>'
        )

        for name in ("wide", "lying", "seven"):
            with pytest.raises(InputError):
                load(f"{name}.graphml", tmp_path)


class TestShipped:
    def test_all_are_there(self) -> None:
        """The folder holds the wafers, nodes, clusters and other systems that scenarios use."""
        wafers = {"wse1-1", "wse2-1", "wse3-1", "wse3-memoryx", *(f"wse3-{n}" for n in (4, 5, 9, 60, 120))}
        gpus = {"a100-8", "h100-8", "h200-8", "b200-8", "h100-2x8", "h100-4x8", "h100-8x8", "gb200-nvl72"}

        assert wafers | gpus | {"groq-576", "sn40l-16"} <= set(names())

    @pytest.mark.parametrize("name", names())
    def test_each_is_what_its_name_says(self, name: str) -> None:
        """The number of devices is in the name, and the file says in a comment what it is."""
        result = load(name)
        expected = 0
        for part in name.split("-and-"):
            numbers = [int(number) for number in re.findall(r"\d+", part.partition("-")[2])] or [1]
            expected += numbers[0] if len(numbers) == 1 else numbers[0] * numbers[1]

        assert len(result.devices) == expected
        assert result.title != name
        assert (folder() / f"{name}.yaml").read_text().startswith("# ")

    def test_unknown_name(self) -> None:
        """A bare name that does not exist is reported with its neighbour."""
        with pytest.raises(entries.UnknownName) as caught:
            load("wse3-40")
        assert caught.value.found == "no topology 'wse3-40'"
        assert caught.value.expected.startswith("did you mean 'wse3-")

    @pytest.mark.parametrize("name", ["../secret", "..", "/etc/passwd", "a/b.yaml", "missing.yaml", ""])
    def test_paths_are_files(self, name: str, tmp_path: Path) -> None:
        """What is not a bare name is a path, and no file there is an input error."""
        with pytest.raises(InputError):
            load(name, tmp_path)
