"""Generators of other vendors' systems: Groq racks of LPUs and a SambaNova node of RDUs."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Annotated, Literal

from pydantic import Field

from simcluster.catalog import entries
from simcluster.files.quantities import PositiveInt
from simcluster.topology.graph import Graph
from simcluster.topology.model import add_catalogue_link, add_node
from simcluster.topology.parameters import DeviceName, LinkName, Parameters, Size, prefix

LPUS_PER_NODE = 8
NODES_PER_RACK = 9
PORTS_PER_LPU = 11
LINKS_PER_PAIR = 2
MAX_RACKS = 9


class Groq(Parameters):
    """Racks of 72 LPUs."""

    kind: Literal["groq"]
    device: DeviceName
    racks: Annotated[int, Field(gt=0, le=MAX_RACKS)]
    link: LinkName

    def size(self) -> Size:
        nodes = self.racks * NODES_PER_RACK
        inside = math.comb(LPUS_PER_NODE, 2)
        return Size(nodes * LPUS_PER_NODE, nodes * inside + LINKS_PER_PAIR * len(_joined_nodes(self.racks)))


def groq(parameters: Groq) -> Graph:
    """
    Build LPUs `lpu0` … in nodes of eight, nodes in racks of nine; an LPU is both endpoint and switch, links are
    direct.

    Of the 11 chip-to-chip ports of an LPU seven go to the other LPUs of its node. The other four, 32 per node, make a
    Dragonfly: two links to each of the eight other nodes of the rack, and two to one node of each other rack
    (node j of a rack to node 8 - j of the other). So each node, also the last of a rack, reaches the next in one hop:
    `lpu0` and `lpu1` of both have these links. The other links go to the LPUs with most ports free.
    The catalogue's bandwidth is that of all 11 ports together; an edge is one port.

    Source:
        Abts et al., A Software-defined Tensor Streaming Multiprocessor for Large-scale Machine Learning, ISCA 2022
        (nodes of eight all-to-all, racks of nine nodes, Dragonfly, LPUs forward); how the ports of a 576-LPU system
        are spread over its racks is not published and is chosen here.
    """
    graph = Graph()
    link = entries.link(parameters.link)
    n_nodes = parameters.racks * NODES_PER_RACK
    in_a_row = math.ceil(math.sqrt(2 * parameters.racks))
    for node in range(n_nodes):
        rack, place = divmod(node, NODES_PER_RACK)
        rack_row, rack_column = _to_and_fro(rack, in_a_row)
        row, column = _to_and_fro(place, 3)
        column = 2 - column if rack_row % 2 else column
        x, y = rack_column * 16.5 + column * 5.2, -rack_row * 14.2 - row * 4.4
        for number in range(LPUS_PER_NODE):
            name = _lpu(parameters, node, number)
            at = (x + number % 4 * 1.15, y - number // 4 * 1.5)
            add_node(graph, name, "device", f"node{node}", at, (0.8, 0.8), device=parameters.device, rack=rack)
    for node in range(n_nodes):
        for a, b in combinations(range(LPUS_PER_NODE), 2):
            names = _lpu(parameters, node, a), _lpu(parameters, node, b)
            add_catalogue_link(graph, *names, link, 1 / PORTS_PER_LPU)
    used = [[0] * LPUS_PER_NODE for _ in range(n_nodes)]
    for node, other in _joined_nodes(parameters.racks):
        ends = [range(LINKS_PER_PAIR)] * 2 if other == node + 1 else [_freest(used[node]), _freest(used[other])]
        for a, b in zip(*ends, strict=True):
            used[node][a] += 1
            used[other][b] += 1
            names = _lpu(parameters, node, a), _lpu(parameters, other, b)
            add_catalogue_link(graph, *names, link, 1 / PORTS_PER_LPU)
    return graph


def _to_and_fro(number: int, columns: int) -> tuple[int, int]:
    """Find row and column of a place in a grid in which every second row is numbered backwards."""
    row, column = divmod(number, columns)
    return row, columns - 1 - column if row % 2 else column


def _lpu(parameters: Groq, node: int, number: int) -> str:
    return f"{prefix(parameters.device)}{node * LPUS_PER_NODE + number}"


def _joined_nodes(racks: int) -> list[tuple[int, int]]:
    """List the pairs of nodes with links between them, neighbours in the pipeline first."""
    last = NODES_PER_RACK - 1
    in_rack = [
        (rack * NODES_PER_RACK + a, rack * NODES_PER_RACK + b)
        for rack in range(racks)
        for a, b in combinations(range(NODES_PER_RACK), 2)
    ]
    between = [
        (a * NODES_PER_RACK + place, b * NODES_PER_RACK + last - place)
        for a, b in combinations(range(racks), 2)
        for place in range(NODES_PER_RACK)
    ]
    return sorted(in_rack + between, key=lambda pair: (pair[1] - pair[0] != 1, pair))


def _freest(used: list[int]) -> list[int]:
    """Choose the LPUs of a node that have most ports free, for the links of one pair of nodes."""
    return sorted(range(len(used)), key=lambda number: (used[number], number))[:LINKS_PER_PAIR]


class Sn40l(Parameters):
    """Sockets on the vendor's fabric."""

    kind: Literal["sn40l"]
    device: DeviceName
    sockets: PositiveInt = 16
    link: LinkName

    def size(self) -> Size:
        return Size(self.sockets + 1, self.sockets)


def sn40l(parameters: Sn40l) -> Graph:
    """
    Build `rdu0` … in one node, all on one logical switch `fabric0` with the bandwidth of the catalogue's link each.

    The wiring of the sockets is not published in detail; one switch gives every pair the same path, and the two
    edges of a path share the latency from socket to socket.
    """
    graph = Graph()
    columns = math.ceil(parameters.sockets / 2)
    names = [f"{prefix(parameters.device)}{number}" for number in range(parameters.sockets)]
    for number, name in enumerate(names):
        at = (float(number % columns), 1.2 if number < columns else -1.2)
        add_node(graph, name, "device", "node0", at, (0.8, 0.7), device=parameters.device)
    add_node(graph, "fabric0", "switch", "node0", ((columns - 1) / 2, 0.0), (columns - 0.2, 0.5))
    for name in names:
        add_catalogue_link(graph, name, "fabric0", entries.link(parameters.link))
    return graph
