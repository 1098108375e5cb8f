"""Lay a model out on the devices of a topology: stages, replicas, the ways between them, and the groups of ranks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from simcluster.catalog import entries
from simcluster.catalog.calibration import collectives
from simcluster.catalog.device import Device
from simcluster.catalog.shapes import ModelShape, largest_layer_parameters
from simcluster.costs.collectives import available
from simcluster.files import source
from simcluster.files.problems import InputError, Problem, nearest
from simcluster.files.source import Document, Path
from simcluster.scenario.placement import StageLayers, cut, kv_tokens
from simcluster.scenario.resolved import Group, Hop, ReplicaLayout, Stage
from simcluster.scenario.spec import Deployment, Layout, PoolSpec
from simcluster.topology.measure import GroupLink, Route, group_link
from simcluster.topology.measure import path as route
from simcluster.topology.model import Topology

MAX_STAGES = 1024
"""Stages of all replicas with several: between any two a path is searched."""
MAX_LAYERS = 150_000
"""Layers of all replicas: each is written out in the resolved scenario, which must stay readable."""

Ranks = tuple[str, ...]
"""The devices of a stage."""


@dataclass(frozen=True)
class Written:
    """A pool as the file has it, where it stands there, and the topology that it is on."""

    document: Document
    name: str
    at: Path
    spec: Deployment | PoolSpec
    model_at: Path
    topology: Topology

    def problem(self, key: Path, found: str, expected: str) -> Problem:
        """A fault of a key of the pool."""
        return self.document.problem((*self.at, *key), found, expected)

    def fault(self, key: Path, found: str, expected: str) -> InputError:
        """The same as an error."""
        return InputError([self.problem(key, found, expected)])

    def path_of(self, resolved: Path) -> Path:
        """Where in the file something stands that the resolved pool has at this path."""
        match resolved:
            case ("model", *_):
                return self.model_at
            case ("engine", key, *_):
                return (*self.at, key)
            case ("replicas", _, "kv_blocks"):
                is_given = self.spec.num_gpu_blocks_override is not None
                return (*self.at, "num_gpu_blocks_override" if is_given else "block_size")
            case ("replicas", _, "stages", _, "devices") | ("group", *_):
                return (*self.at, "tensor_parallel_size")
        return ("topology",)

    @property
    def device_kind(self) -> str | None:
        """The kind of device that the pool asks for; None if any."""
        return self.spec.device if isinstance(self.spec, PoolSpec) else None

    def kind_of(self, device: str) -> str:
        """The catalogue name of a device of the topology."""
        kind: str = self.topology.plain.nodes[device]["device"]
        return kind


def require_bounded(pools: Sequence[tuple[Written, ModelShape]]) -> None:
    """
    Check that the layouts can be built at all, and are not beyond the limits together, before anything is built.

    Raises:
        InputError: more stages than layers, or more of both than are laid out.
    """
    problems = []
    n_stages = n_layers = 0
    for pool, model in pools:
        n_replicas, n_each = pool.spec.replicas, pool.spec.pipeline_parallel_size
        n_stages += n_replicas * n_each if n_each > 1 else 0
        n_layers += n_replicas * model.layers
        for n, most, each in (
            (n_stages, MAX_STAGES, f"{n_each:,} joined stages"), (n_layers, MAX_LAYERS, f"{model.layers:,} layers"),
        ):  # fmt: skip
            if n > most:
                expected = f"at most {most:,} are laid out"
                problems.append(pool.problem(("replicas",), f"{n_replicas:,} x {each}", expected))
        if n_each > model.layers:
            found = f"{n_each} stages for {model.layers} layers"
            problems.append(pool.problem(("pipeline_parallel_size",), found, "expected at most one stage a layer"))
    if problems:
        raise InputError(problems)


def devices_of(pools: Sequence[Written]) -> list[list[str]]:
    """
    The devices of every pool in order of use, all of one kind and of no other pool.

    Those that are listed are taken first; then each pool takes the first that are left, of one kind.

    Raises:
        InputError: there are not as many, they are not in the topology, used twice, or of several kinds.
    """
    used: dict[str, str] = {}
    problems = [problem for pool in pools for problem in _listed_problems(pool, used)]
    found: list[list[str]] = []
    for pool in pools:
        try:
            found.append(pool.spec.devices if pool.spec.devices is not None else _first_unused(pool, used))
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    return found


def _n_devices(spec: Layout) -> int:
    return spec.replicas * spec.pipeline_parallel_size * spec.tensor_parallel_size


def _first_unused(pool: Written, used: dict[str, str]) -> list[str]:
    """The first devices of the topology of one kind that no pool uses."""
    spec, topology = pool.spec, pool.topology
    kinds = list(dict.fromkeys(map(pool.kind_of, topology.devices)))
    if pool.device_kind is not None and pool.device_kind not in kinds:
        expected = f"topology {topology.name} has {', '.join(kinds)}"
        raise pool.fault(("device",), f"no device of kind '{pool.device_kind[:80]}'", expected)
    unused = [name for name in topology.devices if name not in used]
    kind = pool.device_kind or pool.kind_of((unused or topology.devices)[0])
    usable = [name for name in unused if pool.kind_of(name) == kind]
    n_needed = _n_devices(spec)
    if n_needed > len(usable):
        layout = f"{spec.replicas} x {spec.pipeline_parallel_size} x {spec.tensor_parallel_size}"
        of_kind = f" x {kind}" if len(kinds) > 1 else ""
        expected = f"topology {topology.name} has {len(usable)}{of_kind}{' that are not used' if used else ''}"
        raise pool.fault((), f"{layout} = {n_needed} devices (replicas x stages x ranks)", expected)
    used |= dict.fromkeys(usable[:n_needed], pool.name)
    return usable[:n_needed]


def _listed_problems(pool: Written, used: dict[str, str]) -> list[Problem]:
    """What is wrong with a list of devices, those that other pools use included; they are used from then on."""
    names, known, at = pool.spec.devices, set(pool.topology.devices), ("devices",)
    if names is None:
        return []
    problems = []
    if len(names) != (n_needed := _n_devices(pool.spec)):
        expected = f"expected {n_needed}: replicas x stages x ranks"
        problems.append(pool.problem(at, f"{len(names)} devices", expected))
    for index, name in enumerate(names):
        if name not in known:
            general = f"expected a device of topology {pool.topology.name}"
            hint = nearest(name, known) if len(known) <= 100 else general
            problems.append(pool.problem((*at, index), f"no device '{name[:80]}'", hint))
        elif name in used:
            where = "" if used[name] == pool.name else f", which pool {used[name]} uses"
            problems.append(pool.problem((*at, index), f"'{name}' again{where}", "expected each device once"))
        used[name] = pool.name
        if len(problems) == source.MAX_PROBLEMS:
            break
    kinds = list(dict.fromkeys(pool.kind_of(name) for name in names if name in known))
    if pool.device_kind is not None and kinds and kinds != [pool.device_kind]:
        expected = f"expected {pool.device_kind} only, as 'device' says"
        problems.append(pool.problem(at, f"devices of kind {', '.join(kinds)}", expected))
    elif len(kinds) > 1:
        problems.append(pool.problem((), f"devices of several kinds: {', '.join(kinds)}", "expected one kind"))
    return problems


def device_of(written: Written, names: Sequence[str]) -> Device:
    """The catalogue's device that these are."""
    return entries.device(written.kind_of(names[0]))


def ranks_of(written: Written, names: Sequence[str]) -> list[Ranks]:
    """The devices of every stage, those of the first replica first."""
    n_ranks = written.spec.tensor_parallel_size
    return [tuple(names[start : start + n_ranks]) for start in range(0, len(names), n_ranks)]


def stages_of(written: Written, model: ModelShape) -> list[StageLayers]:
    """What the stages of a replica hold; with streamed weights two layers: one at work, one on its way."""
    spec = written.spec
    stages = cut(model, spec.pipeline_parallel_size, spec.tensor_parallel_size, spec.weights, spec.kv_cache)
    if spec.weight_residency == "resident":
        return stages
    two_layers = 2 * largest_layer_parameters(model) * (spec.weights / 8 / spec.tensor_parallel_size)
    return [stage.model_copy(update={"weight_bytes": min(stage.weight_bytes, two_layers)}) for stage in stages]


def kv_blocks_of(written: Written, stages: list[StageLayers], memory_bytes: float) -> int:
    """KV blocks of a replica: as given, else as many as the memory holds; at least one, whether or not it fits."""
    spec = written.spec
    return spec.num_gpu_blocks_override or max(1, kv_tokens(stages, memory_bytes) // spec.block_size)


def replicas_of(
    written: Written, stages: list[StageLayers], ranks: Sequence[Ranks], kv_blocks: int
) -> tuple[ReplicaLayout, ...]:
    """
    The replicas, each on the next groups of ranks, one for a stage.

    Raises:
        InputError: no path joins two stages.
    """
    replicas = []
    for number in range(written.spec.replicas):
        own = ranks[number * len(stages) : (number + 1) * len(stages)]
        hops = [_hop(written, a[0], b[0]) for a, b in pairwise(own)]
        laid = [
            Stage(devices=devices, layers=layers, next_hop=hop)
            for devices, layers, hop in zip(own, stages, [*hops, None], strict=True)
        ]
        back = _hop(written, own[-1][0], own[0][0]) if len(own) > 1 else None
        replicas.append(ReplicaLayout(stages=tuple(laid), return_hop=back, kv_blocks=kv_blocks))
    return tuple(replicas)


def _route(written: Written, a: str, b: str) -> Route:
    """The way between two nodes of the idle graph."""
    try:
        return route(written.topology, a, b)
    except ValueError as error:
        raise written.fault((), str(error), "expected devices that links join") from None


def _hop(written: Written, a: str, b: str) -> Hop:
    """The way between two stages: the links of the idle graph, and what the library's send costs in addition."""
    found = _route(written, a, b)
    software_s = 0.0
    for link in reversed(found.links):
        if link in collectives.fabrics():
            sends = available(collectives.fabric(link).send, 2, written.spec.launch)
            software_s = min(send.fixed_s for send in sends)
            break
    return Hop(nodes=found.nodes, latency_s=found.latency_s + software_s, bytes_per_s=found.bytes_per_s)


def weight_stream_of(written: Written, device: str) -> Hop | None:
    """
    The way from the memory node to the device, when weights are streamed.

    Raises:
        InputError: the topology has no memory node.
    """
    if written.spec.weight_residency == "resident":
        return None
    topology = written.topology
    memories = [node for node, said in topology.plain.nodes(data=True) if said["kind"] == "memory"]
    if not memories:
        found = f"topology {topology.name} has no memory node"
        expected = "expected one such as wse3-memoryx, or weights that are resident"
        raise written.fault(("weight_residency",), found, expected)
    way = _route(written, memories[0], device)
    return Hop(nodes=way.nodes, latency_s=way.latency_s, bytes_per_s=way.bytes_per_s)


def group_of(written: Written, ranks: Sequence[Ranks]) -> Group | None:
    """
    What the ranks of a stage exchange over; all stages are laid out alike.

    None with one rank, and on wafers, among which no layer is cut.

    Raises:
        InputError: stages are laid out differently, ranks lie unevenly over nodes, or nothing is known of their link.
    """
    topology, n_ranks = written.topology, written.spec.tensor_parallel_size
    at: Path = ("tensor_parallel_size",)
    if n_ranks == 1 or device_of(written, ranks[0]).kind == "wafer":
        return None
    link = _group_link(written, ranks[0])
    by_node = _ranks_by_node(topology, ranks[0])
    n_nodes = len(by_node) if len(link.links) > 1 else 1
    if n_nodes > 1 and len(set(by_node)) > 1:
        raise written.fault(at, f"{n_ranks} ranks unevenly over {n_nodes} nodes", "expected the same number on each")
    for others in ranks[1:]:
        if _group_link(written, others) != link or _ranks_by_node(topology, others) != by_node:
            found = f"{', '.join(others[:3])} … lie otherwise than {', '.join(ranks[0][:3])} …"
            raise written.fault(at, found, "expected all groups of ranks alike: other sizes, or 'devices' reordered")
    return _fabrics(written, link, n_nodes)


def _group_link(written: Written, ranks: Ranks) -> GroupLink:
    """The links that ranks exchange over."""
    try:
        return group_link(written.topology, ranks)
    except ValueError as error:
        raise written.fault(("tensor_parallel_size",), str(error), "expected ranks that links join") from None


def _fabrics(written: Written, link: GroupLink, n_nodes: int) -> Group:
    """The fitted fabrics of links inside a node, and across nodes."""
    try:
        inside = collectives.fabric(link.links[0])
        across = collectives.fabric(link.links[-1]) if n_nodes > 1 else None
    except LookupError as error:
        joined = " and ".join(name or "a link without a name" for name in link.links)
        raise written.fault(("tensor_parallel_size",), f"ranks joined by {joined}", str(error)) from None
    ranks_per_node = written.spec.tensor_parallel_size // n_nodes
    return Group(ranks_per_node=ranks_per_node, n_nodes=n_nodes, inside=inside, across=across)


def _ranks_by_node(topology: Topology, ranks: Ranks) -> list[int]:
    """How many ranks of a group each node holds, ascending."""
    return sorted(Counter(topology.plain.nodes[name]["group"] for name in ranks).values())
