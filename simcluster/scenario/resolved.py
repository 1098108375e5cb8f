"""
A scenario as it is simulated: frozen, SI units, nothing implied.

Everything that was named in the scenario file stands here by value: model shape, device facts, fitted constants,
paths between the stages. It can be written to a file and read back, and its digest names the simulation.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from simcluster.catalog.calibration.collectives import Fabric
from simcluster.catalog.calibration.engines import EngineCalibration
from simcluster.catalog.calibration.gpu import REQUIRED, GpuCalibration
from simcluster.catalog.calibration.wafer import WaferCalibration
from simcluster.catalog.device import Device
from simcluster.catalog.shapes import ModelShape, layer_kinds
from simcluster.catalog.shapes import contradictions as shape_contradictions
from simcluster.costs.collectives import COLLECTIVES, available
from simcluster.costs.gpu import peak_flop_per_s
from simcluster.files.problems import nearest
from simcluster.files.quantities import Frozen
from simcluster.noise.sources import Noise
from simcluster.numerics.streams import Seeds
from simcluster.policies.routers import ROUTERS
from simcluster.policies.schedulers import SCHEDULERS
from simcluster.scenario.gates import MAX_GATES
from simcluster.scenario.placement import StageLayers, kv_tokens
from simcluster.scenario.spec import MAX_EVENTS, GateText
from simcluster.topology.model import MAX_LINKS, MAX_NODES, NodeKind
from simcluster.workload import WorkloadSpec

FORMAT = "simcluster-scenario-2"

Name = Annotated[str, Field(pattern=r"^[^/\\\x00-\x1f\x7f]+$", max_length=200)]
"""Of a run folder, so never a path."""
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
    """Of the chosen token, from the last stage to the first; None with one stage."""
    kv_blocks: Number


class Group(Frozen):
    """What the ranks of a stage exchange over."""

    ranks_per_node: Number
    n_nodes: Number
    inside: Fabric
    across: Fabric | None


class EngineSettings(Frozen):
    """How the serving engine runs a replica."""

    scheduler: str
    router: str
    max_num_seqs: Number
    max_num_batched_tokens: Number
    max_model_len: Number
    block_size: Number
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)]
    launch: Literal["graph", "eager"]
    all_reduce: str
    admission_lag: Annotated[int, Field(ge=0, le=10)]
    """Steps that begin before a request that came can take part, while others run."""
    host_fixed_s: Seconds
    host_per_sequence_s: Seconds
    slowdown: Annotated[float, Field(ge=0.01, le=100)] = 1.0
    """How many times as long every op takes."""
    collective_skew_s: Seconds
    """How long the ranks of a stage wait for their last one at every collective."""
    calibration: EngineCalibration | None
    """Of the serving engine, when one is named."""


Day100 = Annotated[float, Field(ge=0, le=100 * 86_400)]
Apart = Annotated[float, Field(ge=1e-3, le=100 * 86_400)]
"""Seconds between things that happen again and again."""


class Event(Frozen):
    """Something that happens to devices, to a link, or on the links."""

    kind: Literal["device_slow", "device_down", "link_slow", "link_down", "transfer"]
    devices: Annotated[tuple[str, ...], Field(max_length=MAX_NODES)] = ()
    link: tuple[str, str] | None = None
    ends: tuple[str, str] | None = None
    """Of a transfer: who sends and who receives."""
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
    """The source of noise that it is of."""


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


class Scenario(Frozen):
    """All that a simulation depends on."""

    format: Literal["simcluster-scenario-2"] = "simcluster-scenario-2"
    name: Name
    title: str
    seed: Annotated[int, Field(ge=0, lt=2**63)]
    source_seeds: Annotated[dict[str, Annotated[int, Field(ge=0, lt=2**63)]], Field(max_length=MAX_NODES)] = Field(
        default_factory=dict
    )
    """Of sources, or of a source on a device, that are drawn from another seed."""
    fidelity: Literal["auto", "op", "message"]
    topology: str
    model: ModelShape
    weight_bits: Bits
    kv_bits: Bits
    dense_bits: Bits
    """Of all weights but routed experts."""
    block_scales: bool
    device: Device
    gpu: GpuCalibration | None
    wafer: WaferCalibration | None
    group: Group | None
    weight_stream: Hop | None
    """From the memory node to the device, when weights are streamed in every step."""
    replicas: Annotated[tuple[ReplicaLayout, ...], Field(min_length=1)]
    engine: EngineSettings
    events: Annotated[tuple[Event, ...], Field(max_length=MAX_EVENTS)] = ()
    network: Network | None = None
    """None where every replica has its links to itself and they stay as they are."""
    workload: dict[str, Any]
    """The workload section as it was written, with `trace` and other files by absolute path."""
    workload_sha256: str
    """Of the files that the workload names; empty without any."""
    noise: Noise
    limits_ms: dict[LatencyName, Annotated[float, Field(ge=0)]]
    """Of the service level, by latency name."""
    gates: Annotated[tuple[GateText, ...], Field(max_length=MAX_GATES)] = ()
    """What fails a comparison with it; none for those that hold by default."""
    steady_state: bool = False
    """Whether latencies are also asked for as in the long run."""
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


Fault = tuple[tuple[str | int, ...], str, str]
"""The path of a field, what was found there, what would be right."""


def contradictions(scenario: Scenario) -> Iterator[Fault]:
    """What cannot be true together in a scenario that somebody may have edited since it was resolved."""
    for path, found, expected in shape_contradictions(scenario.model):
        yield ("model", *path), found, expected
    if scenario.model.kind != "decoder":
        yield ("model", "kind"), scenario.model.kind, "expected a decoder, which makes tokens"
    for key, known in (("scheduler", SCHEDULERS), ("router", ROUTERS)):
        name = getattr(scenario.engine, key)
        if name not in known:
            yield ("engine", key), f"unknown {key} '{name}'", nearest(name, known)
    yield from _of_device(scenario)
    yield from _of_group(scenario)
    used: set[str] = set()
    for number, replica in enumerate(scenario.replicas):
        for path, found, expected in _of_replica(scenario, replica, used):
            yield ("replicas", number, *path), found, expected


def _of_device(scenario: Scenario) -> Iterator[Fault]:
    """Constants that the device needs, and only these."""
    device, calibration = scenario.device, scenario.gpu
    is_wafer = device.kind == "wafer"
    for key, value, belongs in (("wafer", scenario.wafer, is_wafer), ("gpu", calibration, not is_wafer)):
        if (value is not None) != belongs:
            expected = "expected them" if belongs else "expected none"
            yield (key,), f"{'no ' if belongs else ''}constants for a device of kind {device.kind}", expected
    if is_wafer != (device.grid is not None):
        yield ("device", "grid"), f"wrong for a device of kind {device.kind}", "expected it on wafers and only there"
    if calibration is None:
        return
    for mode in ("graph", "eager"):
        if mode not in calibration.launch_s:
            yield ("gpu", "launch_s"), f"no time for {mode}", "it must be given"
    for op in REQUIRED:
        for bits in (16, 8, 4):
            fit = calibration.ops.get(op, {}).get(bits)
            if fit is None:
                yield ("gpu", "ops", op), f"nothing for {bits} bit", "it must be given"
                continue
            try:
                peak_flop_per_s(device, fit.compute_bits)
            except (ValueError, LookupError):
                found = f"{fit.compute_bits} bit, of which the device has no peak"
                yield ("gpu", "ops", op, str(bits), "compute_bits"), found, "expected another width"


def _of_group(scenario: Scenario) -> Iterator[Fault]:
    """Ranks and their exchange; all stages have as many ranks."""
    group, n_ranks = scenario.group, len(scenario.replicas[0].stages[0].devices)
    if scenario.model.heads % n_ranks or (n_ranks > 1 and scenario.device.kind == "wafer"):
        yield ("replicas", 0, "stages", 0, "devices"), f"{n_ranks} ranks", "the model cannot be cut so"
    if group is None:
        if n_ranks > 1:
            yield ("group",), f"nothing that joins {n_ranks} ranks", "expected a fabric"
        return
    if group.ranks_per_node * group.n_nodes != n_ranks:
        yield ("group",), f"{group.n_nodes} nodes of {group.ranks_per_node} ranks", f"expected {n_ranks} ranks"
        return
    if (group.across is not None) != (group.n_nodes > 1):
        yield ("group", "across"), f"wrong for {group.n_nodes} nodes", "expected it with several nodes, and only then"
        return
    for place, fabric in (("inside", group.inside), ("across", group.across)):
        for collective, forms in COLLECTIVES.items():
            for index, fit in enumerate(getattr(fabric, collective, ())):
                if fit.algorithm not in forms:
                    where = ("group", place, collective, index, "algorithm")
                    yield where, f"unknown algorithm '{fit.algorithm}'", nearest(fit.algorithm, forms)
    launch, whole = scenario.engine.launch, group.across or group.inside
    inner = "auto" if group.across else scenario.engine.all_reduce
    needed = [(("group", "inside"), group.inside.all_reduce, group.ranks_per_node, inner),
              (("group", "across" if group.across else "inside"), whole.all_gather, n_ranks, "auto")]  # fmt: skip
    if group.across is not None:
        needed += [(("group", "inside"), group.inside.reduce_scatter, group.ranks_per_node, "auto"),
                   (("group", "inside"), group.inside.all_gather, group.ranks_per_node, "auto"),
                   (("group", "across"), group.across.all_reduce, group.n_nodes, "auto")]  # fmt: skip
    for path, fits, n, algorithm in needed:
        try:
            if n > 1:
                available(fits, n, launch, algorithm)
        except ValueError as error:
            yield path, f"nothing for {algorithm} among {n} ranks in mode {launch}", str(error)


def _of_replica(scenario: Scenario, replica: ReplicaLayout, used: set[str]) -> Iterator[Fault]:
    """Stages that hold the whole model in order, each on devices of its own, with room for the KV blocks."""
    kinds, n_ranks = layer_kinds(scenario.model), len(scenario.replicas[0].stages[0].devices)
    first, last = 0, len(replica.stages) - 1
    for index, stage in enumerate(replica.stages):
        layers = stage.layers
        path = ("stages", index)
        if len(stage.devices) != n_ranks:
            yield (*path, "devices"), f"{len(stage.devices)} ranks", f"expected {n_ranks} as in the first stage"
        for name in stage.devices:
            if name in used:
                yield (*path, "devices"), f"'{name}' again", "expected each device once"
            used.add(name)
        expected_kinds = kinds[first : first + len(layers.kinds)]
        if layers.first_layer != first or not layers.kinds or layers.kinds != expected_kinds:
            yield (*path, "layers"), f"layers from {layers.first_layer}", f"expected the model's from {first} on"
        if layers.has_embedding != (index == 0) or layers.has_head != (index == last):
            yield (*path, "layers"), "embedding or head", "expected them in the first and the last stage"
        if (stage.next_hop is None) != (index == last):
            yield (*path, "next_hop"), "wrong", "expected one from every stage but the last"
        first += len(layers.kinds)
    if first != len(kinds):
        yield ("stages",), f"{first} layers", f"expected the model's {len(kinds)}"
    if (replica.return_hop is None) != (last == 0):
        yield ("return_hop",), "wrong", "expected one with several stages, and only then"
    budget_bytes = scenario.device.memory_bytes * scenario.engine.gpu_memory_utilization
    n_tokens = kv_tokens([stage.layers for stage in replica.stages], budget_bytes)
    if replica.kv_blocks * scenario.engine.block_size > n_tokens:
        found = f"{replica.kv_blocks:,} blocks of {scenario.engine.block_size} tokens"
        yield ("kv_blocks",), found, f"the memory holds {max(n_tokens, 0):,} tokens"
