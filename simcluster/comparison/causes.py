"""
The change of a metric by component, with bounds over worlds, and whether the largest is significantly the largest.

In each world the difference of a component's times is divided by the logarithmic mean of the metric's two values, so
that components sum to the logarithm of their ratio without a remainder. They are judged like the change itself: by
paired differences within a world, since worlds are the only independent values.

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
    """The contribution of a component to a change, relative to the base's value, with its bounds."""

    change: float
    low: float
    high: float


@dataclass(frozen=True)
class Causes:
    """A change by component."""

    parts: dict[str, Part]
    """The largest first; they sum to the change."""
    rivals: tuple[str, ...]
    """Components that are not significantly smaller than the first in absolute value."""


UNKNOWN = Causes({}, ())


def causes(base: Side, candidate: Side, metric: str, level: float) -> Causes:
    """
    Decompose the change of a metric into components; unknown if a world lacks its components.

    Args:
        base: a side with two worlds or more.
        candidate: a side with the same worlds.
        metric: a latency's mean, median, p95 or p99.
        level: error probability of each bound, and of each verdict that one component is larger than another.
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
    """Contributions of components to the logarithm of the ratio of two values; empty if unknown."""
    if not base or not candidate or not one or not other:
        return {}
    mean = one if one == other else (other - one) / math.log(other / one)
    before, after = one / math.fsum(base.values()), other / math.fsum(candidate.values())
    return {name: (candidate.get(name, 0.0) * after - base.get(name, 0.0) * before) / mean for name in COMPONENTS}


def _scaled(found: Estimate, scale: float) -> Part:
    return Part(found.mean * scale, found.low * scale, found.high * scale)


def _is_smaller(values: Sequence[float], largest: Sequence[float], level: float) -> bool:
    """Whether one component changes by significantly less than another, whose mean change is larger."""
    mine, its = (math.copysign(1.0, math.fsum(some)) for some in (values, largest))
    differences = [its * big - mine * small for small, big in zip(values, largest, strict=True)]
    return estimate(differences, level).low > 0
