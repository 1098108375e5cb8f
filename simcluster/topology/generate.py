"""
Generators of topologies: from the parameters of a `generate:` entry to a graph.

A generator is a function of its own parameters, a frozen pydantic model with a literal `kind` and a `size()`.
To add one: write both in one module, add them here, test it, and add a row to the table in docs/topologies.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from simcluster.topology import fabrics, gpus, shapes, wafers
from simcluster.topology.graph import Graph
from simcluster.topology.parameters import bounded

Generate = Annotated[
    wafers.Wafer
    | wafers.WaferPipeline
    | wafers.WaferMemoryx
    | gpus.GpuNode
    | gpus.GpuCluster
    | gpus.Nvl72
    | fabrics.Groq
    | fabrics.Sn40l
    | shapes.Star
    | shapes.Ring
    | shapes.FullyConnected
    | shapes.Mesh
    | shapes.FatTree,
    Field(discriminator="kind"),
    AfterValidator(bounded),
]
"""Parameters of any generator, distinguished by `kind`, of a graph within the limits."""

GENERATORS: dict[str, Callable[[Any], Graph]] = {
    "wafer": wafers.wafer,
    "wafer_pipeline": wafers.wafer_pipeline,
    "wafer_memoryx": wafers.wafer_memoryx,
    "gpu_node": gpus.gpu_node,
    "gpu_cluster": gpus.gpu_cluster,
    "nvl72": gpus.nvl72,
    "groq": fabrics.groq,
    "sn40l": fabrics.sn40l,
    "star": shapes.star,
    "ring": shapes.ring,
    "fully_connected": shapes.fully_connected,
    "mesh": shapes.mesh,
    "fat_tree": shapes.fat_tree,
}


def generate(parameters: Generate) -> Graph:
    """
    Build the graph that the parameters describe.

    Raises:
        ValueError: the graph would exceed the limits, which are checked before anything is built.
    """
    return GENERATORS[parameters.kind](bounded(parameters))
