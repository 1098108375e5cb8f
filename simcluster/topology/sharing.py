"""Find replicas that share links with others: by collectives of their ranks, and by sends between their stages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise, permutations

from simcluster.topology.routes import Routes

Group = tuple[str, ...]
"""The ranks of one stage."""


def links_shared(
    routes: Routes, replicas: Sequence[Sequence[Group]], others: Iterable[tuple[str, str]] = ()
) -> list[bool]:
    """
    Find for every replica, given as the groups of its stages in order, whether it shares a directed link.

    Sharing counts with another replica's exchanges or sends, with a transfer between two other nodes, and between the
    exchanges of two of its own stages. A send over the links of the replica's own exchanges does not count: it is
    short.
    """
    crossing = [_sends(routes, groups) for groups in replicas]
    exchanged = [[between_ranks(routes, group) for group in groups] for groups in replicas]
    used = [set().union(sends, *groups) for sends, groups in zip(crossing, exchanged, strict=True)]
    foreign = {link for ends in others for link in routes.route(*ends)}
    times = Counter(link for links in used for link in links)
    return [
        any(times[link] > 1 or link in foreign for link in links)
        or any(n > 1 for n in Counter(link for group in groups for link in group).values())
        for links, groups in zip(used, exchanged, strict=True)
    ]


def own_links_meet(routes: Routes, groups: Sequence[Group]) -> bool:
    """Whether a link serves two of the exchanges and sends of one replica."""
    sends = [set(routes.route(a[0], b[0])) for a, b in pairwise(groups)]
    exchanges = [between_ranks(routes, group) for group in groups]
    return any(n > 1 for n in Counter(link for links in (*sends, *exchanges) for link in links).values())


def between_ranks(routes: Routes, group: Group) -> set[int]:
    """Links between any two ranks of a group."""
    return {link for ends in permutations(group, 2) for link in routes.route(*ends)}


def _sends(routes: Routes, groups: Sequence[Group]) -> set[int]:
    """Collect the links between the first ranks of successive stages."""
    return {link for a, b in pairwise(groups) for link in routes.route(a[0], b[0])}
