"""The topology of a run, for pictures and link use: the shipped one of its name, else the graph that it recorded."""

from __future__ import annotations

from simcluster.scenario.resolved import Network, Scenario
from simcluster.topology import read
from simcluster.topology.graph import Graph
from simcluster.topology.model import Topology, add_link, add_node, topology

MAX_NODES = 1500
"""Of a topology that is drawn: with more, single nodes and links cannot be seen."""


def topology_of(scenario: Scenario) -> Topology | None:
    """
    Find the topology of a run's devices; None where it is not known, or too large to draw.

    A run records its graph only where links are shared, change, or carry every message. Of other runs the name is
    looked up, and taken if it has the same devices; a topology from another file may not exist any more.
    """
    used = {name: pool.device.name for pool in scenario.pools for name in pool.devices}
    if scenario.topology in read.names():
        named = read.load(scenario.topology)
        nodes = set(named.plain.nodes)
        if used.keys() <= set(named.devices) and (
            scenario.network is None or {n.name for n in scenario.network.nodes} <= nodes
        ):
            return named if len(nodes) <= MAX_NODES else None
    if scenario.network is None or len(scenario.network.nodes) > MAX_NODES:
        return None
    return _recorded(scenario.network, scenario.topology, used)


def _recorded(network: Network, name: str, devices: dict[str, str]) -> Topology:
    graph = Graph()
    for node in network.nodes:
        add_node(graph, node.name, node.kind, node.group, device=devices.get(node.name))
    for link in network.links:
        add_link(graph, link.a, link.b, link.bytes_per_s, link.latency_s)
    return topology(name, name, graph, "nodes", "")
