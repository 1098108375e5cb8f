"""
The links of a scenario under given conditions: exchanges and sends as phases, routed around links that are cut.

A phase alone on its links lasts latency + bytes / bandwidth of the fit. Where a link is cut, the bytes load other
links, and the time grows with that of the worst one. A slow link lengthens the bandwidth part of every phase over it
by what it lacks, and its extra latency is paid in every round. Left out: how long a library takes to notice and to
find another route.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import permutations

from simcluster.costs.collectives import COLLECTIVES
from simcluster.costs.exchange import (
    Leg,
    LoadsOf,
    MessageRound,
    Phase,
    UsesOf,
    loads_over,
    messages,
    phases,
    uses_over,
)
from simcluster.numerics.maxmin import Uses, alone_speed
from simcluster.numerics.ticks import TICKS_PER_S
from simcluster.plans.conditions import Conditions, Link
from simcluster.plans.replica_plan import FlowLoad
from simcluster.scenario.resolved import Hop, Network
from simcluster.topology.graph import Graph
from simcluster.topology.model import add_link, topology
from simcluster.topology.routes import Routes


def routes(network: Network, name: str) -> Routes:
    """Routes over the links of a network, whose topology has this name."""
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
        The directed links that a message takes, by number.

        Raises:
            NoRoute: the links that are up leave no way.
        """
        return self.routes.route(a, b, down=self.conditions.cut)

    @cached_property
    def capacities(self) -> dict[int, float]:
        """Bytes per second of slow links, by number."""
        built, number = self.routes.capacities_bytes_per_s, self.routes.number
        return {
            number[ends]: built[number[ends]] * share
            for link, share in self.conditions.share.items()
            for ends in (link, link[::-1])
        }

    def _later_s(self, a: str, b: str) -> float:
        """How much later a message arrives because of slow links on its way and of a detour around cut ones."""
        now, built = self.route(a, b), self.as_built.route(a, b)
        detour_s = self.routes.latency_s(now) - self.routes.latency_s(built) if now != built else 0.0
        return detour_s + self.extra_latency_s(now)

    def extra_latency_s(self, route: Sequence[int]) -> float:
        """Extra latency of the slow links on a route."""
        extra = self.conditions.extra_latency_ticks
        names = [self.routes.links[link] for link in route]
        return sum(extra.get(a, 0) + extra.get(a[::-1], 0) for a in names) / TICKS_PER_S

    @cached_property
    def loads_of(self) -> LoadsOf:
        """Bytes that collectives put on the links for each byte of an array."""
        return loads_over(self.route, self.routes.switch)

    @cached_property
    def uses_of(self) -> UsesOf:
        """Weights of the links that collectives use, 1 at the bottleneck."""
        return uses_over(self.route, self.routes.switch, self.routes.capacities_bytes_per_s)

    @cached_property
    def as_built(self) -> Links:
        """The same network under normal conditions."""
        return Links(self.network, self.routes, Conditions())

    def phases(self, exchange: Sequence[Leg]) -> list[Phase]:
        """Phases of an exchange; each lasts as long as it says when it is alone on the links as built."""
        found = []
        for leg, phase in zip(exchange, phases(exchange, self.uses_of), strict=True):
            key = (leg.collective, leg.fit.algorithm, leg.groups)
            detour = 1.0
            if self.conditions.cut:
                detour = self._worst(self.loads_of(*key), {}) / self._worst(self.as_built.loads_of(*key), {})
            extra_s = 0.0
            if self.conditions.extra_latency_ticks or self.conditions.cut:
                pairs = {ends for group in leg.groups for ends in zip(group, (*group[1:], group[0]), strict=True)}
                rounds = COLLECTIVES[leg.collective][leg.fit.algorithm].steps(len(leg.groups[0]))
                extra_s = rounds * max(self._later_s(*ends) for ends in pairs)
            found.append(Phase(phase.latency_s + extra_s, phase.alone_s * detour, phase.uses))
        return found

    def seconds(self, exchange: Sequence[Leg]) -> float:
        """Time of an exchange that is alone on these links as they are."""
        total_s = 0.0
        for phase in self.phases(exchange):
            total_s += phase.latency_s + phase.alone_s * self.slower(phase.uses)
        return total_s

    def alone_ticks(self, load: FlowLoad) -> int:
        """How long a flow lasts on the fabric that has the links as they are to itself."""
        built = self.routes.capacities_bytes_per_s
        if not self.capacities:
            return load.alone_ticks(1.0)
        capacities = [self.capacities.get(link, bytes_per_s) for link, bytes_per_s in enumerate(built)]
        return load.alone_ticks(alone_speed(load.uses, capacities, built))

    def slower(self, uses: Uses) -> float:
        """Factor on the time of a flow for the links as they are, 1 for those as built."""
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

    def by_enclosure(self, ranks: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
        """Ranks of each enclosure, in the order in which they come."""
        found: dict[str, list[str]] = {}
        for name in ranks:
            found.setdefault(self._enclosures[name], []).append(name)
        return tuple(map(tuple, found.values()))

    @cached_property
    def _enclosures(self) -> dict[str, str]:
        return {node.name: node.group for node in self.network.nodes}

    def require_routes(self, ranks: tuple[str, ...]) -> None:
        """
        Require that every rank reaches every other, and the switch that may add for them.

        Raises:
            NoRoute: one does not.
        """
        for ends in permutations(ranks, 2):
            self.route(*ends)
        try:
            switch = self.routes.switch(ranks)
        except ValueError:
            return  # no switch joins them all, so none adds
        for rank in ranks:
            self.route(rank, switch)
            self.route(switch, rank)

    def hop(self, hop: Hop) -> tuple[float, float, Uses]:
        """Latency and bandwidth of a send between a hop's ends over the links as they are, and the links it uses."""
        a, b = hop.nodes[0], hop.nodes[-1]
        route = self.route(a, b)
        bytes_per_s = hop.bytes_per_s
        if route != self.as_built.route(a, b) or not self.capacities.keys().isdisjoint(route):
            built = self.routes.capacities_bytes_per_s
            bytes_per_s = min(self.capacities.get(link, built[link]) for link in route)
        return hop.latency_s + self._later_s(a, b), bytes_per_s, tuple((link, 1.0) for link in route)


def normalised(link: Link, network: Network) -> Link:
    """A link in the direction in which the network lists it."""
    return link if any((known.a, known.b) == link for known in network.links) else link[::-1]
