"""
Loads of collectives on the links of a graph: phases that a fabric simulates, or every message of every round.

A phase is a latency, then one flow that loads all links at once: the fit's bytes over bandwidth, with the messages of
all rounds added up by directed link. On an idle graph its duration is the closed form of `costs.collectives`,
whatever the graph: fits were measured on a group's own links, so a flow alone is assumed to fill its bottleneck, the
link with the most load for its capacity, and to slow down only when that link is shared or degraded. Left out: rounds
load different links at different times (`messages` models it), a message between distant ranks waits for the switches
on its route (fits include that), and a group may contend with itself where its ranks share links that those of the
fit did not; `messages` models that too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cache
from typing import NamedTuple

from simcluster.catalog.calibration.collectives import Collective, CollectiveFit, Fabric, Launch
from simcluster.costs.collectives import COLLECTIVES, Fits, fastest, line_of
from simcluster.costs.rounds import SWITCH, Round, rounds
from simcluster.numerics.maxmin import Uses

Group = tuple[str, ...]
"""Nodes of a graph, by rank."""
Groups = tuple[Group, ...]
"""Groups of equal size that run the same collective at the same time."""
Route = Callable[[str, str], tuple[int, ...]]
"""The directed links from one node to another."""
SwitchOf = Callable[[Group], str]
"""The switch that reduces for a group; needed only for `nvls`."""
LoadsOf = Callable[[Collective, str, Groups], dict[int, Fraction]]
"""Bytes by directed link for each byte of the array, when groups run an algorithm; see `loads_over`."""
UsesOf = Callable[[Collective, str, Groups], Uses]
"""Weights of the links as a flow, when groups run an algorithm; see `uses_over`."""


class Leg(NamedTuple):
    """One collective that groups run in parallel, by one line of a fit; an exchange is a sequence of legs."""

    collective: Collective
    fit: CollectiveFit
    groups: Groups
    n_bytes: float
    """Size of the array of each rank."""


class Phase(NamedTuple):
    """A latency, and then a flow."""

    latency_s: float
    alone_s: float
    """Duration of the flow, alone on the idle graph."""
    uses: Uses


class Transfer(NamedTuple):
    """One message as a flow."""

    alone_s: float
    """Duration at the bandwidth of the fit, alone on the idle graph."""
    uses: Uses


class MessageRound(NamedTuple):
    """A latency, and then concurrent messages; the round ends when the last has arrived."""

    latency_s: float
    transfers: tuple[Transfer, ...]


def legs(
    collective: Collective, fits: Fits, group: Group, n_bytes: float, launch: Launch, algorithm: str = "auto"
) -> tuple[Leg, ...]:
    """Choose the fit of a collective inside one fabric that is fastest on an idle graph; no leg for a single rank."""
    if len(group) == 1:
        return ()
    fit = fastest(collective, fits, len(group), n_bytes, launch, algorithm)
    return (Leg(collective, fit, (group,), n_bytes),)


def hierarchical_legs(
    inside: Fabric, across: Fabric, nodes: Groups, n_bytes: float, launch: Launch
) -> tuple[Leg, ...]:
    """
    Find the legs of an all-reduce over several nodes, as in `hierarchical_all_reduce`.

    All nodes reduce-scatter in parallel; then the ranks with the same index form a group each, and all groups reduce
    in parallel; then all nodes gather.

    Raises:
        ValueError: the nodes have different numbers of ranks.
    """
    sizes = {len(node) for node in nodes}
    if len(sizes) != 1:
        raise ValueError(f"nodes of {', '.join(map(str, sorted(sizes)))} ranks; expected the same number in each")
    if len(nodes) == 1:
        return legs("all_reduce", inside.all_reduce, nodes[0], n_bytes, launch)
    places, (n_ranks,) = tuple(zip(*nodes, strict=True)), sizes
    found = [
        *legs("reduce_scatter", inside.reduce_scatter, nodes[0], n_bytes, launch),
        *legs("all_reduce", across.all_reduce, places[0], n_bytes / n_ranks, launch),
        *legs("all_gather", inside.all_gather, nodes[0], n_bytes, launch),
    ]
    return tuple(leg._replace(groups=places if leg.collective == "all_reduce" else nodes) for leg in found)


def phases(exchange: Sequence[Leg], uses: UsesOf) -> tuple[Phase, ...]:
    """
    Make a phase for each leg.

    Their `seconds` equal the closed form bit for bit.
    """
    found = []
    for leg in exchange:
        line = line_of(COLLECTIVES[leg.collective][leg.fit.algorithm], leg.fit, len(leg.groups[0]))
        alone_s = line.share * leg.n_bytes / line.bytes_per_s
        found.append(Phase(line.start_s, alone_s, uses(leg.collective, leg.fit.algorithm, leg.groups)))
    return tuple(found)


def seconds(successive: Sequence[Phase]) -> float:
    """Add the durations of successive phases on an idle graph."""
    total_s = 0.0
    for phase in successive:
        total_s += phase.latency_s + phase.alone_s
    return total_s


def messages(exchange: Sequence[Leg], route: Route, switch_of: SwitchOf) -> tuple[MessageRound, ...]:
    """
    List the rounds of all legs in order.

    A message is a plain flow that alone lasts its bytes over the fit's bandwidth. Where the messages of a round share
    only the ports of ranks, rounds add up to the phases, but for the rounding of each round to a tick; where they
    share other links they take longer. The start of a leg comes before its first round. All bytes from one rank to
    another in a round are one message.
    """
    found = []
    for collective, fit, groups, n_bytes in exchange:
        for number, sent in enumerate(rounds(collective, fit.algorithm, len(groups[0]))):
            transfers = tuple(
                Transfer(float(share) * n_bytes / fit.bytes_per_s, tuple((link, 1.0) for link in route(*ends)))
                for group in groups
                for ends, share in _between(sent, group, switch_of)
            )
            found.append(MessageRound(fit.step_s + (0.0 if number else fit.fixed_s), transfers))
    return tuple(found)


def uses_over(route: Route, switch_of: SwitchOf, capacities_bytes_per_s: Sequence[float]) -> UsesOf:
    """
    Make a cached function that finds the weights of an algorithm on the links.

    The weights are bytes of all rounds, scaled so that the bottleneck's is 1: alone, the flow's rate is the
    bottleneck's capacity, and in competition with another flow there it counts as a plain message does.

    Args:
        route: links of the route of a message, by number.
        switch_of: see `SwitchOf`.
        capacities_bytes_per_s: of the links, by number, on the graph as it was built.
    """

    loads_of = loads_over(route, switch_of)

    @cache
    def uses(collective: Collective, algorithm: str, groups: Groups) -> Uses:
        loads = loads_of(collective, algorithm, groups)
        if not loads:
            return ()
        bottleneck = max(sorted(loads), key=lambda link: float(loads[link]) / capacities_bytes_per_s[link])
        return tuple((link, float(loads[link] / loads[bottleneck])) for link in sorted(loads))

    return uses


def loads_over(route: Route, switch_of: SwitchOf) -> LoadsOf:
    """Make a cached function that adds up the messages of an algorithm by directed link."""

    @cache
    def loads_of(collective: Collective, algorithm: str, groups: Groups) -> dict[int, Fraction]:
        loads: dict[int, Fraction] = {}
        for group in groups:
            for sent in rounds(collective, algorithm, len(group)):
                for ends, share in _between(sent, group, switch_of):
                    for link in route(*ends):
                        loads[link] = loads.get(link, Fraction(0)) + share
        return loads

    return loads_of


def _between(sent: Round, group: Group, switch_of: SwitchOf) -> list[tuple[tuple[str, str], Fraction]]:
    """Add up the shares that a round sends, by pair of nodes."""
    shares: dict[tuple[str, str], Fraction] = {}
    for source, target, share, _ in sent:
        ends = (
            switch_of(group) if source == SWITCH else group[source],
            switch_of(group) if target == SWITCH else group[target],
        )
        shares[ends] = shares.get(ends, Fraction(0)) + share
    return list(shares.items())
