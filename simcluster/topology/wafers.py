"""Generators of wafers: one with its dies, several in a row over SwarmX, one with a MemoryX."""

from __future__ import annotations

import math
from typing import Literal

from simcluster.catalog import entries
from simcluster.files.quantities import Bytes, PositiveInt
from simcluster.topology.graph import Graph
from simcluster.topology.model import add_catalogue_link, add_link, add_node
from simcluster.topology.parameters import LinkName, Parameters, Size, WaferName, grid


class Wafer(Parameters):
    """One wafer, with the mesh of its dies or as one node, and its I/O ports."""

    kind: Literal["wafer"]
    device: WaferName
    interior: Literal["dies", "none"] = "dies"

    def size(self) -> Size:
        cores = grid(self.device)
        if self.interior == "none":
            return Size(1 + cores.io_ports, cores.io_ports)
        rows, columns = cores.die_rows, cores.die_columns
        mesh = rows * (columns - 1) + columns * (rows - 1)
        return Size(1 + cores.io_ports + rows * columns, 2 * cores.io_ports + mesh)


def wafer(parameters: Wafer) -> Graph:
    """
    Build one wafer: node `wafer0` is the whole wafer, `wafer0/port3` an I/O port, `wafer0/die2_5` a die.

    Half of the ports are on the west edge and half on the east edge, spread evenly over the rows of dies.
    Two dies that touch are joined by one edge with the bandwidth of all core-to-core links across their border
    and the latency of crossing one die, core by core.
    The I/O latency is part of the links that the ports are connected to, so that it counts once.
    """
    cores = grid(parameters.device)
    graph = Graph()
    side = 6.0
    forwards = None if parameters.interior == "none" else False  # traffic across the wafer passes from die to die
    size = (side + 0.3, side + 0.3)
    add_node(graph, "wafer0", "device", "wafer0", (0.0, 0.0), size, device=parameters.device, forwards=forwards)
    height = side / cores.die_rows
    in_west = math.ceil(cores.io_ports / 2)
    for port in range(cores.io_ports):
        west = port < in_west
        nth, of = (port, in_west) if west else (port - in_west, cores.io_ports - in_west)
        row = (2 * nth + 1) * cores.die_rows // (2 * of)
        at = ((-1 if west else 1) * (side / 2 + 1.1), side / 2 - (row + 0.5) * height)
        name = add_node(graph, f"wafer0/port{port}", "port", "wafer0", at, (0.7, 0.36), row=row, west=west)
        add_link(graph, "wafer0", name, cores.io_port_bytes_per_s, 0.0)
    if parameters.interior == "dies":
        _add_dies(graph, parameters.device, side)
    return graph


def _add_dies(graph: Graph, device: str, side: float) -> None:
    """Fill `wafer0` with its mesh of dies and attach the ports to the dies at the edge."""
    cores = grid(device)
    rows, columns = cores.die_rows, cores.die_columns
    core_rows, core_columns = shares(cores.rows, rows), shares(cores.columns, columns)
    width, height = side / columns, side / rows
    for row in range(rows):
        for column in range(columns):
            at = (-side / 2 + (column + 0.5) * width, side / 2 - (row + 0.5) * height)
            size = (0.84 * width, 0.78 * height)
            add_node(
                graph,
                f"wafer0/die{row}_{column}",
                "die",
                "wafer0",
                at,
                size,
                part_of="wafer0",
                row=row,
                column=column,
            )
    core_link = cores.link_bytes_per_cycle * cores.clock_hz
    hop_s = cores.hop_cycles / cores.clock_hz
    for row in range(rows):
        for column in range(columns):
            here = f"wafer0/die{row}_{column}"
            if column + 1 < columns:
                east = f"wafer0/die{row}_{column + 1}"
                across = hop_s * cores.columns / columns
                add_link(graph, here, east, core_link, across, "wafer-mesh", core_rows[row])
            if row + 1 < rows:
                south = f"wafer0/die{row + 1}_{column}"
                across = hop_s * cores.rows / rows
                add_link(graph, here, south, core_link, across, "wafer-mesh", core_columns[column])
    for port in range(cores.io_ports):
        name = f"wafer0/port{port}"
        column = 0 if graph.nodes[name]["west"] else columns - 1
        add_link(graph, name, f"wafer0/die{graph.nodes[name]['row']}_{column}", cores.io_port_bytes_per_s, 0.0)


def shares(total: int, parts: int) -> list[int]:
    """Cut a whole into parts that differ by one at most and add up to it."""
    return [(part + 1) * total // parts - part * total // parts for part in range(parts)]


class WaferPipeline(Parameters):
    """Wafers side by side on one network, each with its ports bundled."""

    kind: Literal["wafer_pipeline"]
    device: WaferName
    wafers: PositiveInt
    link: LinkName

    def size(self) -> Size:
        return Size(2 * self.wafers + 1, 2 * self.wafers)


def wafer_pipeline(parameters: WaferPipeline) -> Graph:
    """
    Build wafers in a row: `wafer0` …, each behind one bundle of ports `wafer0/io`, all on one logical switch
    `swarmx0`.

    SwarmX is described by its vendor as a tree of broadcast-reduce nodes (1:4) on 100 Gb/s interfaces, without
    latencies; the vendor's figure from wafer to wafer is less than 5 us, everything included. The latencies of a
    tree's levels would be invented, so one switch represents it and each side has half of the figure. It never is the
    bottleneck: the vendor sizes it for 1.2 Tb/s of every system at once.
    """
    graph = Graph()
    columns = min(parameters.wafers, max(5, math.ceil(math.sqrt(1.7 * parameters.wafers))))
    rows = math.ceil(parameters.wafers / columns)
    comb = 0.09
    row_height = 1.5 + comb * columns
    above = 0.72 + comb * columns
    for number in range(parameters.wafers):
        row, column = divmod(number, columns)
        top = -row * row_height
        _add_wafer(graph, number, parameters.device, (1.2 * column, top), (1.2 * column, top + 0.72 + comb * column))
    below = (rows - 1) * row_height + 0.48
    add_node(graph, "swarmx0", "switch", "swarmx", (-1.5, (above - below) / 2), (0.6, above + below))
    link = entries.link(parameters.link)
    for number in range(parameters.wafers):
        add_catalogue_link(graph, f"wafer{number}/io", "swarmx0", link)
    return graph


def _add_wafer(graph: Graph, number: int, device: str, at: tuple[float, float], io_at: tuple[float, float]) -> None:
    """Add a wafer as one node and its ports as another; the I/O latency is on the links beyond the ports."""
    cores = grid(device)
    name = f"wafer{number}"
    add_node(graph, name, "device", name, at, (0.95, 0.95), device=device)
    add_node(graph, f"{name}/io", "port", name, io_at, (0.3, 0.08), ports=cores.io_ports)
    add_link(graph, name, f"{name}/io", cores.io_port_bytes_per_s, 0.0, count=cores.io_ports)


class WaferMemoryx(Parameters):
    """One wafer and a store of weights on the same network."""

    kind: Literal["wafer_memoryx"]
    device: WaferName
    link: LinkName
    capacity: Bytes

    def size(self) -> Size:
        return Size(4, 3)


def wafer_memoryx(parameters: WaferMemoryx) -> Graph:
    """
    Build one wafer and `memoryx0` of a given capacity, both on `swarmx0`, both at the bandwidth of one wafer's I/O.

    The memory's own speed is not published; a wafer cannot receive more than its I/O in any case.
    """
    graph = Graph()
    _add_wafer(graph, 0, parameters.device, (0.0, 0.0), (0.95, 0.0))
    graph.nodes["wafer0/io"].update(width=0.4, height=0.5)
    add_node(graph, "swarmx0", "switch", "swarmx", (2.2, 0.0), (0.9, 1.0))
    add_node(graph, "memoryx0", "memory", "memoryx0", (3.9, 0.0), (1.1, 0.95), capacity_bytes=parameters.capacity)
    link = entries.link(parameters.link)
    add_catalogue_link(graph, "wafer0/io", "swarmx0", link)
    add_catalogue_link(graph, "swarmx0", "memoryx0", link)
    return graph
