"""Read the collective tables of a data folder as points: bytes, ranks and durations."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from simcluster.calibrate.constants.kernel_tables import read_table
from simcluster.calibrate.constants.points import is_fitted
from simcluster.catalog.calibration.collectives import Collective, Launch
from simcluster.numerics.arrays import Floats

SYSTEMS = {"nvlink3": ("a100_sxm",), "nvlink4": ("h100_sxm", "h200_sxm"), "nvlink5": ("b200_sxm",)}
"""Systems by the link that joins their devices: one node of up to eight."""

NAMES: dict[Collective, str] = {
    "all_reduce": "all_reduce", "all_gather": "all_gather", "reduce_scatter": "reduce_scatter",
    "all_to_all": "alltoall",
}  # fmt: skip
KERNELS = {
    ("custom", "graph"): ("SGLang_CustomAllReduce_graph", "TRTLLM", "vLLM_custom_graph"),
    ("custom", "eager"): ("SGLang_CustomAllReduce_eager", "vLLM_custom_eager"),
    ("nccl", "graph"): ("NCCL",),
}


@dataclass(frozen=True, eq=False)
class Exchanges:
    """Measured exchanges of one kind, in one mode, by one library."""

    n_ranks: Floats
    n_bytes: Floats
    seconds: Floats
    names: Sequence[str]

    def half(self, fitted: bool) -> Exchanges:
        """Select the fitted half, or the other, by a checksum of system, ranks and size."""
        chosen = is_fitted(self.names) == fitted
        names = [name for name, here in zip(self.names, chosen, strict=True) if here]
        return Exchanges(self.n_ranks[chosen], self.n_bytes[chosen], self.seconds[chosen], names)


def exchanges(folder: Path, link: str, collective: Collective, library: str, launch: Launch) -> Exchanges:
    """Read the median over implementations in their newest version, for each system, number of ranks and size."""
    columns = ("system", "source", "implementation", "op_name", "num_gpus", "message_bytes", "latency_us")
    table = read_table(folder / "aic_collectives_all_systems.csv", columns)
    table = table[
        table["system"].isin(SYSTEMS[link])
        & table["implementation"].isin(KERNELS[library, launch])
        & (table["op_name"] == NAMES[collective])
    ]
    version = table["source"].map(_version)
    newest = version.groupby([table["system"], table["implementation"]]).transform("max")
    table = table[version == newest]
    keys = ["system", "num_gpus", "message_bytes"]
    rows = table.groupby(keys)["latency_us"].median().reset_index()
    names = [
        f"{collective}/{library}/{launch}/{s}/{n}/{b}" for s, n, b in zip(*(rows[key] for key in keys), strict=True)
    ]
    ranks, size, us = (rows[name].to_numpy(float) for name in ("num_gpus", "message_bytes", "latency_us"))
    return Exchanges(ranks, size, np.asarray(us) * 1e-6, names)


def sends(folder: Path, link: str) -> Exchanges | None:
    """Read NCCL sends between two devices of one node, median of each size; None if the link has no table."""
    sku = {"nvlink3": "a100_dgx", "nvlink4": "h100_dgx"}.get(link)
    if sku is None:
        return None
    columns = ("node_sku", "collective", "num_workers", "devices_per_node", "size_bytes", "median_us")
    table = read_table(folder / "vidur_network.csv", columns).query(
        f"node_sku == '{sku}' and collective == 'send_recv' and num_workers == 2 and devices_per_node == 2"
    )
    rows = table.groupby("size_bytes")["median_us"].median().reset_index()
    size, us = rows["size_bytes"].to_numpy(float), rows["median_us"].to_numpy(float)
    return Exchanges(np.full(len(size), 2.0), size, us * 1e-6, [f"send/{sku}/{n_bytes:.0f}" for n_bytes in size])


def _version(source: str) -> tuple[int, ...]:
    """Read the version at the end of `vllm 0.24.0` as numbers, of which the largest is the newest."""
    return tuple(int(number) for number in re.findall(r"\d+", source.rpartition(" ")[2]))
