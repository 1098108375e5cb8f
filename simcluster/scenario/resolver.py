"""Resolve a scenario document: names become values, and everything that cannot work is told at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from itertools import pairwise
from pathlib import Path as FilePath
from typing import Any, TypeVar, get_args

from pydantic import ValidationError

from simcluster.catalog import entries
from simcluster.catalog.calibration import collectives, engines, gpu, wafer
from simcluster.catalog.device import Device
from simcluster.catalog.shapes import ModelShape, largest_layer_parameters
from simcluster.costs.collectives import available
from simcluster.files import source
from simcluster.files.problems import Impossible, InputError, Problem, nearest
from simcluster.files.source import Document, Path, show_path
from simcluster.files.validation import validate
from simcluster.noise.read import read_noise
from simcluster.noise.sources import SOURCES, Noise
from simcluster.policies.routers import ROUTERS
from simcluster.policies.schedulers import SCHEDULERS
from simcluster.scenario.assumptions import assumptions
from simcluster.scenario.crosscheck import crosscheck
from simcluster.scenario.files import copied
from simcluster.scenario.network import events, network, noise_events
from simcluster.scenario.placement import Misfit, StageLayers, cut, kv_tokens, require_fit
from simcluster.scenario.requests import require_requests
from simcluster.scenario.resolved import (
    EngineSettings,
    Event,
    Group,
    Hop,
    ReplicaLayout,
    Scenario,
    Stage,
    files_sha256,
    workload_files,
)
from simcluster.scenario.spec import MAX_EVENTS, Deployment, EventSpec, ModelFile, NoiseOverride, ScenarioFile
from simcluster.topology.measure import group_link
from simcluster.topology.measure import path as route
from simcluster.topology.model import Topology
from simcluster.topology.read import from_document
from simcluster.topology.read import load as load_topology
from simcluster.workload import WorkloadSpec
from simcluster.workload.lengths import Fixed, Lengths, Uniform

T = TypeVar("T")

MAX_STAGES = 1024
"""Of all replicas of several stages together: between any two a path is looked for."""
MAX_LAYERS = 150_000
"""Of all replicas together: each is written out in the resolved scenario, which must stay readable."""

DEFAULT_UTILIZATION = {"gpu": 0.9, "lpu": 0.95, "rdu": 0.9, "wafer": 0.95}
"""Share of the memory for weights and KV cache: vLLM's default on GPUs; assumed elsewhere."""


class Resolver:
    """Resolves one document, gathering problems; each part goes on as far as what it needs is there."""

    def __init__(self, document: Document, path: FilePath) -> None:
        self._document = document
        self._path = path
        self._problems: list[Problem] = []

    def scenario(self) -> Scenario:
        """
        The resolved scenario.

        Raises:
            Impossible: all is well-formed and known, but not together.
            InputError: with every fault of form and every unknown name.
        """
        topology = self._try(self._topology)
        try:
            file = validate(self._document, ScenarioFile)
        except InputError as error:
            self._problems += error.problems
            self._look_up_names(topology)
            raise InputError(self._problems) from None
        model = self._try(lambda: self._model(file.model))
        noise = self._try(lambda: self._noise(file.noise))
        workload = self._try(lambda: self._workload(file))
        self._policies(file.deployment)
        happening: tuple[Event, ...] | None = None
        if topology is not None:
            happening = self._try(lambda: events(self._document, dict(enumerate(file.events)), topology))
        if self._problems or model is None or topology is None or noise is None or workload is None:
            raise InputError(self._problems)
        try:
            scenario = self._laid_out(file, model, topology, noise, workload, happening or ())
        except InputError as error:
            raise Impossible(error.problems) from None
        except ValidationError as error:  # values that are fine one by one and make something beyond all bounds
            raise Impossible(
                self._document.problem((), f"{show_path(fault['loc'])} of {fault['input']!s:.80}", fault["msg"])
                for fault in error.errors()
            ) from None
        problems = [self._document.problem(_as_written(path), *fault) for path, *fault in crosscheck(scenario)]
        if problems:
            raise Impossible(problems)
        return scenario

    def _try(self, part: Callable[[], T]) -> T | None:
        """The part, or None with its problems kept."""
        try:
            return part()
        except InputError as error:
            self._problems += error.problems
            return None

    def _fail(self, path: Path, found: str, expected: str) -> InputError:
        return InputError([self._document.problem(path, found, expected)])

    def _folder(self, path: Path) -> FilePath:
        """Where a file named at this path is looked for."""
        return self._document.folder(path)

    def _from_file(self, path: Path, read: Callable[[], T]) -> T:
        """What a file named at this path holds; one that cannot be read is a fault of the line that names it."""
        try:
            return read()
        except InputError as error:
            raise InputError(
                problem
                if problem.line or problem.path
                else self._document.problem(path, f"{problem.file}: {problem.found}", problem.expected)
                for problem in error.problems
            ) from None

    def _topology(self) -> Topology | None:
        data = self._document.data.get("topology") if isinstance(self._document.data, dict) else None
        if isinstance(data, dict):
            return from_document(self._document, ("topology",))
        if not isinstance(data, str):
            return None  # the form of the file is told elsewhere
        try:
            return self._from_file(("topology",), lambda: load_topology(data, self._folder(("topology",))))
        except entries.UnknownName as error:
            raise self._fail(("topology",), error.found, error.expected) from None

    def _look_up_names(self, topology: Topology | None) -> None:
        """The form of the file is wrong somewhere; tell unknown names too, as far as they stand there as such."""
        data = self._document.data if isinstance(self._document.data, dict) else {}
        model, noise = data.get("model"), data.get("noise")
        if isinstance(model, str):
            self._try(lambda: self._model(model))
        if isinstance(noise, str):
            self._try(lambda: self._noise(noise))
        if isinstance(entries := data.get("events"), list) and topology is not None:
            sound = {}
            for number, entry in enumerate(entries[:MAX_EVENTS]):
                with suppress(ValidationError):  # told elsewhere
                    sound[number] = EventSpec.model_validate(entry)
            self._try(lambda: events(self._document, sound, topology))

    def _model(self, named: str | ModelFile) -> ModelShape:
        if isinstance(named, ModelFile):
            from simcluster.catalog import hf_config

            at: Path = ("model", "config")
            config = self._folder(at) / named.config
            shape = self._from_file(at, lambda: hf_config.read(config))
        else:
            try:
                shape = entries.model(named)
            except entries.UnknownName as error:
                raise self._fail(("model",), error.found, error.expected) from None
        if shape.kind != "decoder":
            raise self._fail(
                ("model",), f"{shape.name} is of kind {shape.kind}", "expected a decoder, which makes tokens"
            )
        return shape

    def _noise(self, named: str | NoiseOverride) -> Noise:
        override = named if isinstance(named, NoiseOverride) else NoiseOverride(preset=named)
        at: Path = ("noise",) if isinstance(named, str) else ("noise", "preset")
        name = override.preset
        try:
            if name.endswith(".yaml"):
                file = self._folder(at) / name
                preset = self._from_file(at, lambda: read_noise(file.stem, source.read(file)))
            else:
                preset = _preset(name)
        except entries.UnknownName as error:
            raise self._fail(at, error.found, error.expected) from None
        self._require_changes(override, preset)
        return preset.changed(override.stated(), tuple(override.without))

    def _require_changes(self, override: NoiseOverride, preset: Noise) -> None:
        """Hold that a source that is left out is in the preset and named once, and that one that is stated is."""
        problems: list[Problem] = []
        stated = override.stated()
        for source_name in SOURCES:
            if source_name in override.model_fields_set and source_name not in stated:
                expected = f"expected its parameters; to leave it out, write without: [{source_name}]"
                problems.append(self._document.problem(("noise", source_name), "nothing", expected))
        there = [row.source for row in preset.rows]
        for index, name in enumerate(override.without):
            if name in override.without[:index]:
                found, expected = f"'{name}' again", "expected each source once"
            elif name in stated:
                found, expected = f"'{name}', which is stated too", "expected it either stated or left out"
            elif name not in there:
                found = f"'{name}', which preset {override.preset} does not have"
                expected = f"expected some of {', '.join(there)}" if there else "remove it"
            else:
                continue
            problems.append(self._document.problem(("noise", "without", index), found, expected))
        if problems:
            raise InputError(problems)

    def _workload(self, file: ScenarioFile) -> dict[str, Any]:
        """The section as written, files by absolute path."""
        workload: dict[str, Any] = copied(self._document.data["workload"])
        for path in workload_files(workload):
            inner = workload if len(path) == 1 else workload[path[0]]
            found = (self._folder(("workload", *path)) / inner[path[-1]]).absolute()
            if not source.is_file(found):
                raise self._fail(("workload", *path), f"no file '{inner[path[-1]]}'", "expected a readable file")
            inner[path[-1]] = str(found)
        require_requests(self._document, workload, files_sha256(workload), file.seeds)
        return workload

    def _policies(self, deployment: Deployment) -> None:
        for key, known in (("scheduler", SCHEDULERS), ("router", ROUTERS)):
            name = getattr(deployment, key)
            if name not in known:
                self._problems.append(
                    self._document.problem(("deployment", key), f"unknown {key} '{name}'", nearest(name, known))
                )
        algorithm = deployment.all_reduce
        known_algorithms = ("auto", *collectives.ALGORITHMS["all_reduce"], *get_args(collectives.Library))
        if algorithm not in known_algorithms:
            found = f"unknown algorithm '{algorithm}'"
            at = ("deployment", "all_reduce")
            self._problems.append(self._document.problem(at, found, nearest(algorithm, known_algorithms)))

    def _laid_out(
        self, file: ScenarioFile, model: ModelShape, topology: Topology, noise: Noise, workload: dict[str, Any],
        happening: tuple[Event, ...],
    ) -> Scenario:  # fmt: skip
        """Everything that depends on model, devices and topology together."""
        deployment = file.deployment
        names = self._devices(deployment, topology)
        device = self._one_kind(names, topology)
        self._cuttable(deployment, model, device)
        stages = cut(
            model, deployment.pipeline_parallel_size, deployment.tensor_parallel_size, deployment.weights,
            deployment.kv_cache,
        )  # fmt: skip
        utilization = deployment.gpu_memory_utilization or DEFAULT_UTILIZATION[device.kind]
        max_model_len = min(deployment.max_model_len or model.context, model.context)
        streamed = deployment.weight_residency == "streamed"
        if streamed:
            stages = _buffers_only(model, stages, deployment)
        needed = self._longest(file.workload, max_model_len)
        try:
            require_fit(
                model, device, stages, deployment.tensor_parallel_size, deployment.weights, deployment.kv_cache,
                utilization, needed,
            )  # fmt: skip
        except Misfit as error:
            raise self._fail(("model",), error.found, error.expected) from None
        blocks = kv_tokens(stages, device.memory_bytes * utilization) // deployment.block_size
        if deployment.num_gpu_blocks_override is not None:
            if deployment.num_gpu_blocks_override > blocks:
                found = f"{deployment.num_gpu_blocks_override:,} KV blocks"
                raise self._fail(
                    ("deployment", "num_gpu_blocks_override"), found, f"the memory holds {blocks:,} at most"
                )
            blocks = deployment.num_gpu_blocks_override
        if blocks * deployment.block_size < needed:
            at = ("deployment", "num_gpu_blocks_override" if deployment.num_gpu_blocks_override else "block_size")
            found = f"{blocks:,} KV blocks of {deployment.block_size:,} tokens"
            raise self._fail(at, found, f"expected room for the {needed:,} tokens of a request")
        gpu_constants, wafer_constants = self._calibration(device)
        n_ranks = deployment.tensor_parallel_size
        groups = [tuple(names[start : start + n_ranks]) for start in range(0, len(names), n_ranks)]
        group = self._group(deployment, groups, topology)
        replicas = _replicas(deployment, stages, groups, topology, blocks)
        happening = (*happening, *noise_events(noise, device.kind, topology, names))
        needed_at_all = bool(happening) or file.fidelity == "message"
        served_by = _served_by(deployment)
        host_fixed_s, host_per_sequence_s = _host(deployment, gpu_constants, wafer_constants, served_by)
        given = deployment.model_fields_set
        return Scenario(
            name=self._path.stem,
            title=file.title or self._path.stem,
            seed=file.seed,
            source_seeds=file.source_seeds,
            fidelity=file.fidelity,
            topology=topology.name,
            model=model,
            weight_bits=deployment.weights,
            kv_bits=deployment.kv_cache,
            dense_bits=deployment.dense_weights or deployment.weights,
            block_scales=deployment.weight_scales == "block",
            device=device,
            gpu=gpu_constants,
            wafer=wafer_constants,
            group=group,
            weight_stream=self._stream(topology, names[0]) if streamed else None,
            replicas=replicas,
            engine=EngineSettings(
                scheduler=served_by.scheduler if served_by and "scheduler" not in given else deployment.scheduler,
                router=deployment.router,
                max_num_seqs=deployment.max_num_seqs,
                max_num_batched_tokens=deployment.max_num_batched_tokens,
                max_model_len=max_model_len,
                block_size=deployment.block_size,
                gpu_memory_utilization=utilization,
                launch=deployment.launch,
                all_reduce=deployment.all_reduce,
                admission_lag=_lag(deployment, served_by),
                host_fixed_s=host_fixed_s,
                host_per_sequence_s=host_per_sequence_s,
                slowdown=deployment.slowdown,
                collective_skew_s=engines.skew_s(served_by.collective_skew_s if served_by else 0.0, n_ranks),
                calibration=served_by,
            ),
            events=happening,
            network=network(topology, replicas, needed_at_all),
            workload=workload,
            workload_sha256=files_sha256(workload),
            noise=noise,
            limits_ms={
                name: limit_s * 1e3
                for name, limit_s in (("ttft", file.slo.ttft), ("tpot", file.slo.tpot), ("e2el", file.slo.e2el))
                if limit_s is not None
            },
            gates=tuple(file.gates),
            steady_state=file.steady_state,
            assumptions=tuple(assumptions(deployment, device, gpu_constants, wafer_constants, group, noise, model)),
        )

    def _devices(self, deployment: Deployment, topology: Topology) -> list[str]:
        """The devices in order of use."""
        n_needed = deployment.replicas * deployment.pipeline_parallel_size * deployment.tensor_parallel_size
        if deployment.devices is None:
            if n_needed > len(topology.devices):
                found = (
                    f"{deployment.replicas} x {deployment.pipeline_parallel_size} x {deployment.tensor_parallel_size}"
                    f" = {n_needed} devices (replicas x stages x ranks)"
                )
                raise self._fail(("deployment",), found, f"topology {topology.name} has {len(topology.devices)}")
            return list(topology.devices[:n_needed])
        known, seen = set(topology.devices), set[str]()
        at: Path = ("deployment", "devices")
        problems = []
        if len(deployment.devices) != n_needed:
            found, expected = f"{len(deployment.devices)} devices", f"expected {n_needed}: replicas x stages x ranks"
            problems.append(self._document.problem(at, found, expected))
        for index, name in enumerate(deployment.devices):
            if name not in known:
                hint = nearest(name, known) if len(known) <= 100 else f"expected a device of topology {topology.name}"
                problems.append(self._document.problem((*at, index), f"no device '{name[:80]}'", hint))
            elif name in seen:
                problems.append(self._document.problem((*at, index), f"'{name}' again", "expected each device once"))
            seen.add(name)
            if len(problems) == source.MAX_PROBLEMS:
                break
        if problems:
            raise InputError(problems)
        return deployment.devices

    def _one_kind(self, names: Iterable[str], topology: Topology) -> Device:
        """The catalogue's device of all of these."""
        kinds = list(dict.fromkeys(topology.plain.nodes[name]["device"] for name in names))
        if len(kinds) > 1:
            raise self._fail(("deployment",), f"devices of several kinds: {', '.join(kinds)}", "expected one kind")
        return entries.device(kinds[0])

    def _cuttable(self, deployment: Deployment, model: ModelShape, device: Device) -> None:
        """Hold that the model can be cut as asked."""
        problems = []
        n_ranks, n_stages = deployment.tensor_parallel_size, deployment.pipeline_parallel_size
        if model.heads % n_ranks:
            divisors = ", ".join(str(n) for n in range(1, model.heads + 1) if model.heads % n == 0)
            found = f"{model.heads} heads among {n_ranks} ranks"
            problems.append((("deployment", "tensor_parallel_size"), found, f"expected one of {divisors}"))
        if device.kind == "wafer" and n_ranks > 1:
            found = f"{n_ranks} ranks of wafers"
            problems.append(
                (
                    ("deployment", "tensor_parallel_size"),
                    found,
                    "layers are not cut across wafers: use pipeline stages",
                )
            )
        n_joined = n_stages if n_stages > 1 else 0
        for n_each, what, most in ((n_joined, "joined stages", MAX_STAGES), (model.layers, "layers", MAX_LAYERS)):
            if deployment.replicas * n_each > most:
                found = f"{deployment.replicas:,} x {n_each:,} {what}"
                problems.append((("deployment", "replicas"), found, f"at most {most:,} are laid out"))
        if n_stages > model.layers:
            found = f"{n_stages} stages for {model.layers} layers"
            problems.append((("deployment", "pipeline_parallel_size"), found, "expected at most one stage a layer"))
        if problems:
            raise InputError(self._document.problem(*problem) for problem in problems)

    def _longest(self, workload: WorkloadSpec, max_model_len: int) -> int:
        """Tokens of KV cache that a replica must be able to hold: the longest request that is sure to come."""
        lengths = [_at_least(lengths) for lengths in (workload.prompt_tokens, workload.output_tokens) if lengths]
        longest = sum(lengths) - 1 if lengths else 1
        if longest + 1 > max_model_len:
            found = f"requests of at least {longest + 1:,} tokens"
            raise self._fail(("workload",), found, f"the model serves {max_model_len:,} at most (max_model_len)")
        return longest

    def _calibration(self, device: Device) -> tuple[gpu.GpuCalibration | None, wafer.WaferCalibration | None]:
        if device.kind == "wafer":
            return None, wafer.shipped(device.name)
        return gpu.shipped(device.name), None

    def _group(self, deployment: Deployment, groups: list[tuple[str, ...]], topology: Topology) -> Group | None:
        """The fabric of a tensor-parallel group; all groups are laid out alike."""
        n_ranks = deployment.tensor_parallel_size
        if n_ranks == 1:
            return None
        link = group_link(topology, groups[0])
        enclosures = [topology.plain.nodes[name]["group"] for name in groups[0]]
        n_nodes = len(set(enclosures)) if len(link.links) > 1 else 1
        at: Path = ("deployment", "tensor_parallel_size")
        if n_nodes > 1 and any(enclosures.count(e) * n_nodes != n_ranks for e in enclosures):
            raise self._fail(at, f"{n_ranks} ranks unevenly over {n_nodes} nodes", "expected the same number on each")
        for group in groups[1:]:
            if group_link(topology, group) != link or _by_node(topology, group) != _by_node(topology, groups[0]):
                found = f"{', '.join(group[:3])} … lie otherwise than {', '.join(groups[0][:3])} …"
                raise self._fail(at, found, "expected all groups of ranks alike: other sizes, or 'devices' reordered")
        try:
            inside = collectives.fabric(link.links[0])
            across = collectives.fabric(link.links[-1]) if n_nodes > 1 else None
        except LookupError as error:
            joined = " and ".join(name or "a link without a name" for name in link.links)
            raise self._fail(at, f"ranks joined by {joined}", str(error)) from None
        if n_nodes > 1 and deployment.all_reduce != "auto":
            expected = f"expected auto: ranks on {n_nodes} nodes reduce in three phases"
            raise self._fail(("deployment", "all_reduce"), f"'{deployment.all_reduce}'", expected)
        try:
            available(inside.all_reduce, n_ranks // n_nodes, deployment.launch, deployment.all_reduce)
        except ValueError as error:
            raise self._fail(("deployment", "all_reduce"), f"'{deployment.all_reduce}'", str(error)) from None
        return Group(ranks_per_node=n_ranks // n_nodes, n_nodes=n_nodes, inside=inside, across=across)

    def _stream(self, topology: Topology, device: str) -> Hop:
        """The way from the memory node to the device."""
        memories = [node for node, said in topology.plain.nodes(data=True) if said["kind"] == "memory"]
        if not memories:
            raise self._fail(
                ("deployment", "weight_residency"), f"topology {topology.name} has no memory node",
                "expected one such as wse3-memoryx, or weights that are resident",
            )  # fmt: skip
        found = route(topology, memories[0], device)
        return Hop(nodes=found.nodes, latency_s=found.latency_s, bytes_per_s=found.bytes_per_s)


@cache
def _preset(name: str) -> Noise:
    return read_noise(name)


def _as_written(path: Path) -> Path:
    """Where in a scenario file something stands that a resolved scenario has at this path."""
    if path[0] in ("events", "source_seeds"):
        return path[:2]
    return ("deployment", "all_reduce") if path == ("engine", "all_reduce") else ("topology",)


def _by_node(topology: Topology, group: tuple[str, ...]) -> list[int]:
    """How many ranks of a group each node holds."""
    return sorted(Counter(topology.plain.nodes[name]["group"] for name in group).values())


def _at_least(lengths: Lengths) -> int:
    """A length that some request of a workload is sure to have."""
    if isinstance(lengths, Fixed):
        return lengths.value
    return lengths.bounds()[0] if isinstance(lengths, Uniform) else 1


def _buffers_only(model: ModelShape, stages: list[StageLayers], deployment: Deployment) -> list[StageLayers]:
    """With streamed weights a device holds two layers at a time: one at work, one on its way."""
    per_parameter = deployment.weights / 8 / deployment.tensor_parallel_size
    two_layers = 2 * largest_layer_parameters(model) * per_parameter
    return [stage.model_copy(update={"weight_bytes": min(stage.weight_bytes, two_layers)}) for stage in stages]


def _replicas(
    deployment: Deployment, stages: list[StageLayers], groups: list[tuple[str, ...]], topology: Topology, blocks: int
) -> tuple[ReplicaLayout, ...]:
    """Each with the next groups of ranks, one for a stage."""
    replicas = []
    for number in range(deployment.replicas):
        own = groups[number * len(stages) : (number + 1) * len(stages)]
        hops = [_hop(topology, a[0], b[0], deployment) for a, b in pairwise(own)]
        laid = [
            Stage(devices=devices, layers=layers, next_hop=hop)
            for devices, layers, hop in zip(own, stages, [*hops, None], strict=True)
        ]
        back = _hop(topology, own[-1][0], own[0][0], deployment) if len(own) > 1 else None
        replicas.append(ReplicaLayout(stages=tuple(laid), return_hop=back, kv_blocks=blocks))
    return tuple(replicas)


def _hop(topology: Topology, a: str, b: str, deployment: Deployment) -> Hop:
    """The way between two stages: the links of the idle graph, and what the library's send costs besides."""
    found = route(topology, a, b)
    software_s = 0.0
    for link in reversed(found.links):
        if link in collectives.fabrics():
            sends = available(collectives.fabric(link).send, 2, deployment.launch)
            software_s = min(send.fixed_s for send in sends)
            break
    return Hop(nodes=found.nodes, latency_s=found.latency_s + software_s, bytes_per_s=found.bytes_per_s)


def _served_by(deployment: Deployment) -> engines.EngineCalibration | None:
    """The constants of the serving engine, when one is named."""
    if deployment.engine is None:
        return None
    return engines.shipped(deployment.engine)


def _lag(deployment: Deployment, served_by: engines.EngineCalibration | None) -> int:
    if served_by is None or "admission_lag" in deployment.model_fields_set:
        return deployment.admission_lag
    return served_by.admission_lag


def _host(
    deployment: Deployment, gpu_constants: gpu.GpuCalibration | None, wafer_constants: wafer.WaferCalibration | None,
    served_by: engines.EngineCalibration | None,
) -> tuple[float, float]:  # fmt: skip
    """Host time before a step: fixed, and per sequence."""
    if deployment.host_time_per_step is not None:
        return deployment.host_time_per_step, 0.0
    if served_by is not None:
        return served_by.host_fixed_s, served_by.host_per_sequence_s
    if gpu_constants is not None:
        return gpu_constants.host_fixed_s, gpu_constants.host_per_sequence_s
    assert wafer_constants is not None
    return wafer_constants.host_step_s, 0.0
