"""From a resolved scenario to the replicas that the kernel plays."""

from __future__ import annotations

from collections import Counter
from functools import cache, cached_property, lru_cache

from simcluster.costs.blocks import BlockCosts, ExchangeTime, HostTime, WeightStream
from simcluster.costs.collectives import Phases, flat, hierarchical_all_reduce, phases_s
from simcluster.costs.exchange import Leg
from simcluster.costs.memory_device import MemoryDevice
from simcluster.costs.wafer_device import WaferDevice
from simcluster.noise.experts import routings
from simcluster.noise.experts import varies as routing_varies
from simcluster.noise.renewals import Renewals, host_pauses
from simcluster.noise.sources import Noise
from simcluster.numerics.maxmin import Uses
from simcluster.numerics.ticks import to_ticks
from simcluster.plans.conditions import NORMAL_CONDITIONS, Conditions, EventPlan, Place
from simcluster.plans.events import happenings
from simcluster.plans.links import Links, exchange_legs, routes
from simcluster.plans.noisy_stages import Stretch, collectives, is_noisy, skew, stage_model
from simcluster.plans.replica_plan import FlowLoad, FlowRound, PipelinePlan, ReplicaPlan, Rounds, Wire
from simcluster.policies.schedulers import SCHEDULERS, STEADY
from simcluster.scenario.placement import StageLayers
from simcluster.scenario.resolved import Group, Hop, Replica, Scenario, Stage
from simcluster.stages.nominal import BlockStage, TimedBlocks
from simcluster.stages.routing import ExpertFactors
from simcluster.stages.step_noise import Skew
from simcluster.stages.timed import StageModel
from simcluster.topology.routes import NoRoute
from simcluster.topology.sharing import links_shared
from simcluster.work.batch import Batch
from simcluster.work.op import ACTIVATION_BYTES, Collective, Linear, Precision, features
from simcluster.work.programs import PROGRAMS, BlockName, RankWork

TOKEN_BYTES = 4
"""A chosen token on its way back to the first stage."""


class Planner:
    """Plans the replicas of a scenario, as it is and under what happens to its devices and links."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._links: Links | None = None
        self._changed: Links | None = None
        n_replicas = len(scenario.replicas)
        self.on_fabric = [False] * n_replicas
        """By replica, whether its exchanges and sends are flows."""
        if scenario.network is not None:
            self._links = Links(scenario.network, routes(scenario.network, scenario.topology), NORMAL_CONDITIONS)
            self._all_links = frozenset((link.a, link.b) for link in scenario.network.links)
            self._node_of = {node.name: node.group for node in scenario.network.nodes}
            laid = [[stage.devices for stage in replica.stages] for replica in scenario.replicas]
            transfers = [event.ends for event in scenario.events if event.ends is not None]
            self.on_fabric = links_shared(self._links.routes, laid, transfers)
            if scenario.fidelity == "message":
                self.on_fabric = [True] * n_replicas
        self._blocks = lru_cache(maxsize=256)(self._timed_blocks)
        self._quiet = lru_cache(maxsize=1024)(self._quiet_stage)
        self._exchanges = lru_cache(maxsize=256)(self._exchanges_of)
        self._rounds = lru_cache(maxsize=4096)(self._rounds_of)
        self._wire = lru_cache(maxsize=1024)(self._wire_over)
        self._experts = lru_cache(maxsize=1024)(self._expert_factors)

    @property
    def capacities_bytes_per_s(self) -> tuple[float, ...]:
        """Of the fabric's links by number; none without a fabric."""
        return self._links.routes.capacities_bytes_per_s if self._links is not None else ()

    @property
    def built_bytes_per_s(self) -> dict[tuple[str, str], float]:
        """Of the scenario's directed links, by their ends; none without a network."""
        routes = self._links.routes if self._links is not None else None
        return dict(zip(routes.links, routes.capacities_bytes_per_s, strict=True)) if routes is not None else {}

    def link_bytes(self, number: int, n_tokens: float, n_outputs: float) -> dict[tuple[str, str], float]:
        """
        What a step puts on each directed link as it was built: exchanges within stages, and sends between them.

        Every rank sends to its peer in the next stage. None without a network.

        Args:
            number: of the replica.
            n_tokens: of the step, prompts included.
            n_outputs: of them, whose logits are computed.

        Raises:
            NoRoute: between ranks that exchange or send.
        """
        links, stages = self._links, self._scenario.replicas[number].stages
        if links is None:
            return {}
        found: dict[int, float] = {}
        sizes = {"tokens": n_tokens, "outputs": n_outputs}
        for place, stage in enumerate(stages):
            for (kind, form), count in self._exchanges(stage.layers).items():
                for leg in self._legs(stage.devices, kind, form.at(sizes)):
                    loads = links.loads_of(leg.collective, leg.fit.algorithm, leg.groups)
                    for link, share in loads.items():
                        found[link] = found.get(link, 0.0) + count * leg.n_bytes * float(share)
            if stage.next_hop is not None:
                for ends in zip(stage.devices, stages[place + 1].devices, strict=True):
                    for link in links.route(*ends):
                        sent = n_tokens * self._scenario.model.hidden * ACTIVATION_BYTES
                        found[link] = found.get(link, 0.0) + sent
        return {links.routes.links[link]: n_bytes for link, n_bytes in found.items()}

    def _exchanges_of(self, layers: StageLayers) -> Counter[tuple[Collective, Linear]]:
        """How often a stage has each exchange, by its kind and the form of its bytes."""
        ops = self._as_built(layers).all_ops
        return Counter((op.exchange, op.exchange_bytes) for op in ops if op.exchange)

    def pauses(self) -> list[Renewals]:
        """Of the hosts that deliver, by replica and named by its first device; none without the source."""
        scenario = self._scenario
        values = scenario.noise.values("host_pauses", scenario.device.kind)
        if values is None:
            return []
        return [host_pauses(scenario.seeds, replica.stages[0].devices[0], **values) for replica in scenario.replicas]

    def world(self) -> EventPlan | None:
        """What may happen; None if nothing does."""
        if self._links is None or not self._scenario.events:
            return None
        return EventPlan(
            happenings(self._scenario, self._links),
            [self._place(number) for number in range(len(self._scenario.replicas))],
            self._capacities,
        )

    def plan(self, number: int, conditions: Conditions = NORMAL_CONDITIONS) -> ReplicaPlan | str:
        """A replica under conditions, or why it cannot run."""
        scenario, replica = self._scenario, self._scenario.replicas[number]
        engine, back = scenario.engine, replica.return_hop
        dead = [name for stage in replica.stages for name in stage.devices if name in conditions.dead]
        if dead:
            return f"{dead[0]} is down"
        links, flows = self._under(conditions), self.on_fabric[number]
        try:
            if links is not None and conditions.cut:
                for stage in replica.stages:
                    links.require_ways(stage.devices)
            pipeline = PipelinePlan(
                tuple(self._stage(stage, conditions, links, flows) for stage in replica.stages),
                tuple(self._way(stage.next_hop, links) for stage in replica.stages if stage.next_hop is not None),
                tuple(self._rounds(stage, links) for stage in replica.stages) if flows and links else (),
            )
            return_s = 0.0
            if back is not None:
                latency_s, bytes_per_s = (back.latency_s, back.bytes_per_s) if links is None else links.hop(back)[:2]
                return_s = latency_s + TOKEN_BYTES / bytes_per_s
        except NoRoute as error:
            return str(error)
        return ReplicaPlan(
            pipeline=pipeline,
            return_ticks=to_ticks(return_s),
            n_blocks=replica.kv_blocks,
            block_size=engine.block_size,
            max_running=engine.max_num_seqs,
            max_tokens=engine.max_num_batched_tokens,
            scheduler=SCHEDULERS[engine.scheduler],
            steady=STEADY.get(engine.scheduler),
            admission_lag=engine.admission_lag,
            may_change=self._may_change(replica),
        )

    def skew(self, stage: Stage) -> Skew | None:
        """How late each rank of a stage comes to each of its collectives; None where nobody is ever late."""
        scenario = self._scenario
        n_collectives = len(collectives(self._as_built(stage.layers)))
        if len(stage.devices) < 2 or not n_collectives:
            return None
        return skew(scenario.noise, scenario.device.kind, stage.devices, n_collectives, scenario.seeds)

    def _under(self, conditions: Conditions) -> Links | None:
        """The links under conditions, one object for equal ones."""
        if self._links is None or conditions == NORMAL_CONDITIONS:
            return self._links
        if self._changed is None or self._changed.conditions != conditions:
            self._changed = Links(self._links.network, self._links.routes, conditions)
        return self._changed

    def _capacities(self, conditions: Conditions) -> dict[int, float]:
        """Of slow links on the fabric."""
        links = self._under(conditions)
        return {} if links is None else links.capacities

    def _may_change(self, replica: Replica) -> bool:
        """Whether an event may concern a replica: one of its devices, or any link if it exchanges or sends."""
        devices = {name for stage in replica.stages for name in stage.devices}
        sends = len(devices) > 1 or self._scenario.weight_stream is not None
        return any(
            not devices.isdisjoint(event.devices) or (event.link is not None and sends)
            for event in self._scenario.events
        )

    def _place(self, number: int) -> Place:
        replica, network = self._scenario.replicas[number], self._scenario.network
        if not self._may_change(replica) or network is None:
            return Place(frozenset(), frozenset(), lambda conditions: self.plan(number, conditions))
        return Place(
            frozenset(name for stage in replica.stages for name in stage.devices),
            self._all_links,
            lambda conditions: self.plan(number, conditions),
        )

    def _stage(self, stage: Stage, conditions: Conditions, links: Links | None, flows: bool) -> StageModel:
        """A stage whose slow devices take longer, and whose exchanges are as its links allow."""
        changed = links if links is not None and links.conditions != NORMAL_CONDITIONS else None
        # On flows, what links have is the fabric's business, but for what is cut and what is paid before.
        over = (stage.devices, changed, flows) if changed is not None else None
        slow = tuple(conditions.slow.get(name, 1.0) for name in stage.devices)
        if set(slow) == {1.0}:
            slow = ()
        blocks, scenario = PROGRAMS["token"].blocks_of(stage.layers), self._scenario
        is_routed = routing_varies(scenario.model, scenario.wafer is not None, scenario.weight_stream is not None)
        if not is_noisy(scenario.noise, scenario.device.kind, is_routed):
            return self._quiet(blocks, slow, over)
        experts = self._experts(stage.layers, over) if is_routed else None
        noise = self._noise_of_flows if flows else scenario.noise
        return self._modelled(blocks, stage.devices, slow, over, noise, experts)

    @cached_property
    def _noise_of_flows(self) -> Noise:
        """A flow lasts as long as its links let it, however long noise makes the same exchange by itself."""
        return self._scenario.noise.changed({}, ("small_messages",))

    def _quiet_stage(self, blocks: tuple[BlockName, ...], slow: tuple[float, ...], over: Over | None) -> StageModel:
        return self._modelled(blocks, (), slow, over, self._scenario.noise)

    def _modelled(
        self, blocks: tuple[BlockName, ...], devices: tuple[str, ...], slow: tuple[float, ...], over: Over | None,
        noise: Noise, experts: ExpertFactors | None = None,
    ) -> StageModel:  # fmt: skip
        scenario = self._scenario
        stage = BlockStage(self._blocks(over), blocks)
        stretch = Stretch(scenario.engine.slowdown, scenario.group is None)
        kind, seeds = scenario.device.kind, scenario.seeds
        return stage_model(stage, devices, slow, stretch, noise, kind, seeds, experts)

    def _expert_factors(self, layers: StageLayers, over: Over | None) -> ExpertFactors | None:
        """What routing makes of the experts of these layers; None without the source, or without experts."""
        scenario = self._scenario
        values = scenario.noise.values("moe_routing", scenario.device.kind)
        numbers = tuple(number for number, kind in enumerate(layers.kinds, layers.first_layer) if kind == "moe")
        if values is None or not numbers or scenario.model.moe is None:
            return None
        found = routings(scenario.model.name, scenario.model.moe, values["sigma"], numbers)
        return ExpertFactors(self._blocks(over).costs, found)

    def _as_built(self, layers: StageLayers) -> BlockStage:
        """A stage of these layers on devices and links as they were built."""
        return BlockStage(self._blocks(None), PROGRAMS["token"].blocks_of(layers))

    def _timed_blocks(self, over: Over | None) -> TimedBlocks:
        """Costs of the scenario's device, for the ranks of a stage over changed links or for all."""
        scenario = self._scenario
        stream = scenario.weight_stream
        if over is None or scenario.group is None:
            exchange_s = _exchange_s(scenario.group, scenario)
        else:
            devices, links, flows = over
            idle = links.as_built if flows else links

            def exchange_s(kind: Collective, n_bytes: float) -> float:
                return idle.seconds(self._legs(devices, kind, n_bytes))

        if stream is not None and over is not None:
            latency_s, bytes_per_s, _ = over[1].hop(stream)
            stream = stream.model_copy(update={"latency_s": latency_s, "bytes_per_s": bytes_per_s})
        return TimedBlocks(_costs(scenario, exchange_s, stream))

    def _legs(self, devices: tuple[str, ...], kind: Collective, n_bytes: float) -> tuple[Leg, ...]:
        group, engine = self._scenario.group, self._scenario.engine
        if group is None:
            return ()
        return exchange_legs(group, devices, self._node_of, kind, n_bytes, engine.launch, engine.all_reduce)

    def _rounds_of(self, stage: Stage, links: Links) -> Rounds | None:
        """The exchanges of a stage as flows: a phase each, or every message of every round; None without ranks."""
        scenario = self._scenario
        if scenario.group is None:
            return None
        all_ops = self._as_built(stage.layers).all_ops
        by_message = scenario.fidelity == "message"

        @lru_cache(maxsize=4096)
        def rounds(kind: Collective, n_bytes: float) -> tuple[FlowRound, ...]:
            legs = self._legs(stage.devices, kind, n_bytes)
            if by_message:
                return tuple(
                    FlowRound(to_ticks(latency_s), tuple(FlowLoad(*transfer) for transfer in transfers))
                    for latency_s, transfers in links.messages(legs)
                )
            return tuple(
                FlowRound(to_ticks(latency_s), (FlowLoad(alone_s, uses),))
                for latency_s, alone_s, uses in links.phases(legs)
            )

        def rounds_of(op: int, batch: Batch) -> tuple[FlowRound, ...]:
            form = all_ops[op].exchange_bytes
            return rounds(all_ops[op].exchange, form.at(features(batch, scenario.model)))

        return rounds_of

    def _way(self, hop: Hop, links: Links | None) -> Wire:
        """The way between two stages; one object for ways that are alike, so that they are asked once for all."""
        latency_s, bytes_per_s, uses = (hop.latency_s, hop.bytes_per_s, ()) if links is None else links.hop(hop)
        built_per_s = bytes_per_s * links.slower(uses) if links is not None else bytes_per_s
        return self._wire(latency_s, bytes_per_s, built_per_s, uses)

    def _wire_over(self, latency_s: float, bytes_per_s: float, built_per_s: float, uses: Uses) -> Wire:
        """A way of this latency and bandwidth; as a flow, on links that had this bandwidth when they were built."""
        activation_bytes = self._scenario.model.hidden * ACTIVATION_BYTES
        return Wire(
            lambda n_tokens: to_ticks(n_tokens * activation_bytes / bytes_per_s),
            to_ticks(latency_s),
            lambda n_tokens: FlowLoad(n_tokens * activation_bytes / built_per_s, uses),
        )


Over = tuple[tuple[str, ...], Links, bool]
"""Ranks, the links between them, and whether these are a fabric's."""


def _costs(scenario: Scenario, exchange_s: ExchangeTime, weights_from: Hop | None) -> BlockCosts:
    """The costs of the scenario's device."""
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


def _exchange_s(group: Group | None, scenario: Scenario) -> ExchangeTime:
    """Time of the exchanges among the ranks of a stage, whose sizes come again and again."""
    launch, algorithm = scenario.engine.launch, scenario.engine.all_reduce

    @cache
    def phases(kind: Collective) -> Phases:
        if group is None:
            return ()
        if kind == "all_gather":
            fabric = group.across or group.inside
            return flat("all_gather", fabric.all_gather, group.ranks_per_node * group.n_nodes, launch)
        if group.across is None:
            return flat("all_reduce", group.inside.all_reduce, group.ranks_per_node, launch, algorithm)
        return hierarchical_all_reduce(group.inside, group.across, group.ranks_per_node, group.n_nodes, launch)

    @lru_cache(maxsize=4096)
    def exchange_s(kind: Collective, n_bytes: float) -> float:
        return float(phases_s(phases(kind), n_bytes))

    return exchange_s
