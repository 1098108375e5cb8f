"""Plans for the kernel, made from a resolved scenario: its replicas, and the events that change them."""

from __future__ import annotations

from simcluster.noise.renewals import Renewals, host_pauses
from simcluster.numerics.ticks import to_ticks
from simcluster.plans.conditions import NORMAL_CONDITIONS, Conditions, EventPlan, Link, ReplicaSite
from simcluster.plans.events import planned_events
from simcluster.plans.links import Links, routes
from simcluster.plans.prices import Prices
from simcluster.plans.replica_plan import PipelinePlan, ReplicaPlan, Rounds, Sharing
from simcluster.policies.schedulers import SCHEDULERS
from simcluster.scenario.resolved import ReplicaLayout, Scenario, Stage
from simcluster.stages.timed import StageModel
from simcluster.topology.routes import NoRoute, Routes
from simcluster.topology.sharing import between_ranks, links_shared, own_links_meet


class Planner:
    """Plans the replicas of a scenario, as built and under conditions of its devices and links."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self.prices = {pool.name: Prices(scenario, pool) for pool in scenario.pools}
        """By the name of the pool."""
        self.links: Links | None = None
        """The links as built; None for a scenario without a network."""
        self._changed: Links | None = None
        n_replicas = len(scenario.replicas)
        self.sharing: list[Sharing] = ["none"] * n_replicas
        """By replica, whether others use its links; its exchanges and sends are flows while they do."""
        if scenario.network is not None:
            self.links = Links(scenario.network, routes(scenario.network, scenario.topology), NORMAL_CONDITIONS)
            self.sharing = self._sharing_of(scenario, self.links.routes)

    @property
    def capacities_bytes_per_s(self) -> tuple[float, ...]:
        """Capacities of the fabric's links by number; empty without a fabric."""
        return self.links.routes.capacities_bytes_per_s if self.links is not None else ()

    def pauses(self) -> list[Renewals | None]:
        """
        Pauses of the hosts that deliver, by replica and named by its first device.

        None for a replica whose devices are without the source; empty when all are.
        """
        scenario = self._scenario
        found: list[Renewals | None] = []
        for pool, replica in scenario.placed_replicas:
            values = scenario.noise.values("host_pauses", pool.device.kind)
            name = replica.stages[0].devices[0]
            found.append(None if values is None else host_pauses(scenario.seeds, name, **values))
        return found if any(pauses is not None for pauses in found) else []

    def event_plan(self) -> EventPlan | None:
        """What may happen to devices and links, and which replicas it concerns; None without events."""
        if self.links is None or not self._scenario.events:
            return None
        all_links = frozenset((link.a, link.b) for link in self.links.network.links)
        return EventPlan(
            planned_events(self._scenario, self.links),
            [self._site(number, all_links) for number in range(len(self._scenario.replicas))],
            self._capacities,
        )

    def plan(self, number: int, conditions: Conditions = NORMAL_CONDITIONS) -> ReplicaPlan | str:
        """A replica under conditions, or why it cannot run."""
        pool, replica = self._scenario.placed_replicas[number]
        prices, engine = self.prices[pool.name], pool.engine
        dead = [name for stage in replica.stages for name in stage.devices if name in conditions.dead]
        if dead:
            return f"{dead[0]} is down"
        try:
            links = self._under(conditions)
            pipeline = _pipeline(prices, replica, conditions, links, self.sharing[number])
            return_s = prices.return_s(replica.return_hop, links)
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
            admission_lag=engine.admission_lag,
            may_change=self._may_change(number),
            pool=pool.name,
            max_model_len=engine.max_model_len,
        )

    def _sharing_of(self, scenario: Scenario, routes: Routes) -> list[Sharing]:
        """
        Whether others use the links of each replica.

        Found from the routes as built, so a replica that shares with transfers alone counts as always sharing where
        links may be cut: what goes around them may meet anything. So does one whose own exchanges and sends meet.
        """
        if scenario.fidelity == "message":
            return ["always"] * len(scenario.replicas)
        groups = [[stage.devices for stage in replica.stages] for replica in scenario.replicas]
        transfers = [event.ends for event in scenario.events if event.ends is not None]
        always = links_shared(routes, groups)
        may_detour = any(event.kind == "link_down" for event in scenario.events)
        return [
            "none" if not shares
            else "always" if is_always or may_detour or own_links_meet(routes, stages)
            else "sometimes"
            for shares, is_always, stages in zip(links_shared(routes, groups, transfers), always, groups, strict=True)
        ]  # fmt: skip

    def _under(self, conditions: Conditions) -> Links | None:
        """The links under conditions, one object for equal ones."""
        if self.links is None or conditions == NORMAL_CONDITIONS:
            return self.links
        if self._changed is None or self._changed.conditions != conditions:
            self._changed = Links(self.links.network, self.links.routes, conditions)
        return self._changed

    def _capacities(self, conditions: Conditions) -> dict[int, float]:
        """Capacities of slow links on the fabric, by number."""
        links = self._under(conditions)
        return {} if links is None else links.capacities

    def _may_change(self, number: int) -> bool:
        """Whether an event may concern a replica: one of its devices, or any link if it exchanges or sends."""
        pool, replica = self._scenario.placed_replicas[number]
        devices = {name for stage in replica.stages for name in stage.devices}
        sends = len(devices) > 1 or pool.weight_stream is not None
        return any(
            not devices.isdisjoint(event.devices) or (event.link is not None and sends)
            for event in self._scenario.events
        )

    def _site(self, number: int, all_links: frozenset[Link]) -> ReplicaSite:
        """The devices and links of a replica; none if no event concerns it, so that it is never planned again."""
        replica = self._scenario.replicas[number]
        devices = frozenset(name for stage in replica.stages for name in stage.devices)
        if not self._may_change(number):
            devices, all_links = frozenset(), frozenset()
        return ReplicaSite(devices, all_links, lambda conditions: self.plan(number, conditions))


def _pipeline(
    prices: Prices, replica: ReplicaLayout, conditions: Conditions, links: Links | None, sharing: Sharing
) -> PipelinePlan:
    """
    The stages of a replica and the ways between them.

    Raises:
        NoRoute: links that are cut leave no way between two of its ranks or stages.
    """
    hops = [stage.next_hop for stage in replica.stages if stage.next_hop is not None]
    if links is not None and conditions.cut:
        for stage in replica.stages:
            links.require_routes(stage.devices)
    rounds: tuple[Rounds | None, ...] = ()
    used: tuple[frozenset[int], ...] = ()
    if sharing != "none" and links is not None:
        rounds = tuple(prices.rounds(stage, links) for stage in replica.stages)
        used = tuple(frozenset(between_ranks(links.routes, stage.devices)) for stage in replica.stages)
    return PipelinePlan(
        tuple(_stage(prices, stage, conditions, links, sharing) for stage in replica.stages),
        tuple(prices.wire(hop, links, sharing) for hop in hops),
        rounds,
        sharing,
        used,
    )


def _stage(prices: Prices, stage: Stage, conditions: Conditions, links: Links | None, sharing: Sharing) -> StageModel:
    """A stage whose slow devices take longer, and whose exchanges are as its links allow."""
    slow = tuple(conditions.slow.get(name, 1.0) for name in stage.devices)
    return prices.stage(stage, slow if set(slow) != {1.0} else (), links, sharing)
