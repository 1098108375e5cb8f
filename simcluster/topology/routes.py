"""
Routes of messages: directed links by number, chosen among equal routes by the flow's name, around links that are
down.

A route is one of those that `measure.path` chooses from: fewest edges, then lowest latency. Among equal ones a hash
of source, target and the flow's name picks one, all equally likely, as switches do with the fields of a packet's
header (ECMP). The choice depends on names only: not on the order of calls, nor on other flows. Left out: adaptive
routing, and the time that a fabric takes to detect that a link is down.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from math import fsum
from typing import NamedTuple

from simcluster.files.problems import nearest
from simcluster.numerics.ticks import to_ticks
from simcluster.topology.measure import forwards
from simcluster.topology.model import Topology

Down = frozenset[int | tuple[str, str]]
"""Links that are down: a directed link by its number, or both directions between two nodes by their names."""

NONE_DOWN: Down = frozenset()


class NoRoute(ValueError):
    """No route leads from one node to another over the links that are up."""


class Routes:
    """The directed links of a topology, and routes over them."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        graph = topology.plain
        edges = [(*ends, edge) for a, b, edge in graph.edges(data=True) for ends in ((a, b), (b, a))]
        self.links: tuple[tuple[str, str], ...] = tuple((a, b) for a, b, _ in edges)
        """Source and target of each link, by number; the two directions of an edge follow one another."""
        self.capacities_bytes_per_s: tuple[float, ...] = tuple(edge["bytes_per_s"] for *_, edge in edges)
        """Capacity of each link, by number."""
        self.latencies_s: tuple[float, ...] = tuple(edge["latency_s"] for *_, edge in edges)
        """Latency of each link, by number."""
        self.number: dict[tuple[str, str], int] = {ends: number for number, ends in enumerate(self.links)}
        """Number of the link from one node to another."""
        self._latency_ticks = [to_ticks(latency_s) for latency_s in self.latencies_s]
        self._place = {node: place for place, node in enumerate(graph)}
        self._towards: dict[tuple[str, Down], _RoutesTo] = {}
        self._found: dict[tuple[str, str, Down, int], tuple[int, ...]] = {}

    def route(self, source: str, target: str, flow_name: str = "", down: Down = NONE_DOWN) -> tuple[int, ...]:
        """
        Find the links of the route from one node to another, by number; none from a node to itself.

        Raises:
            NoRoute: there is none over the links that are up.
            ValueError: a node is not in the topology, or a link that is down is not in it.
        """
        towards = self._routes_to(target, down)
        if source not in self._place:
            raise self._unknown(source)
        ways = towards.best_from(source)
        if ways is None:
            found = f"no route from {source} to {target} in topology {self._topology.name}"
            raise NoRoute(f"{found}; {self._in_words(down)}")
        chosen = _hash(source, target, flow_name) % ways.number if ways.number > 1 else 0
        key = (source, target, down, chosen)
        if key not in self._found:
            self._found[key] = towards.links_of(source, chosen)
        return self._found[key]

    def latency_s(self, route: Sequence[int]) -> float:
        """Add the latencies of the links of a route."""
        return fsum(self.latencies_s[link] for link in route)

    def bytes_per_s(self, route: Sequence[int]) -> float:
        """Find the bandwidth of the narrowest link of a route; infinite without links."""
        return min((self.capacities_bytes_per_s[link] for link in route), default=float("inf"))

    def switch(self, ranks: Sequence[str]) -> str:
        """
        Find the switch that all ranks are on, the one created first if there are several.

        Raises:
            ValueError: there is none.
        """
        graph = self._topology.plain
        for node in sorted(graph.adj[ranks[0]], key=self._place.__getitem__):
            if graph.nodes[node]["kind"] == "switch" and all(graph.has_edge(rank, node) for rank in ranks):
                return node
        raise ValueError(f"no switch of topology {self._topology.name} joins {', '.join(ranks)}")

    def _routes_to(self, target: str, down: Down) -> _RoutesTo:
        """Look up the routes to a target in the cache, or create them."""
        key = (target, down)
        if key not in self._towards:
            if target not in self._place:
                raise self._unknown(target)
            self._towards[key] = _RoutesTo(self, target, self._numbers(down))
        return self._towards[key]

    def _numbers(self, down: Down) -> frozenset[int]:
        """Convert links that are down to numbers."""
        numbers = set()
        for link in down:
            if isinstance(link, int):
                numbers.add(link)
            elif link in self.number:
                numbers |= {self.number[link], self.number[link[::-1]]}
            else:
                raise ValueError(f"no link between {link[0]} and {link[1]} in topology {self._topology.name}")
        return frozenset(numbers)

    def _in_words(self, down: Down) -> str:
        """List the links that are down, in their order."""
        numbers = self._numbers(down)
        both = {number for number in numbers if number ^ 1 in numbers}
        words = [
            f"{a} - {b}" if number in both else f"{a} -> {b}"
            for number in sorted(numbers)
            for a, b in [self.links[number]]
            if not (number in both and number % 2)
        ]
        return f"down: {', '.join(words)}" if words else "no link is down"

    def _unknown(self, node: str) -> ValueError:
        topology = self._topology
        return ValueError(f"no node '{node}' in topology {topology.name}; {nearest(node, topology.devices)}")


class _BestRoutes(NamedTuple):
    """The best routes from a node to the target."""

    ticks: int
    """Latency, equal for all; an integer, so that equal latencies compare equal."""
    number: int
    """Number of best routes."""
    onward: tuple[str, ...]
    """The next nodes, in order of creation."""


class _RoutesTo:
    """All best routes to one target, found from there outward and on demand."""

    def __init__(self, routes: Routes, target: str, down: frozenset[int]) -> None:
        self.routes, self.target, self.down = routes, target, down
        self._ways = {target: _BestRoutes(0, 1, ())}
        self._front = [target]

    def best_from(self, source: str) -> _BestRoutes | None:
        """Find the best routes from a node; None if there are none."""
        while source not in self._ways and self._front:
            self._go_on()
        return self._ways.get(source)

    def links_of(self, source: str, chosen: int) -> tuple[int, ...]:
        """Find the route of a number below the number of best routes."""
        links, node = [], source
        while node != self.target:
            for nearer in self._ways[node].onward:
                if chosen < self._ways[nearer].number:
                    break
                chosen -= self._ways[nearer].number
            links.append(self.routes.number[node, nearer])
            node = nearer
        return tuple(links)

    def _go_on(self) -> None:
        """Search one edge further out."""
        routes, graph = self.routes, self.routes._topology.plain
        choices: dict[str, list[str]] = {}
        for nearer in self._front:
            if nearer == self.target or forwards(graph, nearer):
                for node in graph.adj[nearer]:
                    if node not in self._ways and routes.number[node, nearer] not in self.down:
                        choices.setdefault(node, []).append(nearer)
        for node, nexts in choices.items():
            ticks = {n: routes._latency_ticks[routes.number[node, n]] + self._ways[n].ticks for n in nexts}
            least = min(ticks.values())
            best = sorted((n for n in nexts if ticks[n] == least), key=routes._place.__getitem__)
            self._ways[node] = _BestRoutes(least, sum(self._ways[n].number for n in best), tuple(best))
        self._front = list(choices)


def _hash(*names: str) -> int:
    """Hash names; each is preceded by its length, so that different lists have different input."""
    digest = blake2b(digest_size=8)
    for name in names:
        text = name.encode()
        digest.update(len(text).to_bytes(8, "little") + text)
    return int.from_bytes(digest.digest(), "little")
