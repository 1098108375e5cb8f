"""Generators of GPU systems: one NVLink node, a rail-optimised cluster of them, a rack in one NVLink domain."""

from __future__ import annotations

import math
from typing import Literal

from simcluster.catalog import entries
from simcluster.files.quantities import Count, PositiveInt
from simcluster.topology.graph import Graph
from simcluster.topology.model import add_catalogue_link, add_node
from simcluster.topology.parameters import DeviceName, LinkName, Parameters, Size, prefix

TRAYS = 18
GPUS_PER_TRAY = 4


class GpuNode(Parameters):
    """GPUs on an NVSwitch, with a NIC each and a host."""

    kind: Literal["gpu_node"]
    device: DeviceName
    gpus: PositiveInt = 8
    link: LinkName
    host_link: LinkName = "pcie5"

    def size(self) -> Size:
        return Size(2 * self.gpus + 2, 3 * self.gpus)


def gpu_node(parameters: GpuNode) -> Graph:
    """
    Build one node: `gpu0` …, each joined to the logical switch `nvswitch0` with its whole NVLink bandwidth, to its
    own NIC `nic0` … and to `host0`.

    One switch represents the four or six NVSwitch chips: every GPU has links to all of them and traffic is spread, so
    a flow gets the GPU's total bandwidth. The PCIe switches between GPU, NIC and host are not modelled.
    """
    graph = Graph()
    _add_node(graph, "", "node0", parameters.device, parameters.gpus, parameters.link, parameters.host_link)
    return graph


def _add_node(
    graph: Graph,
    inside: str,
    group: str,
    device: str,
    gpus: int,
    link: str,
    host_link: str,
    at: tuple[float, float] = (0.0, 0.0),
) -> None:
    """Add a node at a place in the drawing; `inside` is the prefix of every name in it."""
    x, y = at
    nvlink, pcie = entries.link(link), entries.link(host_link)
    middle, width = x + (gpus - 1) / 2, gpus - 0.2
    names = [f"{inside}{prefix(device)}{number}" for number in range(gpus)]
    for number, name in enumerate(names):
        add_node(graph, name, "device", group, (x + number, y), (0.8, 0.7), device=device, rail=number)
    nvswitch = add_node(graph, f"{inside}nvswitch0", "switch", group, (middle, y - 1.2), (width, 0.4))
    nics = [
        add_node(graph, f"{inside}nic{number}", "nic", group, (x + number, y + 0.95), (0.6, 0.42), rail=number)
        for number in range(gpus)
    ]
    host = add_node(graph, f"{inside}host0", "host", group, (middle, y - 2.0), (width, 0.4))
    for name, nic in zip(names, nics, strict=True):
        add_catalogue_link(graph, name, nvswitch, nvlink)
        add_catalogue_link(graph, name, nic, pcie)
        add_catalogue_link(graph, name, host, pcie)


class GpuCluster(Parameters):
    """GPU nodes on a rail-optimised network."""

    kind: Literal["gpu_cluster"]
    device: DeviceName
    nodes: PositiveInt
    gpus_per_node: PositiveInt = 8
    link: LinkName
    network: LinkName
    host_link: LinkName = "pcie5"
    spines: Count = 0

    def size(self) -> Size:
        gpus = self.gpus_per_node
        return Size(
            self.nodes * (2 * gpus + 2) + gpus + self.spines,
            self.nodes * 4 * gpus + gpus * self.spines,
        )


def gpu_cluster(parameters: GpuCluster) -> Graph:
    """
    Build nodes `node0/gpu0` … whose NIC number r is on rail switch `rail{r}`, with spine switches above if requested.

    Without spines, traffic between GPUs of different rails first crosses the NVSwitch of one of the two nodes.
    The links between a rail and the spines add up to the rail's links to the nodes, so no link is oversubscribed.
    Switch radix and cable length are not modelled.
    """
    graph = Graph()
    gpus = parameters.gpus_per_node
    network = entries.link(parameters.network)
    in_a_row = min(parameters.nodes, max(4, math.ceil(math.sqrt(parameters.nodes))))
    for node in range(parameters.nodes):
        row, column = divmod(node, in_a_row)
        at = (column * (gpus + 1.1) + 0.5 * (row % 2), -row * 4.6)
        names = (f"node{node}/", f"node{node}", parameters.device, gpus, parameters.link, parameters.host_link)
        _add_node(graph, *names, at)
    width = in_a_row * (gpus + 1.1) + parameters.spines
    for rail in range(gpus):
        at = ((width - 1) / 2, 2.4 + 0.55 * rail)
        switch = add_node(graph, f"rail{rail}", "switch", "network", at, (width, 0.3), rail=rail)
        for node in range(parameters.nodes):
            add_catalogue_link(graph, f"node{node}/nic{rail}", switch, network)
    for spine in range(parameters.spines):
        at = (in_a_row * (gpus + 1.1) - 0.5 + spine, 2.4 + 0.55 * (gpus - 1) / 2)
        switch = add_node(graph, f"spine{spine}", "switch", "network", at, (0.5, 0.55 * gpus + 0.4))
        for rail in range(gpus):
            add_catalogue_link(graph, f"rail{rail}", switch, network, parameters.nodes / parameters.spines)
    return graph


class Nvl72(Parameters):
    """A rack of 72 GPUs in one NVLink domain."""

    kind: Literal["nvl72"]
    device: DeviceName
    link: LinkName

    def size(self) -> Size:
        return Size(TRAYS * GPUS_PER_TRAY + 1, TRAYS * GPUS_PER_TRAY)


def nvl72(parameters: Nvl72) -> Graph:
    """
    Build `gpu0` … `gpu71` in 18 compute trays of four, all on one logical switch `nvswitch0`.

    The rack has nine NVLink switch trays, each with a ninth of every GPU's bandwidth. A flow is spread over all of
    them, so one switch with the whole bandwidth of a GPU gives a flow what it gets; nine would cap it at a ninth.
    """
    graph = Graph()
    link = entries.link(parameters.link)
    half = math.ceil(TRAYS / 2)
    for number in range(TRAYS * GPUS_PER_TRAY):
        tray, place = divmod(number, GPUS_PER_TRAY)
        row = tray % half
        x = -(GPUS_PER_TRAY - place) - 0.4 if tray < half else place + 1.4
        near = GPUS_PER_TRAY - 1 - place if tray < half else place
        at = (x, -row + 0.1 * (near - 1.5))
        name = f"{prefix(parameters.device)}{number}"
        add_node(graph, name, "device", "rack0", at, (0.78, 0.5), device=parameters.device, tray=tray)
    add_node(graph, "nvswitch0", "switch", "rack0", (0.0, -(half - 1) / 2), (0.9, half))
    for number in range(TRAYS * GPUS_PER_TRAY):
        add_catalogue_link(graph, f"{prefix(parameters.device)}{number}", "nvswitch0", link)
    return graph
