"""What stages, exchanges and sends of a pool take under given links."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, cached_property, lru_cache
from typing import Literal, NamedTuple

from simcluster.catalog.calibration.collectives import Fabric
from simcluster.costs.blocks import BlockCosts, ExchangeTime, HostTime, WeightStream
from simcluster.costs.collectives import Fits, Phases, flat, hierarchical_all_reduce, phases_s, phases_ticks
from simcluster.costs.exchange import Leg, hierarchical_legs, legs
from simcluster.costs.memory_device import MemoryDevice
from simcluster.costs.wafer_device import WaferDevice
from simcluster.noise.experts import routings
from simcluster.noise.experts import varies as routing_varies
from simcluster.noise.sources import Noise
from simcluster.numerics.maxmin import Uses
from simcluster.numerics.ticks import TICKS_PER_S, to_ticks
from simcluster.plans.conditions import NORMAL_CONDITIONS
from simcluster.plans.links import Links
from simcluster.plans.noisy_stages import Stretch, is_noisy, stage_model
from simcluster.plans.replica_plan import FlowLoad, FlowRound, Rounds, Sharing, Wire
from simcluster.scenario.placement import StageLayers
from simcluster.scenario.resolved import Group, Hop, Pool, Scenario, Stage
from simcluster.stages.nominal import BlockStage, TimedBlocks
from simcluster.stages.routing import ExpertFactors
from simcluster.stages.timed import StageModel
from simcluster.work.batch import Batch
from simcluster.work.op import ACTIVATION_BYTES, Collective, Precision, features
from simcluster.work.programs import PROGRAMS, BlockName, RankWork

TOKEN_BYTES = 4
"""A chosen token on its way back to the first stage."""


class StageLinks(NamedTuple):
    """Links that are not as built, or shared at times, as the ranks of a stage find them."""

    ranks: tuple[str, ...]
    links: Links
    sharing: Sharing
    """Where links are always shared, bandwidth is the fabric's to give, and only detours and latency count here."""


class Prices:
    """Times of the stages, exchanges and sends of a pool; equal ones are one object and worked out once."""

    def __init__(self, scenario: Scenario, pool: Pool) -> None:
        self._pool, self._noise, self._seeds = pool, scenario.noise, scenario.seeds
        self._by_message = scenario.fidelity == "message"
        self.timed_blocks = lru_cache(maxsize=256)(self._timed_blocks)
        """Costs of the device in ticks, over changed links or, with None, as built."""
        self.rounds = lru_cache(maxsize=4096)(self._rounds)
        """The exchanges of a stage as flows over links, or None for stages of one rank."""
        self._quiet = lru_cache(maxsize=1024)(self._quiet_stage)
        self._wire_over = lru_cache(maxsize=1024)(self._new_wire)
        self._flowing_wire = lru_cache(maxsize=1024)(self._new_flowing_wire)
        self._experts = lru_cache(maxsize=1024)(self._expert_factors)

    def as_built(self, layers: StageLayers) -> BlockStage:
        """A stage of these layers, without noise, on devices and links as built."""
        return BlockStage(self.timed_blocks(None), PROGRAMS["token"].blocks_of(layers))

    def stage(
        self, stage: Stage, slow: tuple[float, ...], links: Links | None, sharing: Sharing = "none"
    ) -> StageModel:
        """
        The durations of a stage with its noise.

        Args:
            stage: its layers and devices.
            slow: factor on the time of each device; empty if none is slow.
            links: as they are; None without a network.
            sharing: whether others use them too.
        """
        over = None
        if links is not None and links.conditions != NORMAL_CONDITIONS:
            over = StageLinks(stage.devices, links, sharing)
        elif links is not None and sharing == "sometimes" and self._pool.group is not None:
            # Groups of ranks are laid out alike, so as built an exchange takes as long in each of them.
            over = StageLinks(self._pool.replicas[0].stages[0].devices, links, sharing)
        blocks, pool = PROGRAMS["token"].blocks_of(stage.layers), self._pool
        is_routed = routing_varies(pool.model, pool.wafer is not None, pool.weight_stream is not None)
        if not is_noisy(self._noise, pool.device.kind, is_routed):
            return self._quiet(blocks, slow, over)
        experts = self._experts(stage.layers, over) if is_routed else None
        noise = self._noise if sharing == "none" else self._noise_on_fabric
        return self._model(blocks, stage.devices, slow, over, noise, experts)

    def wire(self, hop: Hop, links: Links | None, sharing: Sharing = "none") -> Wire:
        """The wire between two stages; equal wires are one object, so that a pipeline evaluates each of them once."""
        if links is not None and sharing == "sometimes":
            return self._flowing_wire(hop, links)
        latency_s, bytes_per_s, uses = (hop.latency_s, hop.bytes_per_s, ()) if links is None else links.hop(hop)
        built_per_s = bytes_per_s * links.slower(uses) if links is not None else bytes_per_s
        return self._wire_over(latency_s, bytes_per_s, built_per_s, uses)

    def return_s(self, hop: Hop | None, links: Links | None) -> float:
        """Time of a chosen token from the last stage back to the first; 0 without a way between them."""
        if hop is None:
            return 0.0
        latency_s, bytes_per_s = (hop.latency_s, hop.bytes_per_s) if links is None else links.hop(hop)[:2]
        return latency_s + TOKEN_BYTES / bytes_per_s

    def legs(self, links: Links, ranks: tuple[str, ...], kind: Collective, n_bytes: float) -> tuple[Leg, ...]:
        """The collectives that an exchange of the ranks of a stage consists of; none for a single rank."""
        group, engine = self._pool.group, self._pool.engine
        if group is None:
            return ()
        choice = _collective(group, kind, engine.all_reduce)
        if isinstance(choice, OneFabric):
            return legs(choice.collective, choice.fits, ranks, n_bytes, engine.launch, choice.algorithm)
        return hierarchical_legs(choice.inside, choice.across, links.by_enclosure(ranks), n_bytes, engine.launch)

    @cached_property
    def _noise_on_fabric(self) -> Noise:
        """Noise of a replica on the fabric, whose exchanges last as long as the links make them."""
        return self._noise.changed({}, ("small_messages",))

    def _quiet_stage(
        self, blocks: tuple[BlockName, ...], slow: tuple[float, ...], over: StageLinks | None
    ) -> StageModel:
        return self._model(blocks, (), slow, over, self._noise)

    def _model(
        self, blocks: tuple[BlockName, ...], devices: tuple[str, ...], slow: tuple[float, ...],
        over: StageLinks | None, noise: Noise, experts: ExpertFactors | None = None,
    ) -> StageModel:  # fmt: skip
        pool = self._pool
        stage = BlockStage(self.timed_blocks(over), blocks)
        stretch = Stretch(pool.engine.slowdown, pool.group is None)
        return stage_model(stage, devices, slow, stretch, noise, pool.device.kind, self._seeds, experts)

    def _expert_factors(self, layers: StageLayers, over: StageLinks | None) -> ExpertFactors | None:
        """Factors that routing puts on the experts of these layers; None without the source, or without experts."""
        model = self._pool.model
        values = self._noise.values("moe_routing", self._pool.device.kind)
        numbers = tuple(number for number, kind in enumerate(layers.kinds, layers.first_layer) if kind == "moe")
        if values is None or not numbers or model.moe is None:
            return None
        found = routings(model.name, model.moe, values["sigma"], numbers)
        return ExpertFactors(self.timed_blocks(over).costs, found)

    def _timed_blocks(self, over: StageLinks | None) -> TimedBlocks:
        stream = self._pool.weight_stream
        if stream is not None and over is not None:
            latency_s, bytes_per_s, _ = over.links.hop(stream)
            stream = stream.model_copy(update={"latency_s": latency_s, "bytes_per_s": bytes_per_s})
        return TimedBlocks(device_costs(self._pool, self._exchange_s(over), stream))

    def _exchange_s(self, over: StageLinks | None) -> ExchangeTime:
        """Time of exchanges among the ranks of a stage that has its links to itself."""
        if over is None or self._pool.group is None:
            return exchange_as_built_s(self._pool)
        if over.sharing == "sometimes":
            if over.links.conditions == NORMAL_CONDITIONS:
                return flows_as_built_s(self._pool)
            return lru_cache(maxsize=4096)(lambda kind, n_bytes: self._alone_ticks(over, kind, n_bytes) / TICKS_PER_S)
        links = over.links.as_built if over.sharing == "always" else over.links
        return lambda kind, n_bytes: links.seconds(self.legs(links, over.ranks, kind, n_bytes))

    def _alone_ticks(self, over: StageLinks, kind: Collective, n_bytes: float) -> int:
        """Time of an exchange whose flows have the links to themselves, each rounded as on the fabric."""
        rounds = self._flow_rounds(over.links, over.ranks, kind, n_bytes)
        return sum(
            round_.latency_ticks + max((over.links.alone_ticks(load) for load in round_.flows), default=0)
            for round_ in rounds
        )

    def _rounds(self, stage: Stage, links: Links) -> Rounds | None:
        """Flows of each exchange: one for each collective, or one for every message of every round."""
        if self._pool.group is None:
            return None
        all_ops, model = self.as_built(stage.layers).all_ops, self._pool.model

        @lru_cache(maxsize=4096)
        def rounds(kind: Collective, n_bytes: float) -> tuple[FlowRound, ...]:
            if not self._by_message:
                return self._flow_rounds(links, stage.devices, kind, n_bytes)
            return tuple(
                FlowRound(to_ticks(latency_s), tuple(FlowLoad(*transfer) for transfer in transfers))
                for latency_s, transfers in links.messages(self.legs(links, stage.devices, kind, n_bytes))
            )

        def rounds_of(op: int, batch: Batch) -> tuple[FlowRound, ...]:
            form = all_ops[op].exchange_bytes
            return rounds(all_ops[op].exchange, form.at(features(batch, model)))

        return rounds_of

    def _flow_rounds(
        self, links: Links, ranks: tuple[str, ...], kind: Collective, n_bytes: float
    ) -> tuple[FlowRound, ...]:
        """An exchange of the ranks of a stage as flows, one for each collective that it consists of."""
        return tuple(
            FlowRound(to_ticks(latency_s), (FlowLoad(alone_s, uses),))
            for latency_s, alone_s, uses in links.phases(self.legs(links, ranks, kind, n_bytes))
        )

    def _new_flowing_wire(self, hop: Hop, links: Links) -> Wire:
        """A way over links that others use at times: alone it takes what its flow takes alone, to the tick."""
        wire = self.wire(hop, links)
        return Wire(lambda n_tokens: links.alone_ticks(wire.load(n_tokens)), wire.latency_ticks, wire.load)

    def _new_wire(self, latency_s: float, bytes_per_s: float, built_per_s: float, uses: Uses) -> Wire:
        """
        A wire of this latency and bandwidth.

        Args:
            latency_s: of a message.
            bytes_per_s: as the links are.
            built_per_s: as they were built, from which the fabric works out what changed links take.
            uses: its links and their weights.
        """
        activation_bytes = self._pool.model.hidden * ACTIVATION_BYTES
        return Wire(
            lambda n_tokens: to_ticks(n_tokens * activation_bytes / bytes_per_s),
            to_ticks(latency_s),
            lambda n_tokens: FlowLoad(n_tokens * activation_bytes / built_per_s, uses),
        )


def device_costs(pool: Pool, exchange_s: ExchangeTime, weights_from: Hop | None) -> BlockCosts:
    """
    The costs of the pool's device.

    Args:
        pool: its model, device, engine and calibration.
        exchange_s: time of an exchange by its kind and bytes.
        weights_from: the way on which weights are streamed, or None where they stay on the device.
    """
    precision = Precision(pool.weight_bits, pool.kv_bits, pool.block_scales, pool.dense_bits)
    engine = pool.engine
    host = HostTime(engine.host_fixed_s, engine.host_per_sequence_s)
    stream = None
    if weights_from is not None:
        stream = WeightStream(weights_from.bytes_per_s, weights_from.latency_s)
    if pool.wafer is not None:
        grid = pool.device.grid
        assert grid is not None
        region = (grid.rows, grid.columns)
        strips = max(len(stage.layers.kinds) for stage in pool.replicas[0].stages)
        work = RankWork(pool.model, precision)
        return WaferDevice(work, pool.device, pool.wafer, host, region, stream, strips)
    assert pool.gpu is not None
    return MemoryDevice(
        RankWork(pool.model, precision, pool.n_ranks), pool.device, pool.gpu, engine.launch, host, exchange_s,
        stream, engine.collective_skew_s,
    )  # fmt: skip


class OneFabric(NamedTuple):
    """A collective of all ranks of a stage at once."""

    collective: Literal["all_reduce", "all_gather"]
    fits: Fits
    algorithm: str


class TwoFabrics(NamedTuple):
    """An all-reduce inside enclosures and across them."""

    inside: Fabric
    across: Fabric


def _collective(group: Group, kind: Collective, all_reduce: str) -> OneFabric | TwoFabrics:
    """How the ranks of a stage exchange; `all_reduce` is the algorithm that the engine asks for."""
    if kind == "all_gather":
        return OneFabric(kind, (group.across or group.inside).all_gather, "auto")
    if group.across is None:
        return OneFabric("all_reduce", group.inside.all_reduce, all_reduce)
    return TwoFabrics(group.inside, group.across)


def exchange_as_built_s(pool: Pool) -> ExchangeTime:
    """Time of exchanges in closed form; kept, since their sizes come again and again."""
    phases = _phases_of(pool)
    return lru_cache(maxsize=4096)(lambda kind, n_bytes: float(phases_s(phases(kind), n_bytes)))


def flows_as_built_s(pool: Pool) -> ExchangeTime:
    """The same where exchanges may be flows: each start and each transfer is a whole number of ticks."""
    phases = _phases_of(pool)
    return lru_cache(maxsize=4096)(lambda kind, n_bytes: phases_ticks(phases(kind), n_bytes) / TICKS_PER_S)


def _phases_of(pool: Pool) -> Callable[[Collective], Phases]:
    """The phases of each exchange of the ranks of a stage; none for a single rank."""
    group, engine = pool.group, pool.engine

    @cache
    def phases(kind: Collective) -> Phases:
        if group is None:
            return ()
        choice = _collective(group, kind, engine.all_reduce)
        n_ranks, n_nodes = group.ranks_per_node, group.n_nodes
        if isinstance(choice, OneFabric):
            return flat(choice.collective, choice.fits, n_ranks * n_nodes, engine.launch, choice.algorithm)
        return hierarchical_all_reduce(choice.inside, choice.across, n_ranks, n_nodes, engine.launch)

    return phases
