"""Components of a duration, named for viewers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from simcluster.timeline.chrome import TICKS_PER_US
from simcluster.trace.columns import COMPONENTS


def parts_of(ticks: Sequence[int], places: Iterable[int] = range(len(COMPONENTS))) -> dict[str, int]:
    """The components that took time, with their names."""
    names = tuple(COMPONENTS)
    return {names[place].replace("_", " "): ticks[place] for place in places if ticks[place] > 0}


def cause(parts: Mapping[str, int]) -> str:
    """The largest component."""
    return max(parts, key=parts.__getitem__) if parts else ""


def in_us(parts: Mapping[str, int]) -> dict[str, float]:
    """Components as arguments of a slice."""
    return {f"{name} (us)": ticks / TICKS_PER_US for name, ticks in parts.items()}
