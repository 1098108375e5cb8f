"""
The links of a scenario under given conditions: exchanges and sends as phases, around what is cut.

A phase alone on its links lasts latency + bytes / bandwidth of the fit. What is cut is gone around: the bytes then
load other links, and the time grows as the worst link's does. A slow link lengthens the bandwidth part of every
phase over it by what it lacks, and its extra latency is paid in every round. Left out: how long a library takes to
notice and to find another way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import permutations

from simcluster.catalog.calibration.collectives import Launch
from simcluster.costs.collectives import COLLECTIVES
from simcluster.costs.exchange import (
    Leg,
    LoadsOf,
    MessageRound,
    Phase,
    UsesOf,
    hierarchical_legs,
    legs,
    loads_over,
    messages,
    phases,
    uses_over,
)
from simcluster.numerics.maxmin import Uses
from simcluster.numerics.ticks import TICKS_PER_S
from simcluster.plans.conditions import Conditions, Link
from simcluster.scenario.resolved import Group, Hop, Network
from simcluster.topology.graph import Graph
from simcluster.topology.model import add_link, topology
from simcluster.topology.routes import Routes
from simcluster.work.op import Collective


def routes(network: Network, name: str) -> Routes:
    """Ways over the links of a network; the name is that of its topology."""
    graph = Graph()
    for node in network.nodes:
        graph.add_node(node.name, kind=node.kind, group=node.group, forwards=node.forwards)
    for link in network.links:
        add_link(graph, link.a, link.b, link.bytes_per_s, link.latency_s)
    return Routes(topology(name, "", graph, "network", ""))


@dataclass(frozen=True, eq=False)
class Links:
    """The network under conditions."""

    network: Network
    routes: Routes
    conditions: Conditions

    def route(self, a: str, b: str) -> tuple[int, ...]:
        """
        The way of a message.

        Raises:
            NoRoute: what is cut leaves none.
        """
        return self.routes.route(a, b, down=self.conditions.cut)

    @cached_property
    def capacities(self) -> dict[int, float]:
        """Of slow links, by number."""
        built, number = self.routes.capacities_bytes_per_s, self.routes.number
        return {
            number[ends]: built[number[ends]] * share
            for link, share in self.conditions.share.items()
            for ends in (link, link[::-1])
        }

    def _later_s(self, a: str, b: str) -> float:
        """How much later a message arrives for slow links on its way, and for going around what is cut."""
        way, built_way = self.route(a, b), self.as_built.route(a, b)
        around_s = self.routes.latency_s(way) - self.routes.latency_s(built_way) if way != built_way else 0.0
        return around_s + self.latency_s(way)

    def latency_s(self, route: Sequence[int]) -> float:
        """What slow links on a way add."""
        extra = self.conditions.extra_latency_ticks
        names = [self.routes.links[link] for link in route]
        return sum(extra.get(a, 0) + extra.get(a[::-1], 0) for a in names) / TICKS_PER_S

    @cached_property
    def loads_of(self) -> LoadsOf:
        """What collectives put on the links, in bytes."""
        return loads_over(self.route, self.routes.switch)

    @cached_property
    def uses_of(self) -> UsesOf:
        """What collectives put on the links, scaled."""
        return uses_over(self.route, self.routes.switch, self.routes.capacities_bytes_per_s)

    @cached_property
    def as_built(self) -> Links:
        """The same network while nothing happens."""
        return Links(self.network, self.routes, Conditions())

    def phases(self, exchange: Sequence[Leg]) -> list[Phase]:
        """Phases of an exchange; alone on the links as they were built, each lasts what it says."""
        found = []
        for leg, phase in zip(exchange, phases(exchange, self.uses_of), strict=True):
            key = (leg.collective, leg.fit.algorithm, leg.groups)
            detour = self._worst(self.loads_of(*key), {}) / self._worst(self.as_built.loads_of(*key), {})
            extra_s = 0.0
            if self.conditions.extra_latency_ticks or self.conditions.cut:
                pairs = {ends for group in leg.groups for ends in zip(group, (*group[1:], group[0]), strict=True)}
                rounds = COLLECTIVES[leg.collective][leg.fit.algorithm].steps(len(leg.groups[0]))
                extra_s = rounds * max(self._later_s(*ends) for ends in pairs)
            found.append(Phase(phase.latency_s + extra_s, phase.alone_s * detour, phase.uses))
        return found

    def seconds(self, exchange: Sequence[Leg]) -> float:
        """Time of an exchange that has these links, as they are, to itself."""
        total_s = 0.0
        for phase in self.phases(exchange):
            total_s += phase.latency_s + phase.alone_s * self.slower(phase.uses)
        return total_s

    def slower(self, uses: Uses) -> float:
        """How many times as long a flow takes over the links as they are as over the links as built."""
        capacities = self.capacities
        if capacities.keys().isdisjoint(link for link, _ in uses):
            return 1.0
        loads = dict(uses)
        return self._worst(loads, capacities) / self._worst(loads, {})

    def _worst(self, loads: Mapping[int, float | Fraction], capacities: dict[int, float]) -> float:
        """Seconds that the worst link needs for its load."""
        built = self.routes.capacities_bytes_per_s
        return max((float(load) / capacities.get(link, built[link]) for link, load in loads.items()), default=1.0)

    def messages(self, exchange: Sequence[Leg]) -> tuple[MessageRound, ...]:
        """An exchange message by message."""
        return messages(exchange, self.route, self.routes.switch)

    def require_ways(self, ranks: tuple[str, ...]) -> None:
        """
        Hold that every rank reaches every other, and the switch that may add for them.

        Raises:
            NoRoute: one does not.
        """
        for ends in permutations(ranks, 2):
            self.route(*ends)
        try:
            switch = self.routes.switch(ranks)
        except ValueError:
            return  # there is none
        for rank in ranks:
            self.route(rank, switch)
            self.route(switch, rank)

    def hop(self, hop: Hop) -> tuple[float, float, Uses]:
        """Latency and bandwidth of a send along a hop's ends as the links are, and what it uses of them."""
        a, b = hop.nodes[0], hop.nodes[-1]
        way = self.route(a, b)
        bytes_per_s = hop.bytes_per_s
        if way != self.as_built.route(a, b) or not self.capacities.keys().isdisjoint(way):
            built = self.routes.capacities_bytes_per_s
            bytes_per_s = min(self.capacities.get(link, built[link]) for link in way)
        return hop.latency_s + self._later_s(a, b), bytes_per_s, tuple((link, 1.0) for link in way)


def exchange_legs(
    group: Group, devices: tuple[str, ...], node_of: dict[str, str], kind: Collective, n_bytes: float, launch: Launch,
    algorithm: str,
) -> tuple[Leg, ...]:  # fmt: skip
    """The collective after an op of a stage, as the deployment plays it."""
    if kind == "all_gather":
        fabric = group.across or group.inside
        return legs("all_gather", fabric.all_gather, devices, n_bytes, launch)
    if group.across is None:
        return legs("all_reduce", group.inside.all_reduce, devices, n_bytes, launch, algorithm)
    nodes: dict[str, list[str]] = {}
    for name in devices:
        nodes.setdefault(node_of[name], []).append(name)
    return hierarchical_legs(group.inside, group.across, tuple(map(tuple, nodes.values())), n_bytes, launch)


def normalised(link: Link, network: Network) -> Link:
    """A link as the network has it."""
    return link if any((known.a, known.b) == link for known in network.links) else link[::-1]
