"""Topologies made of several parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from simcluster.topology.measure import diameter, distances, group_link, path
from simcluster.topology.read import load

FILES = Path(__file__).resolve().parents[2] / "files" / "topology"


def test_nodes_have_their_parts_in_front_of_their_names() -> None:
    """Names, enclosures and the wafers of dies are those of the part, with its name in front of them."""
    graph = load("wse3-4-and-h100-8").graph
    wafer = graph.nodes["wafers/wafer0"]

    assert ("wafers/wafer0", "wafers") == (wafer["group"], wafer["part"])
    assert {"wafers", "gpus"} == {said["part"] for _, said in graph.nodes(data=True)}
    assert graph.edges["gpus/gpu0", "gpus/nvswitch0"] == load("h100-8").graph.edges["gpu0", "nvswitch0"]


def test_dies_belong_to_the_wafer_of_their_part(tmp_path: Path) -> None:
    """A die names its wafer as the topology has it."""
    (tmp_path / "t.yaml").write_text("parts: {left: wse3-1, right: wse3-1}\n")
    graph = load("t.yaml", tmp_path).graph
    owners = {said["part_of"] for _, said in graph.nodes(data=True) if said["kind"] == "die"}

    assert {"left/wafer0", "right/wafer0"} == owners


def test_devices_come_part_by_part() -> None:
    """Devices are in the order of the parts, each as in the topology that it comes from."""
    names = ["wafers/wafer0", "wafers/wafer1", "wafers/wafer2", "wafers/wafer3", *(f"gpus/gpu{n}" for n in range(8))]

    assert names == list(load("wse3-4-and-h100-8").devices)


@pytest.mark.parametrize(("part", "ends"), [("wafers", ("wafer0", "wafer3")), ("gpus", ("gpu1", "gpu6"))])
def test_ways_within_a_part_are_its_own(part: str, ends: tuple[str, str]) -> None:
    """Within a part, paths and the links of groups are as in the topology that it comes from."""
    whole, alone = load("wse3-4-and-h100-8"), load({"wafers": "wse3-4", "gpus": "h100-8"}[part])
    names = [f"{part}/{name}" for name in ends]
    expected = path(alone, *ends)

    found = path(whole, *names)
    assert (expected.latency_s, expected.bytes_per_s, expected.links) == (
        found.latency_s, found.bytes_per_s, found.links,
    )  # fmt: skip
    assert tuple(f"{part}/{name}" for name in expected.nodes) == found.nodes
    assert group_link(alone, ends) == group_link(whole, names)


def test_parts_without_links_are_apart() -> None:
    """No path leads from one part to the other; the diameter is that of the largest."""
    whole = load("wse3-4-and-h100-8")
    with pytest.raises(ValueError, match="no path from wafers/wafer0 to gpus/gpu0"):
        path(whole, "wafers/wafer0", "gpus/gpu0")
    hops, latency_s = distances(whole)

    assert {-1} == set(hops[:4, 4:].flat)
    assert np.isinf(latency_s[:4, 4:]).all()
    assert diameter(load("wse3-4")) == diameter(whole)


def test_links_join_parts() -> None:
    """A link between two parts makes paths between all that it joins, with its figures."""
    whole = load("parts.yaml", FILES / "valid")
    found = path(whole, "wafers/wafer1", "servers/a/gpu0")

    assert ("wafers/swarmx0", "servers/network") == found.nodes[2:4]
    assert "ethernet-100g" in found.links
    assert 12.5e9 == found.bytes_per_s


def test_parts_stand_side_by_side_in_a_drawing() -> None:
    """No box of one part lies where one of another does, and none is changed but for its place."""
    nodes = load("wse3-4-and-h100-8").graph.nodes(data=True)
    edges = {
        part: (
            min(said["x"] - said["width"] / 2 for _, said in nodes if said["part"] == part),
            max(said["x"] + said["width"] / 2 for _, said in nodes if said["part"] == part),
        )
        for part in ("wafers", "gpus")
    }

    assert edges["wafers"][1] < edges["gpus"][0]
