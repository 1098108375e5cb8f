"""
What cannot be true together in a scenario, whether it was resolved from a file or edited afterwards.

The resolver builds a scenario first and then checks it here, once; paths are those of the resolved scenario.
"""

from __future__ import annotations

from collections.abc import Iterator

from simcluster.catalog.calibration.gpu import REQUIRED
from simcluster.catalog.shapes import ModelShape, layer_kinds
from simcluster.catalog.shapes import contradictions as shape_contradictions
from simcluster.costs.collectives import COLLECTIVES, available
from simcluster.costs.gpu import peak_flop_per_s
from simcluster.files.problems import nearest
from simcluster.scenario.crosscheck import crosscheck
from simcluster.scenario.placement import Misfit, kv_tokens, require_fit
from simcluster.scenario.resolved import Fault, Pool, ReplicaLayout, Scenario
from simcluster.workload import WorkloadSpec
from simcluster.workload.lengths import Fixed, Lengths, Uniform


def contradictions(scenario: Scenario) -> Iterator[Fault]:
    """Everything that cannot be true together, each with its place in the resolved scenario."""
    used: set[str] = set()
    n_needed = min_kv_tokens(scenario.requests_spec())
    for number, pool in enumerate(scenario.pools):
        for path, found, expected in _of_pool(pool, n_needed, used):
            yield ("pools", number, *path), found, expected
        if pool.name in (other.name for other in scenario.pools[:number]):
            yield ("pools", number, "name"), f"a second pool '{pool.name}'", "expected every name once"
        if n_needed + 1 > pool.engine.max_model_len:
            found = f"requests of at least {n_needed + 1:,} tokens"
            yield ("workload",), found, f"the model serves {pool.engine.max_model_len:,} at most (max_model_len)"
    yield from crosscheck(scenario)


def _of_pool(pool: Pool, n_needed: int, used: set[str]) -> Iterator[Fault]:
    """
    What cannot be true together in a pool, with paths within it.

    Args:
        pool: as resolved.
        n_needed: tokens of KV cache that every replica must be able to hold.
        used: devices of the pools before; those of this one are added.
    """
    faults = [*not_a_decoder(pool.model), *shape_contradictions(pool.model)]
    if faults:
        yield from ((("model", *path), found, expected) for path, found, expected in faults)
        return  # the checks that follow need a valid shape
    yield from _of_device(pool)
    yield from _of_ranks(pool)
    yield from _of_group(pool)
    for number, replica in enumerate(pool.replicas):
        for path, found, expected in _of_stages(pool, replica, used):
            yield ("replicas", number, *path), found, expected
    if n_needed + 1 <= pool.engine.max_model_len:
        yield from _of_memory(pool, n_needed)


def not_a_decoder(model: ModelShape) -> Iterator[Fault]:
    """A model that makes no tokens; the path is within the shape."""
    if model.kind != "decoder":
        yield ("kind",), f"{model.name} is of kind {model.kind}", "expected a decoder, which makes tokens"


def _of_device(pool: Pool) -> Iterator[Fault]:
    """Constants that the device needs, and only these."""
    device, calibration = pool.device, pool.gpu
    is_wafer = device.kind == "wafer"
    for key, value, belongs in (("wafer", pool.wafer, is_wafer), ("gpu", calibration, not is_wafer)):
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


def _of_ranks(pool: Pool) -> Iterator[Fault]:
    """A number of ranks among which the model cannot be cut."""
    model, n_ranks = pool.model, pool.n_ranks
    at = ("replicas", 0, "stages", 0, "devices")
    if model.heads % n_ranks:
        divisors = ", ".join(str(n) for n in range(1, model.heads + 1) if model.heads % n == 0)
        yield at, f"{model.heads} heads among {n_ranks} ranks", f"expected one of {divisors}"
    if pool.device.kind == "wafer" and n_ranks > 1:
        yield at, f"{n_ranks} ranks of wafers", "layers are not cut across wafers: use pipeline stages"


def _of_group(pool: Pool) -> Iterator[Fault]:
    """An exchange among the ranks of a stage that is missing, or that its fabric does not have."""
    group, n_ranks, engine = pool.group, pool.n_ranks, pool.engine
    if group is None:
        if n_ranks > 1 and pool.device.kind != "wafer":
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
    inner: tuple[str, ...] = ("group", "inside")
    if engine.all_reduce != "auto":
        inner = ("engine", "all_reduce")
        if group.across is not None:
            expected = f"expected auto: ranks on {group.n_nodes} nodes reduce in three phases"
            yield inner, f"'{engine.all_reduce}'", expected
            return
    whole = group.across or group.inside
    needed = [(inner, group.inside.all_reduce, group.ranks_per_node, engine.all_reduce),
              (("group", "across" if group.across else "inside"), whole.all_gather, n_ranks, "auto")]  # fmt: skip
    if group.across is not None:
        needed += [(("group", "inside"), group.inside.reduce_scatter, group.ranks_per_node, "auto"),
                   (("group", "inside"), group.inside.all_gather, group.ranks_per_node, "auto"),
                   (("group", "across"), group.across.all_reduce, group.n_nodes, "auto")]  # fmt: skip
    for path, fits, n, algorithm in needed:
        try:
            if n > 1:
                available(fits, n, engine.launch, algorithm)
        except ValueError as error:
            yield path, f"nothing for {algorithm} among {n} ranks in mode {engine.launch}", str(error)


def _of_stages(pool: Pool, replica: ReplicaLayout, used: set[str]) -> Iterator[Fault]:
    """Stages that do not hold the whole model in order, or not each on devices of its own."""
    kinds = layer_kinds(pool.model)
    first, last = 0, len(replica.stages) - 1
    for index, stage in enumerate(replica.stages):
        layers = stage.layers
        path = ("stages", index)
        if len(stage.devices) != pool.n_ranks:
            found = f"{len(stage.devices)} ranks"
            yield (*path, "devices"), found, f"expected {pool.n_ranks} as in the first stage"
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


def _of_memory(pool: Pool, n_needed: int) -> Iterator[Fault]:
    """Weights and KV blocks that the memory does not hold, and requests that the KV blocks do not hold."""
    engine, device = pool.engine, pool.device
    for number, replica in enumerate(pool.replicas):
        stages, at = [stage.layers for stage in replica.stages], ("replicas", number, "kv_blocks")
        try:
            require_fit(
                pool.model, device, stages, pool.n_ranks, pool.weight_bits, pool.kv_bits,
                engine.gpu_memory_utilization, n_needed,
            )  # fmt: skip
        except Misfit as error:
            yield ("model",), error.found, error.expected
            return
        n_blocks = kv_tokens(stages, device.memory_bytes * engine.gpu_memory_utilization) // engine.block_size
        found = f"{replica.kv_blocks:,} KV blocks of {engine.block_size:,} tokens"
        if replica.kv_blocks > max(n_blocks, 1):
            yield at, found, f"the memory holds {n_blocks:,} at most"
        elif min(replica.kv_blocks, n_blocks) * engine.block_size < n_needed:
            yield at, found, f"expected room for the {n_needed:,} tokens of a request"


def min_kv_tokens(workload: WorkloadSpec) -> int:
    """Tokens of KV cache that every replica must be able to hold: of the longest request that is sure to come."""
    lengths = [_at_least(lengths) for lengths in (workload.prompt_tokens, workload.output_tokens) if lengths]
    return sum(lengths) - 1 if lengths else 1


def _at_least(lengths: Lengths) -> int:
    """A length that some request of a workload is sure to have."""
    if isinstance(lengths, Fixed):
        return lengths.value
    return lengths.bounds()[0] if isinstance(lengths, Uniform) else 1
