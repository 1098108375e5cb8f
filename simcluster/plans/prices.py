"""What stages, exchanges and sends of a scenario take under given links."""

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
from simcluster.scenario.resolved import Group, Hop, Scenario, Stage
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
    """Times of the stages, exchanges and sends of a scenario; equal ones are one object and worked out once."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
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
        elif links is not None and sharing == "sometimes" and self._scenario.group is not None:
            # Groups of ranks are laid out alike, so as built an exchange takes as long in each of them.
            over = StageLinks(self._scenario.replicas[0].stages[0].devices, links, sharing)
        blocks, scenario = PROGRAMS["token"].blocks_of(stage.layers), self._scenario
        is_routed = routing_varies(scenario.model, scenario.wafer is not None, scenario.weight_stream is not None)
        if not is_noisy(scenario.noise, scenario.device.kind, is_routed):
            return self._quiet(blocks, slow, over)
        experts = self._experts(stage.layers, over) if is_routed else None
        noise = scenario.noise if sharing == "none" else self._noise_on_fabric
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
        group, engine = self._scenario.group, self._scenario.engine
        if group is None:
            return ()
        choice = _collective(group, kind, engine.all_reduce)
        if isinstance(choice, OneFabric):
            return legs(choice.collective, choice.fits, ranks, n_bytes, engine.launch, choice.algorithm)
        return hierarchical_legs(choice.inside, choice.across, links.by_enclosure(ranks), n_bytes, engine.launch)

    @cached_property
    def _noise_on_fabric(self) -> Noise:
        """Noise of a replica on the fabric, whose exchanges last as long as the links make them."""
        return self._scenario.noise.changed({}, ("small_messages",))

    def _quiet_stage(
        self, blocks: tuple[BlockName, ...], slow: tuple[float, ...], over: StageLinks | None
    ) -> StageModel:
        return self._model(blocks, (), slow, over, self._scenario.noise)

    def _model(
        self, blocks: tuple[BlockName, ...], devices: tuple[str, ...], slow: tuple[float, ...],
        over: StageLinks | None, noise: Noise, experts: ExpertFactors | None = None,
    ) -> StageModel:  # fmt: skip
        scenario = self._scenario
        stage = BlockStage(self.timed_blocks(over), blocks)
        stretch = Stretch(scenario.engine.slowdown, scenario.group is None)
        return stage_model(stage, devices, slow, stretch, noise, scenario.device.kind, scenario.seeds, experts)

    def _expert_factors(self, layers: StageLayers, over: StageLinks | None) -> ExpertFactors | None:
        """Factors that routing puts on the experts of these layers; None without the source, or without experts."""
        scenario = self._scenario
        values = scenario.noise.values("moe_routing", scenario.device.kind)
        numbers = tuple(number for number, kind in enumerate(layers.kinds, layers.first_layer) if kind == "moe")
        if values is None or not numbers or scenario.model.moe is None:
            return None
        found = routings(scenario.model.name, scenario.model.moe, values["sigma"], numbers)
        return ExpertFactors(self.timed_blocks(over).costs, found)

    def _timed_blocks(self, over: StageLinks | None) -> TimedBlocks:
        scenario, stream = self._scenario, self._scenario.weight_stream
        if stream is not None and over is not None:
            latency_s, bytes_per_s, _ = over.links.hop(stream)
            stream = stream.model_copy(update={"latency_s": latency_s, "bytes_per_s": bytes_per_s})
        return TimedBlocks(device_costs(scenario, self._exchange_s(over), stream))

    def _exchange_s(self, over: StageLinks | None) -> ExchangeTime:
        """Time of exchanges among the ranks of a stage that has its links to itself."""
        if over is None or self._scenario.group is None:
            return exchange_as_built_s(self._scenario)
        if over.sharing == "sometimes" and over.links.conditions == NORMAL_CONDITIONS:
            return flows_as_built_s(self._scenario)
        if over.sharing == "sometimes":
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
        scenario = self._scenario
        if scenario.group is None:
            return None
        all_ops = self.as_built(stage.layers).all_ops
        by_message = scenario.fidelity == "message"

        @lru_cache(maxsize=4096)
        def rounds(kind: Collective, n_bytes: float) -> tuple[FlowRound, ...]:
            if not by_message:
                return self._flow_rounds(links, stage.devices, kind, n_bytes)
            return tuple(
                FlowRound(to_ticks(latency_s), tuple(FlowLoad(*transfer) for transfer in transfers))
                for latency_s, transfers in links.messages(self.legs(links, stage.devices, kind, n_bytes))
            )

        def rounds_of(op: int, batch: Batch) -> tuple[FlowRound, ...]:
            form = all_ops[op].exchange_bytes
            return rounds(all_ops[op].exchange, form.at(features(batch, scenario.model)))

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
        activation_bytes = self._scenario.model.hidden * ACTIVATION_BYTES
        return Wire(
            lambda n_tokens: to_ticks(n_tokens * activation_bytes / bytes_per_s),
            to_ticks(latency_s),
            lambda n_tokens: FlowLoad(n_tokens * activation_bytes / built_per_s, uses),
        )


def device_costs(scenario: Scenario, exchange_s: ExchangeTime, weights_from: Hop | None) -> BlockCosts:
    """
    The costs of the scenario's device.

    Args:
        scenario: its model, device, engine and calibration.
        exchange_s: time of an exchange by its kind and bytes.
        weights_from: the way on which weights are streamed, or None where they stay on the device.
    """
    precision = Precision(scenario.weight_bits, scenario.kv_bits, scenario.block_scales, scenario.dense_bits)
    engine = scenario.engine
    host = HostTime(engine.host_fixed_s, engine.host_per_sequence_s)
    stream = None
    if weights_from is not None:
        stream = WeightStream(weights_from.bytes_per_s, weights_from.latency_s)
    if scenario.wafer is not None:
        grid = scenario.device.grid
        assert grid is not None
        region = (grid.rows, grid.columns)
        strips = max(len(stage.layers.kinds) for stage in scenario.replicas[0].stages)
        work = RankWork(scenario.model, precision)
        return WaferDevice(work, scenario.device, scenario.wafer, host, region, stream, strips)
    assert scenario.gpu is not None
    n_ranks = len(scenario.replicas[0].stages[0].devices)
    return MemoryDevice(
        RankWork(scenario.model, precision, n_ranks), scenario.device, scenario.gpu, engine.launch, host, exchange_s,
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


def exchange_as_built_s(scenario: Scenario) -> ExchangeTime:
    """Time of exchanges in closed form; kept, since their sizes come again and again."""
    phases = _phases_of(scenario)
    return lru_cache(maxsize=4096)(lambda kind, n_bytes: float(phases_s(phases(kind), n_bytes)))


def flows_as_built_s(scenario: Scenario) -> ExchangeTime:
    """The same where exchanges may be flows: each start and each transfer is a whole number of ticks."""
    phases = _phases_of(scenario)
    return lru_cache(maxsize=4096)(lambda kind, n_bytes: phases_ticks(phases(kind), n_bytes) / TICKS_PER_S)


def _phases_of(scenario: Scenario) -> Callable[[Collective], Phases]:
    """The phases of each exchange of the ranks of a stage; none for a single rank."""
    group, engine = scenario.group, scenario.engine

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
