"""
The change of a metric by component, with bounds from world to world, and whether the largest is surely the largest.

In each world the difference of a component's times is divided by the logarithmic mean of the metric's two values, so
that components sum to the logarithm of their ratio without a rest. They are judged as the change itself is: by what
differs between two sides of one world, and worlds are the only independent values.

Source:
    Ang, The LMDI approach to decomposition analysis, Energy Policy 33 (2005), 867: the logarithmic mean.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from simcluster.comparison.judge import Estimate, estimate
from simcluster.comparison.side import Side
from simcluster.trace.columns import COMPONENTS


@dataclass(frozen=True)
class Part:
    """What one component adds to a change, relative to the base's value, with a bound on either side."""

    change: float
    low: float
    high: float


@dataclass(frozen=True)
class Causes:
    """A change by component."""

    parts: dict[str, Part]
    """The largest first; they sum to the change."""
    rivals: tuple[str, ...]
    """Components of which it is not sure that they are smaller than the first, whatever their signs."""


UNKNOWN = Causes({}, ())


def causes(base: Side, candidate: Side, metric: str, level: float) -> Causes:
    """
    What a change of a metric is made of; unknown where a world lacks its components.

    Args:
        base: in two worlds or more.
        candidate: in the same.
        metric: a latency's mean, median, p95 or p99.
        level: how often each bound may be wrong, and each verdict that one component is larger than another.
    """
    shares = (
        (one.get(metric, {}), other.get(metric, {})) for one, other in zip(base.parts, candidate.parts, strict=True)
    )
    totals = zip(base.values(metric), candidate.values(metric), strict=True)
    worlds = [_in_one_world(*of, *both) for of, both in zip(shares, totals, strict=True)]
    if len(worlds) < 2 or not all(worlds):
        return UNKNOWN
    values = {name: [world[name] for world in worlds] for name in COMPONENTS if any(world[name] for world in worlds)}
    found = {name: estimate(changes, level) for name, changes in values.items()}
    total = math.fsum(one.mean for one in found.values())
    scale = math.expm1(total) / total if total else 1.0
    order = sorted(found, key=lambda name: -abs(found[name].mean))
    parts = {name: _scaled(found[name], scale) for name in order}
    rivals = [name for name in order[1:] if not _is_smaller(values[name], values[order[0]], level)]
    return Causes(parts, tuple(rivals))


def _in_one_world(
    base: dict[str, float], candidate: dict[str, float], one: float | None, other: float | None
) -> dict[str, float]:
    """By component what it adds to the logarithm of the ratio of two values; nothing where that is not known."""
    if not base or not candidate or not one or not other:
        return {}
    mean = one if one == other else (other - one) / math.log(other / one)
    before, after = one / math.fsum(base.values()), other / math.fsum(candidate.values())
    return {name: (candidate.get(name, 0.0) * after - base.get(name, 0.0) * before) / mean for name in COMPONENTS}


def _scaled(found: Estimate, scale: float) -> Part:
    return Part(found.mean * scale, found.low * scale, found.high * scale)


def _is_smaller(values: Sequence[float], largest: Sequence[float], level: float) -> bool:
    """Whether one component surely changes by less than another, which changes by more on the mean."""
    mine, its = (math.copysign(1.0, math.fsum(some)) for some in (values, largest))
    differences = [its * big - mine * small for small, big in zip(values, largest, strict=True)]
    return estimate(differences, level).low > 0
