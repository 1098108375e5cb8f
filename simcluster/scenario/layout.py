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
from simcluster.scenario.spec import Deployment
from simcluster.topology.measure import GroupLink, group_link
from simcluster.topology.measure import path as route
from simcluster.topology.model import Topology

MAX_STAGES = 1024
"""Of all replicas of several stages together: between any two a path is searched."""
MAX_LAYERS = 150_000
"""Of all replicas together: each is written out in the resolved scenario, which must stay readable."""

DEFAULT_UTILIZATION = {"gpu": 0.9, "lpu": 0.95, "rdu": 0.9, "wafer": 0.95}
"""Share of the memory for weights and KV cache: vLLM's default on GPUs; assumed elsewhere."""

Ranks = tuple[str, ...]
"""The devices of a stage."""


@dataclass(frozen=True)
class Written:
    """A deployment as the file has it, where it stands there, and the topology that it is on."""

    document: Document
    at: Path
    spec: Deployment
    topology: Topology

    def problem(self, key: Path, found: str, expected: str) -> Problem:
        """A fault of a key of the deployment."""
        return self.document.problem((*self.at, *key), found, expected)

    def fault(self, key: Path, found: str, expected: str) -> InputError:
        """The same as an error."""
        return InputError([self.problem(key, found, expected)])


def require_bounded(written: Written, model: ModelShape) -> None:
    """
    Check that the layout can be built at all, and is not beyond the limits, before anything is built.

    Raises:
        InputError: more stages than layers, or more of both than are laid out.
    """
    spec, n_stages = written.spec, written.spec.pipeline_parallel_size
    problems = []
    n_joined = n_stages if n_stages > 1 else 0
    for n_each, what, most in ((n_joined, "joined stages", MAX_STAGES), (model.layers, "layers", MAX_LAYERS)):
        if spec.replicas * n_each > most:
            found = f"{spec.replicas:,} x {n_each:,} {what}"
            problems.append(written.problem(("replicas",), found, f"at most {most:,} are laid out"))
    if n_stages > model.layers:
        found = f"{n_stages} stages for {model.layers} layers"
        problems.append(written.problem(("pipeline_parallel_size",), found, "expected at most one stage a layer"))
    if problems:
        raise InputError(problems)


def devices_of(written: Written) -> list[str]:
    """
    The devices of a deployment in order of use, all of one kind.

    Raises:
        InputError: there are not as many, they are not in the topology, listed twice, or of several kinds.
    """
    spec, topology = written.spec, written.topology
    n_needed = spec.replicas * spec.pipeline_parallel_size * spec.tensor_parallel_size
    if spec.devices is not None:
        _require_listed(written, spec.devices, n_needed)
        names = spec.devices
    elif n_needed <= len(topology.devices):
        names = list(topology.devices[:n_needed])
    else:
        layout = f"{spec.replicas} x {spec.pipeline_parallel_size} x {spec.tensor_parallel_size}"
        found = f"{layout} = {n_needed} devices (replicas x stages x ranks)"
        raise written.fault((), found, f"topology {topology.name} has {len(topology.devices)}")
    kinds = list(dict.fromkeys(topology.plain.nodes[name]["device"] for name in names))
    if len(kinds) > 1:
        raise written.fault((), f"devices of several kinds: {', '.join(kinds)}", "expected one kind")
    return names


def device_of(written: Written, names: Sequence[str]) -> Device:
    """The catalogue's device that these are."""
    return entries.device(written.topology.plain.nodes[names[0]]["device"])


def _require_listed(written: Written, names: Sequence[str], n_needed: int) -> None:
    """Check a list of devices."""
    known, seen = set(written.topology.devices), set[str]()
    at: Path = ("devices",)
    problems = []
    if len(names) != n_needed:
        expected = f"expected {n_needed}: replicas x stages x ranks"
        problems.append(written.problem(at, f"{len(names)} devices", expected))
    for index, name in enumerate(names):
        if name not in known:
            general = f"expected a device of topology {written.topology.name}"
            hint = nearest(name, known) if len(known) <= 100 else general
            problems.append(written.problem((*at, index), f"no device '{name[:80]}'", hint))
        elif name in seen:
            problems.append(written.problem((*at, index), f"'{name}' again", "expected each device once"))
        seen.add(name)
        if len(problems) == source.MAX_PROBLEMS:
            break
    if problems:
        raise InputError(problems)


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


def _hop(written: Written, a: str, b: str) -> Hop:
    """The way between two stages: the links of the idle graph, and what the library's send costs in addition."""
    found = route(written.topology, a, b)
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
    way = route(topology, memories[0], device)
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
    link = group_link(topology, ranks[0])
    by_node = _ranks_by_node(topology, ranks[0])
    n_nodes = len(by_node) if len(link.links) > 1 else 1
    if n_nodes > 1 and len(set(by_node)) > 1:
        raise written.fault(at, f"{n_ranks} ranks unevenly over {n_nodes} nodes", "expected the same number on each")
    for others in ranks[1:]:
        if group_link(topology, others) != link or _ranks_by_node(topology, others) != by_node:
            found = f"{', '.join(others[:3])} … lie otherwise than {', '.join(ranks[0][:3])} …"
            raise written.fault(at, found, "expected all groups of ranks alike: other sizes, or 'devices' reordered")
    return _fabrics(written, link, n_nodes)


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
