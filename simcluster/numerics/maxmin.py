"""
Weighted max-min fair rates of flows that share links.

A flow puts `weight` bytes on a link for each byte of its own: 1 on every link of the route of a plain message; a
collective is one flow with a weight for each link that it loads. All rates rise together until a link is full; the
flows on it keep their rate and the others rise further, until none can.
Left out: the time that a transport needs to find its rate, and priorities.

Source:
    Bertsekas, Gallager, Data Networks, 2nd ed. 1992, section 6.5.2 (progressive filling).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

Uses = tuple[tuple[int, float], ...]
"""Links that a flow loads, each once, with a weight above 0: bytes on the link for each byte of the flow."""


def rates(flows: Sequence[Uses], capacities: Sequence[float]) -> list[float]:
    """
    Find the rate of each flow, in the order of the flows.

    No link carries more than its capacity, but for rounding, and every flow has a link that is full and on which no
    other flow is faster. The result does not depend on the order of the flows: sums are rounded once.
    A flow that is alone on its links gets exactly `alone_rate`; one on a link of capacity 0 gets 0.
    """
    found = [math.inf] * len(flows)
    rising: dict[int, dict[int, float]] = {}  # by link, the weights of the flows whose rate still rises
    for number, uses in enumerate(flows):
        for link, weight in uses:
            rising.setdefault(link, {})[number] = weight
    shared = [[(link, weight) for link, weight in uses if len(rising[link]) > 1] for uses in flows]
    own = {}  # by flow, the level at which the narrowest link that it does not share is full
    for number, uses in enumerate(flows):
        if len(shared[number]) < len(uses):
            own[number] = min(capacities[link] / weight for link, weight in uses if len(rising[link]) == 1)
    rising = {link: weights for link, weights in rising.items() if len(weights) > 1}
    taken = {link: [capacities[link]] for link in rising}  # the capacity that others leave, as terms of a sum
    full_at = {link: capacities[link] / math.fsum(weights.values()) for link, weights in rising.items()}
    while full_at or own:
        level = min([*full_at.values(), *own.values()])
        stopped = dict.fromkeys(number for number, at in own.items() if at == level)
        for link, at in full_at.items():
            if at == level:
                stopped.update(dict.fromkeys(rising[link]))
        touched: dict[int, None] = {}
        for number in stopped:
            found[number] = level
            own.pop(number, None)
            for link, weight in shared[number]:
                del rising[link][number]
                taken[link].append(-weight * level)
                touched[link] = None
        for link in touched:
            if rising[link]:
                full_at[link] = max(level, math.fsum(taken[link]) / math.fsum(rising[link].values()))
            else:
                del full_at[link]
    return found


def alone_speed(uses: Uses, capacities: Sequence[float], built: Sequence[float]) -> float:
    """How fast a flow with all its links to itself is, against these as they were built; exactly 1 where they are."""
    if all(capacities[link] == built[link] for link, _ in uses):
        return 1.0
    return alone_rate(uses, capacities) / alone_rate(uses, built)


def alone_rate(uses: Uses, capacities: Sequence[float]) -> float:
    """Find the rate of a flow that shares none of its links; infinite if it uses none."""
    return min((capacities[link] / weight for link, weight in uses), default=math.inf)
