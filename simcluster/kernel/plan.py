"""From a resolved scenario to the replicas that the kernel plays."""

from __future__ import annotations

from collections.abc import Callable

from simcluster.costs.blocks import BlockCosts, ExchangeTime, HostTime, WeightStream
from simcluster.costs.collectives import all_gather_s, all_reduce_s, hierarchical_all_reduce_s
from simcluster.costs.memory_device import MemoryDevice
from simcluster.costs.ops import ACTIVATION_BYTES, Exchange, Precision
from simcluster.costs.service import Jitter, Skew, StageModel, TimedStage
from simcluster.costs.stage import BlockStage, TimedBlocks, blocks_of, charge, timed_blocks
from simcluster.costs.wafer_device import WaferDevice
from simcluster.kernel.replica import ReplicaPlan
from simcluster.noise import Slices, exponential_ticks, lognormal_factors
from simcluster.policies.schedulers import SCHEDULERS
from simcluster.scenario import Group, Hop, Replica, Scenario, Stage
from simcluster.ticks import to_ticks

TOKEN_BYTES = 4
"""A chosen token on its way back to the first stage."""


def replica_plans(scenario: Scenario) -> list[ReplicaPlan]:
    """One plan per replica; they share the tables of costs, and each stage has the noise of its own devices."""
    costs = _costs(scenario)
    timed = timed_blocks(costs)
    return [_replica(scenario, replica, costs, timed) for replica in scenario.replicas]


def _costs(scenario: Scenario) -> BlockCosts:
    """The costs of the scenario's device."""
    precision = Precision(scenario.weight_bits, scenario.kv_bits)
    engine = scenario.engine
    host = HostTime(engine.host_fixed_s, engine.host_per_sequence_s)
    stream = None
    if scenario.weight_stream is not None:
        stream = WeightStream(scenario.weight_stream.bytes_per_s, scenario.weight_stream.latency_s)
    if scenario.wafer is not None:
        grid = scenario.device.grid
        assert grid is not None
        region = (grid.rows, grid.columns)
        return WaferDevice(scenario.model, precision, scenario.device, scenario.wafer, host, region, stream)
    assert scenario.gpu is not None
    n_ranks = len(scenario.replicas[0].stages[0].devices)
    return MemoryDevice(
        scenario.model, precision, n_ranks, scenario.device, scenario.gpu, engine.launch, host,
        _exchange_s(scenario.group, scenario), stream,
    )  # fmt: skip


def _exchange_s(group: Group | None, scenario: Scenario) -> ExchangeTime:
    """Time of the exchanges among the ranks of a stage."""

    def exchange_s(kind: Exchange, n_bytes: float) -> float:
        if group is None:
            return 0.0
        launch, algorithm = scenario.engine.launch, scenario.engine.all_reduce
        if kind == "all_gather":
            fabric = group.across or group.inside
            return float(all_gather_s(fabric.all_gather, group.ranks_per_node * group.n_nodes, n_bytes, launch))
        if group.across is None:
            return float(all_reduce_s(group.inside.all_reduce, group.ranks_per_node, n_bytes, launch, algorithm))
        nodes = (group.ranks_per_node, group.n_nodes)
        return float(hierarchical_all_reduce_s(group.inside, group.across, *nodes, n_bytes, launch))

    return exchange_s


def _replica(scenario: Scenario, replica: Replica, costs: BlockCosts, timed: TimedBlocks) -> ReplicaPlan:
    engine = scenario.engine
    hops = [stage.next_hop for stage in replica.stages if stage.next_hop is not None]
    return ReplicaPlan(
        stages=tuple(_stage(scenario, stage, costs, timed) for stage in replica.stages),
        hop_ticks=tuple(_hop_ticks(hop, scenario.model.hidden) for hop in hops),
        return_ticks=_transfer_ticks(replica.return_hop, TOKEN_BYTES) if replica.return_hop else 0,
        n_blocks=replica.kv_blocks,
        block_size=engine.block_size,
        max_running=engine.max_num_seqs,
        max_tokens=engine.max_num_batched_tokens,
        scheduler=SCHEDULERS[engine.scheduler],
    )


def _transfer_ticks(hop: Hop, n_bytes: int) -> int:
    return to_ticks(hop.latency_s + n_bytes / hop.bytes_per_s)


def _hop_ticks(hop: Hop, hidden: int) -> Callable[[int], int]:
    """Time of the activations of so many tokens to the next stage."""
    return lambda n_tokens: _transfer_ticks(hop, n_tokens * hidden * ACTIVATION_BYTES)


def _stage(scenario: Scenario, stage: Stage, costs: BlockCosts, timed: TimedBlocks) -> StageModel:
    """A stage with the noise of its devices: jitter keyed by its first device, skew by every rank."""
    nominal = BlockStage(costs, timed, blocks_of(stage.layers))
    collectives = tuple(index for index, op in enumerate(nominal.all_ops) if op.exchange)
    kind, seed = scenario.device.kind, scenario.seed
    cv, mean_s = scenario.noise.op_jitter_cv(kind), scenario.noise.arrival_skew_s(kind)
    jitter = skew = None
    if cv:
        slices = Slices(len(nominal.all_ops), seed, "op_jitter", stage.devices[0])
        jitter = Jitter(lognormal_factors(cv), slices)
    if mean_s and collectives and len(stage.devices) > 1:
        ranks = tuple(Slices(len(collectives), seed, "arrival_skew", name) for name in stage.devices)
        skew = Skew(exponential_ticks(mean_s), ranks)
    return TimedStage(nominal, charge(nominal.all_ops), collectives, jitter, skew)
