"""Positions of nodes in a drawing of a topology."""

from __future__ import annotations

import math

from simcluster.topology.model import Topology

_SEED = 1


def positions(topology: Topology) -> dict[str, tuple[float, float]]:
    """
    Find the centres of all nodes: the graph's own `x` and `y` if every node has them, else a spring layout.

    The spring layout starts from a fixed seed and gives each node about two units of room.
    """
    nodes = topology.graph.nodes(data=True)
    if all("x" in attributes and "y" in attributes for _, attributes in nodes):
        return {name: (attributes["x"], attributes["y"]) for name, attributes in nodes}
    import networkx as nx  # slow to import, and only needed here

    side = 1.6 * math.sqrt(len(nodes)) + 1
    found = nx.spring_layout(topology.graph, weight=None, seed=_SEED, scale=side / 2, iterations=100)
    return {name: (float(x), float(y)) for name, (x, y) in found.items()}
