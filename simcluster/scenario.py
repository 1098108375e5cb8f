"""
A scenario as it is simulated: frozen, SI units, nothing implied.

Everything that was named in the scenario file stands here by value: model shape, device facts, fitted constants,
paths between the stages. It can be written to a file and read back, and its digest names the simulation.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from simcluster.calibration.collectives import Fabric
from simcluster.calibration.gpu import GpuCalibration
from simcluster.calibration.wafer import WaferCalibration
from simcluster.hardware import Device
from simcluster.noise import Noise
from simcluster.placement import StageLayers
from simcluster.quantities import Frozen
from simcluster.shapes import ModelShape
from simcluster.workload import WorkloadSpec

FORMAT = "simcluster-scenario-1"


class Hop(Frozen):
    """The way of a message from one place to another on the idle graph: `latency_s + bytes / bytes_per_s`."""

    nodes: tuple[str, ...]
    latency_s: float
    """Links and software."""
    bytes_per_s: float


class Stage(Frozen):
    """One pipeline stage: its ranks and what they hold."""

    devices: tuple[str, ...]
    layers: StageLayers
    next_hop: Hop | None
    """To the first rank of the next stage; every rank sends to its peer side by side."""


class Replica(Frozen):
    """One copy of the model."""

    stages: tuple[Stage, ...]
    return_hop: Hop | None
    """Of the chosen token, from the last stage to the first; None with one stage."""
    kv_blocks: int


class Group(Frozen):
    """What the ranks of a stage exchange over."""

    ranks_per_node: int
    n_nodes: int
    inside: Fabric
    across: Fabric | None


class Engine(Frozen):
    """How the serving engine runs a replica."""

    scheduler: str
    router: str
    max_num_seqs: int
    max_num_batched_tokens: int
    max_model_len: int
    block_size: int
    gpu_memory_utilization: float
    launch: Literal["graph", "eager"]
    all_reduce: str
    host_fixed_s: float
    host_per_sequence_s: float


class Scenario(Frozen):
    """All that a simulation depends on."""

    format: Literal["simcluster-scenario-1"] = "simcluster-scenario-1"
    name: str
    title: str
    seed: int
    fidelity: Literal["auto", "op"]
    topology: str
    model: ModelShape
    weight_bits: float
    kv_bits: float
    device: Device
    gpu: GpuCalibration | None
    wafer: WaferCalibration | None
    group: Group | None
    weight_stream: Hop | None
    """From the memory node to the device, when weights are streamed in every step."""
    replicas: tuple[Replica, ...]
    engine: Engine
    workload: dict[str, Any]
    """The workload section as it was written, with `trace` and other files by absolute path."""
    workload_sha256: str
    """Of the files that the workload names; empty without any."""
    noise: Noise
    limits_ms: dict[str, float]
    """Of the service level, by latency name."""
    assumptions: tuple[str, ...]
    """What the results rest on that nobody measured for this case."""

    @property
    def n_devices(self) -> int:
        """Devices in use."""
        return sum(len(stage.devices) for replica in self.replicas for stage in replica.stages)

    @property
    def power_w(self) -> float:
        """Of all devices in use."""
        return self.n_devices * self.device.power_w

    def requests_spec(self) -> WorkloadSpec:
        """The workload, checked."""
        return WorkloadSpec.model_validate(self.workload)

    def digest(self) -> str:
        """SHA-256 over everything that the results depend on: all but names, titles, remarks and file locations."""
        data = json.loads(self.model_dump_json(exclude={"name", "title", "assumptions"}))
        data["workload"] = _without_files(data["workload"])
        text = json.dumps(data, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def workload_files(workload: dict[str, Any]) -> list[tuple[str, ...]]:
    """Paths within a workload section at which a file is named."""
    found: list[tuple[str, ...]] = [("trace",)] if isinstance(workload.get("trace"), str) else []
    for key in ("prompt_tokens", "output_tokens"):
        lengths = workload.get(key)
        if isinstance(lengths, dict) and isinstance(lengths.get("file"), str):
            found.append((key, "file"))
    return found


def _without_files(workload: dict[str, Any]) -> dict[str, Any]:
    """The section with file names emptied; the files' content has a digest of its own."""
    result = json.loads(json.dumps(workload))
    for path in workload_files(workload):
        inner = result if len(path) == 1 else result[path[0]]
        inner[path[-1]] = ""
    return result  # type: ignore[no-any-return]


def files_sha256(workload: dict[str, Any]) -> str:
    """SHA-256 over the content of the files that a workload names by absolute path; '' without any."""
    digest = hashlib.sha256()
    paths = workload_files(workload)
    for path in paths:
        value: Any = workload
        for part in path:
            value = value[part]
        with Path(value).open("rb") as handle:
            while chunk := handle.read(2**20):
                digest.update(chunk)
    return digest.hexdigest() if paths else ""
