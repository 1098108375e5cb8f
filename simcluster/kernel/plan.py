"""From a resolved scenario to the replicas that the kernel plays."""

from __future__ import annotations

from functools import cache

from simcluster.costs.blocks import BlockCosts, ExchangeTime, HostTime, WeightStream
from simcluster.costs.collectives import all_gather_s, all_reduce_s, hierarchical_all_reduce_s
from simcluster.costs.memory_device import MemoryDevice
from simcluster.costs.ops import ACTIVATION_BYTES, BlockName, Exchange, Precision
from simcluster.costs.service import Jitter, Skew, StageModel, TimedStage
from simcluster.costs.stage import BlockStage, TimedBlocks, blocks_of, charge
from simcluster.costs.wafer_device import WaferDevice
from simcluster.kernel.pipeline import Wire
from simcluster.kernel.replica import ReplicaPlan
from simcluster.noise import Slices, exponential_ticks, lognormal_factors
from simcluster.policies.schedulers import SCHEDULERS, STEADY, Late
from simcluster.scenario import Group, Replica, Scenario, Stage
from simcluster.ticks import to_ticks

TOKEN_BYTES = 4
"""A chosen token on its way back to the first stage."""


def replica_plans(scenario: Scenario) -> list[ReplicaPlan]:
    """One plan per replica; stages and wires that are alike are shared, but each has the noise of its own devices."""
    costs = _costs(scenario)
    timed = TimedBlocks(costs)
    engine, activation_bytes = scenario.engine, scenario.model.hidden * ACTIVATION_BYTES

    @cache
    def quiet(blocks: tuple[BlockName, ...]) -> StageModel:
        return _stage_model(scenario, BlockStage(timed, blocks), ())

    @cache
    def wire(latency_s: float, bytes_per_s: float) -> Wire:
        return Wire(lambda n_tokens: to_ticks(n_tokens * activation_bytes / bytes_per_s), to_ticks(latency_s))

    def stage_model(stage: Stage) -> StageModel:
        blocks = blocks_of(stage.layers)
        if not scenario.noise.on(scenario.device.kind):
            return quiet(blocks)
        return _stage_model(scenario, BlockStage(timed, blocks), stage.devices)

    def plan(replica: Replica) -> ReplicaPlan:
        hops = [stage.next_hop for stage in replica.stages if stage.next_hop is not None]
        back = replica.return_hop
        return ReplicaPlan(
            stages=tuple(stage_model(stage) for stage in replica.stages),
            wires=tuple(wire(hop.latency_s, hop.bytes_per_s) for hop in hops),
            return_ticks=to_ticks(back.latency_s + TOKEN_BYTES / back.bytes_per_s) if back else 0,
            n_blocks=replica.kv_blocks,
            block_size=engine.block_size,
            max_running=engine.max_num_seqs,
            max_tokens=engine.max_num_batched_tokens,
            scheduler=Late(SCHEDULERS[engine.scheduler], engine.admission_lag)
            if engine.admission_lag
            else SCHEDULERS[engine.scheduler],
            steady=engine.scheduler in STEADY and not engine.admission_lag,
        )

    return [plan(replica) for replica in scenario.replicas]


def _costs(scenario: Scenario) -> BlockCosts:
    """The costs of the scenario's device."""
    precision = Precision(scenario.weight_bits, scenario.kv_bits, scenario.block_scales, scenario.dense_bits)
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
        _exchange_s(scenario.group, scenario), stream, engine.collective_skew_s,
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


def _stage_model(scenario: Scenario, nominal: BlockStage, devices: tuple[str, ...]) -> StageModel:
    """A stage with the noise of its devices, if any: jitter keyed by the first, skew by every rank."""
    collectives = tuple(index for index, op in enumerate(nominal.all_ops) if op.exchange)
    kind, seed = scenario.device.kind, scenario.seed
    cv, mean_s = scenario.noise.op_jitter_cv(kind), scenario.noise.arrival_skew_s(kind)
    jitter = skew = None
    if devices and cv:
        slices = Slices(len(nominal.all_ops), seed, "op_jitter", devices[0])
        jitter = Jitter(lognormal_factors(cv), slices)
    if len(devices) > 1 and mean_s and collectives:
        ranks = tuple(Slices(len(collectives), seed, "arrival_skew", name) for name in devices)
        skew = Skew(exponential_ticks(mean_s), ranks)
    return TimedStage(nominal, charge(nominal.all_ops), collectives, jitter, skew)
