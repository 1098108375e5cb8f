"""
A scenario as it is simulated: frozen, SI units, nothing implied.

Everything that was named in the scenario file stands here by value: model shape, device facts, fitted constants,
paths between the stages. It can be written to a file and read back, and its digest names the simulation.
"""

from __future__ import annotations

import hashlib
import json
from math import fsum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from simcluster.catalog.calibration.collectives import Fabric
from simcluster.catalog.calibration.engines import EngineCalibration
from simcluster.catalog.calibration.gpu import GpuCalibration
from simcluster.catalog.calibration.wafer import WaferCalibration
from simcluster.catalog.device import Device
from simcluster.catalog.shapes import ModelShape
from simcluster.files.quantities import Frozen
from simcluster.noise.sources import Noise
from simcluster.numerics.streams import Seeds
from simcluster.scenario.gates import MAX_GATES
from simcluster.scenario.placement import StageLayers
from simcluster.scenario.spec import (
    MAX_EVENTS,
    MAX_POOLS,
    AlgorithmName,
    GateText,
    PoolName,
    RouterName,
    SchedulerName,
)
from simcluster.topology.model import MAX_LINKS, MAX_NODES, NodeKind
from simcluster.workload import WorkloadSpec

FORMAT = "simcluster-scenario-3"

Name = Annotated[str, Field(pattern=r"^[^/\\\x00-\x1f\x7f]+$", max_length=200)]
"""A name that a run folder may have, so never a path."""
LatencyName = Annotated[str, Field(pattern=r"^(ttft|tpot|e2el)$")]
Seconds = Annotated[float, Field(ge=0, le=3600)]
Bits = Annotated[float, Field(gt=0, le=64)]
Number = Annotated[int, Field(gt=0, le=10**12)]


class Hop(Frozen):
    """The way of a message from one place to another on the idle graph: `latency_s + bytes / bytes_per_s`."""

    nodes: tuple[str, ...]
    latency_s: Seconds
    """Links and software."""
    bytes_per_s: Annotated[float, Field(ge=1)]


class Stage(Frozen):
    """One pipeline stage: its ranks and what they hold."""

    devices: Annotated[tuple[str, ...], Field(min_length=1)]
    layers: StageLayers
    next_hop: Hop | None
    """To the first rank of the next stage; every rank sends to its peer side by side."""


class ReplicaLayout(Frozen):
    """One copy of the model."""

    stages: Annotated[tuple[Stage, ...], Field(min_length=1)]
    return_hop: Hop | None
    """The way of the chosen token, from the last stage to the first; None with one stage."""
    kv_blocks: Number


class Group(Frozen):
    """What the ranks of a stage exchange over."""

    ranks_per_node: Number
    n_nodes: Number
    inside: Fabric
    across: Fabric | None


class EngineSettings(Frozen):
    """How the serving engine runs a replica."""

    scheduler: SchedulerName
    max_num_seqs: Number
    max_num_batched_tokens: Number
    max_model_len: Number
    block_size: Number
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)]
    launch: Literal["graph", "eager"]
    all_reduce: AlgorithmName
    admission_lag: Annotated[int, Field(ge=0, le=10)]
    """Steps that begin before a request that arrived can take part, while others run."""
    host_fixed_s: Seconds
    host_per_sequence_s: Seconds
    slowdown: Annotated[float, Field(ge=0.01, le=100)] = 1.0
    """How many times as long every op takes."""
    collective_skew_s: Seconds
    """How long the ranks of a stage wait for the last of them at every collective."""
    calibration: EngineCalibration | None
    """Constants of the serving engine, when one is named."""


Day100 = Annotated[float, Field(ge=0, le=100 * 86_400)]
Apart = Annotated[float, Field(ge=1e-3, le=100 * 86_400)]
"""Seconds between repetitions."""


class Event(Frozen):
    """A change of devices or of a link, or a transfer over links."""

    kind: Literal["device_slow", "device_down", "link_slow", "link_down", "transfer"]
    devices: Annotated[tuple[str, ...], Field(max_length=MAX_NODES)] = ()
    link: tuple[str, str] | None = None
    ends: tuple[str, str] | None = None
    """The sender and the receiver of a transfer."""
    factor: Annotated[float, Field(ge=0.001, le=1000)] = 1.0
    """How many times as long a device takes; or the share of its bandwidth that a link has."""
    extra_latency_s: Seconds = 0.0
    n_bytes: Annotated[float, Field(ge=0, le=1e15)] = 0.0
    at_s: Day100 | None
    """None: at random, with the means below."""
    lasts_s: Day100 | None = None
    """None: to the end."""
    every_s: Apart | None = None
    mtbf_s: Annotated[float, Field(ge=1e-3, le=1e11)] | None = None
    mttr_s: Apart | None = None
    noise: Literal["", "background_load", "failures"] = ""
    """The source of noise that it comes from."""


class NetworkNode(Frozen):
    """A node of the graph that exchanges and sends go over."""

    name: Annotated[str, Field(max_length=200)]
    kind: NodeKind
    group: Annotated[str, Field(max_length=200)]
    forwards: bool


class NetworkLink(Frozen):
    """A full-duplex link between two of them."""

    a: str
    b: str
    bytes_per_s: Annotated[float, Field(ge=1)]
    """In each direction."""
    latency_s: Seconds


class Network(Frozen):
    """The graph, for scenarios in which links are shared, change, or carry every message."""

    nodes: Annotated[tuple[NetworkNode, ...], Field(max_length=MAX_NODES)]
    links: Annotated[tuple[NetworkLink, ...], Field(max_length=MAX_LINKS)]


class Pool(Frozen):
    """Replicas that are alike: of one model, on devices of one kind, with one layout and one engine."""

    name: PoolName
    model: ModelShape
    weight_bits: Bits
    kv_bits: Bits
    dense_bits: Bits
    """Bits of all weights except routed experts."""
    block_scales: bool
    device: Device
    gpu: GpuCalibration | None
    wafer: WaferCalibration | None
    group: Group | None
    weight_stream: Hop | None
    """From the memory node to the device, when weights are streamed in every step."""
    replicas: Annotated[tuple[ReplicaLayout, ...], Field(min_length=1)]
    engine: EngineSettings

    @property
    def n_ranks(self) -> int:
        """Devices among which every layer is cut; the same in every stage."""
        return len(self.replicas[0].stages[0].devices)

    @property
    def devices(self) -> tuple[str, ...]:
        """Names of the devices in use, in the order of replicas, stages and ranks."""
        return tuple(name for replica in self.replicas for stage in replica.stages for name in stage.devices)

    @property
    def power_w(self) -> float:
        """Power of all devices in use."""
        return len(self.devices) * self.device.power_w


class Scenario(Frozen):
    """All that a simulation depends on."""

    format: Literal["simcluster-scenario-3"] = "simcluster-scenario-3"
    name: Name
    title: str
    seed: Annotated[int, Field(ge=0, lt=2**63)]
    source_seeds: Annotated[dict[str, Annotated[int, Field(ge=0, lt=2**63)]], Field(max_length=MAX_NODES)] = Field(
        default_factory=dict
    )
    """Seeds of sources, or of a source on a device, that are drawn from another seed."""
    fidelity: Literal["auto", "op", "message"]
    topology: str
    router: RouterName
    """Which replica of all pools serves a request."""
    pools: Annotated[tuple[Pool, ...], Field(min_length=1, max_length=MAX_POOLS)]
    events: Annotated[tuple[Event, ...], Field(max_length=MAX_EVENTS)] = ()
    network: Network | None = None
    """None where every replica has its links to itself and they stay as they are."""
    workload: dict[str, Any]
    """The workload section as it was written, with `trace` and other files by absolute path."""
    workload_sha256: str
    """Digest of the files that the workload names; empty without any."""
    noise: Noise
    limits_ms: dict[LatencyName, Annotated[float, Field(ge=0)]]
    """Limits of the service level, by latency name."""
    gates: Annotated[tuple[GateText, ...], Field(max_length=MAX_GATES)] = ()
    """What fails a comparison with it; empty for the default ones."""
    steady_state: bool = False
    """Whether the summary has long-run latencies too."""
    assumptions: tuple[str, ...]
    """What the results depend on and was not measured for this case."""

    @property
    def placed_replicas(self) -> tuple[tuple[Pool, ReplicaLayout], ...]:
        """Each replica with its pool, by its number; numbers run on from pool to pool."""
        return tuple((pool, replica) for pool in self.pools for replica in pool.replicas)

    @property
    def replicas(self) -> tuple[ReplicaLayout, ...]:
        """The replicas of all pools by number."""
        return tuple(replica for _, replica in self.placed_replicas)

    def pool_of(self, number: int) -> Pool:
        """The pool of a replica by its number."""
        return self.placed_replicas[number][0]

    @property
    def devices(self) -> tuple[str, ...]:
        """Names of the devices in use, pool by pool."""
        return tuple(name for pool in self.pools for name in pool.devices)

    @property
    def n_devices(self) -> int:
        """Devices in use."""
        return len(self.devices)

    @property
    def power_w(self) -> float:
        """Power of all devices in use."""
        return fsum(pool.power_w for pool in self.pools)

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models of the pools, each once."""
        return tuple(dict.fromkeys(pool.model.name for pool in self.pools))

    @property
    def device_names(self) -> tuple[str, ...]:
        """Catalogue names of the devices of the pools, each once."""
        return tuple(dict.fromkeys(pool.device.name for pool in self.pools))

    @property
    def seeds(self) -> Seeds:
        """The seed of everything that is drawn, those of single sources included."""
        return Seeds(self.seed, self.source_seeds)

    def requests_spec(self) -> WorkloadSpec:
        """The workload, checked."""
        return WorkloadSpec.model_validate(self.workload)

    def digest(self) -> str:
        """SHA-256 of what results depend on: all but names, titles, gates, remarks and file locations."""
        data = json.loads(self.model_dump_json(exclude={"name", "title", "gates", "assumptions"}))
        data["workload"] = _without_files(data["workload"])
        text = json.dumps(data, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


Fault = tuple[tuple[str | int, ...], str, str]
"""The path of a field, what was found there, what would be right."""


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
