"""The components of a time under the names that a viewer shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from simcluster.timeline.chrome import TICKS_PER_US
from simcluster.trace.columns import COMPONENTS


def parts_of(ticks: Sequence[int], places: Iterable[int] = range(len(COMPONENTS))) -> dict[str, int]:
    """The components that took time, under their names as people read them."""
    names = tuple(COMPONENTS)
    return {names[place].replace("_", " "): ticks[place] for place in places if ticks[place] > 0}


def cause(parts: Mapping[str, int]) -> str:
    """The largest."""
    return max(parts, key=parts.__getitem__) if parts else ""


def in_us(parts: Mapping[str, int]) -> dict[str, float]:
    """As arguments of a slice."""
    return {f"{name} (us)": ticks / TICKS_PER_US for name, ticks in parts.items()}
