"""Generators of simple shapes, of any device and any link: star, ring, fully connected, mesh, fat tree."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from simcluster.catalog import entries
from simcluster.files.quantities import PositiveInt, fault
from simcluster.topology.graph import Graph
from simcluster.topology.model import add_catalogue_link, add_node
from simcluster.topology.parameters import DeviceName, LinkName, Parameters, Size, prefix

_GROUP = "node0"


class Star(Parameters):
    """Devices on one switch."""

    kind: Literal["star"]
    device: DeviceName
    devices: PositiveInt
    link: LinkName

    def size(self) -> Size:
        return Size(self.devices + 1, self.devices)


def star(parameters: Star) -> Graph:
    """Build devices, each with one link to `switch0`."""
    graph = Graph()
    rows = math.ceil(parameters.devices / 16)
    columns = math.ceil(parameters.devices / rows)
    for number in range(parameters.devices):
        row, column = divmod(number, columns)
        _add_device(graph, parameters.device, number, (column + 0.08 * row, 1.2 + row))
    add_node(graph, "switch0", "switch", _GROUP, ((columns - 1) / 2, 0.0), (columns + 0.08 * rows, 0.5))
    for number in range(parameters.devices):
        _join(graph, parameters, number, "switch0")
    return graph


class Ring(Parameters):
    """Devices in a circle."""

    kind: Literal["ring"]
    device: DeviceName
    devices: Annotated[int, Field(ge=3, le=10**12)]
    link: LinkName

    def size(self) -> Size:
        return Size(self.devices, self.devices)


def ring(parameters: Ring) -> Graph:
    """Build devices, each with a link to the next, the last to the first."""
    graph = _circle(parameters.device, parameters.devices)
    for number in range(parameters.devices):
        _join(graph, parameters, number, f"{prefix(parameters.device)}{(number + 1) % parameters.devices}")
    return graph


class FullyConnected(Parameters):
    """Devices with a link for every pair."""

    kind: Literal["fully_connected"]
    device: DeviceName
    devices: PositiveInt
    link: LinkName

    def size(self) -> Size:
        return Size(self.devices, math.comb(self.devices, 2))


def fully_connected(parameters: FullyConnected) -> Graph:
    """Build devices with a whole link of the catalogue between every two of them."""
    graph = _circle(parameters.device, parameters.devices)
    for a, b in combinations(range(parameters.devices), 2):
        _join(graph, parameters, a, f"{prefix(parameters.device)}{b}")
    return graph


class Mesh(Parameters):
    """Devices in a rectangle."""

    kind: Literal["mesh"]
    device: DeviceName
    rows: PositiveInt
    columns: PositiveInt
    link: LinkName

    def size(self) -> Size:
        links = self.rows * (self.columns - 1) + self.columns * (self.rows - 1)
        return Size(self.rows * self.columns, links)


def mesh(parameters: Mesh) -> Graph:
    """Build devices in rows and columns, row by row, each with links to its neighbours, none around the edges."""
    graph = Graph()
    columns = parameters.columns
    for number in range(parameters.rows * columns):
        row, column = divmod(number, columns)
        _add_device(graph, parameters.device, number, (1.2 * column, -1.1 * row), row=row, column=column)
    for number in range(parameters.rows * columns):
        row, column = divmod(number, columns)
        if column + 1 < columns:
            _join(graph, parameters, number, f"{prefix(parameters.device)}{number + 1}")
        if row + 1 < parameters.rows:
            _join(graph, parameters, number, f"{prefix(parameters.device)}{number + columns}")
    return graph


class FatTree(Parameters):
    """Three levels of switches with k ports each."""

    kind: Literal["fat_tree"]
    device: DeviceName
    k: Annotated[int, Field(ge=2, le=10**12)]
    link: LinkName

    @field_validator("k")
    @classmethod
    def _even(cls, k: int) -> int:
        if k % 2:
            raise fault(str(k), "expected an even number of ports")
        return k

    def size(self) -> Size:
        return Size(self.k**3 // 4 + self.k**2 + self.k**2 // 4, 3 * self.k**3 // 4)


def fat_tree(parameters: FatTree) -> Graph:
    """
    Build a k-ary fat tree: k pods of k/2 edge and k/2 aggregation switches, k/2 devices per edge switch, (k/2)^2
    cores.

    All links are equal, so any half of the devices can send to the other half at full speed.

    Source:
        Al-Fares, Loukissas, Vahdat: A Scalable, Commodity Data Center Network Architecture, SIGCOMM 2008.
    """
    graph = Graph()
    k, half = parameters.k, parameters.k // 2
    n_devices = k**3 // 4
    for number in range(n_devices):
        pod = number // half**2
        _add_device(graph, parameters.device, number, (number + 0.7 * pod, 0.0), group=f"pod{pod}")
    taller = max(1.0, k / 4)  # wider trees are drawn taller, so that lines are not too flat
    for level, y in (("edge", 1.6 * taller), ("aggregation", 3.4 * taller)):
        for number in range(k * half):
            pod = number // half
            at = ((number + 0.5) * half - 0.5 + 0.7 * pod, y)
            add_node(graph, f"{level}{number}", "switch", f"pod{pod}", at, (min(0.8 * half, 1.3), 0.5))
    step = (n_devices + 0.7 * (k - 1)) / half**2
    for number in range(half**2):
        at = ((number + 0.5) * step - 0.5, 5.8 * taller)
        add_node(graph, f"core{number}", "switch", "core", at, (1.3, 0.5))
    for number in range(n_devices):
        _join(graph, parameters, number, f"edge{number // half}")
    link = entries.link(parameters.link)
    for pod in range(k):
        for a in range(half):
            aggregation = f"aggregation{pod * half + a}"
            for b in range(half):
                add_catalogue_link(graph, f"edge{pod * half + b}", aggregation, link)
                add_catalogue_link(graph, aggregation, f"core{a * half + b}", link)
    return graph


def _circle(device: str, devices: int) -> Graph:
    """Place devices at equal distances on a circle, the first at the top."""
    graph = Graph()
    radius = max(1.0, 1.15 * devices / (2 * math.pi))
    for number in range(devices):
        angle = 2 * math.pi * number / devices
        _add_device(graph, device, number, (radius * math.sin(angle), radius * math.cos(angle)))
    return graph


def _add_device(
    graph: Graph, device: str, number: int, at: tuple[float, float], group: str = _GROUP, **attributes: Any
) -> None:
    add_node(graph, f"{prefix(device)}{number}", "device", group, at, device=device, **attributes)


def _join(graph: Graph, parameters: Star | Ring | FullyConnected | Mesh | FatTree, number: int, other: str) -> None:
    add_catalogue_link(graph, f"{prefix(parameters.device)}{number}", other, entries.link(parameters.link))
