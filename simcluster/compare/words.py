"""Figures of a comparison as people read them."""

from __future__ import annotations

from collections.abc import Iterable

from simcluster.gates import METRICS


def shown(metric: str, value: float | None) -> str:
    """A value of a metric with its unit, four significant digits."""
    if value is None:
        return "-"
    unit = METRICS[metric].unit
    value = value * 100 if unit == "%" else value
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{text} {unit}"


def percent(change: float | None, sign: bool = True) -> str:
    """A relative change, two decimals at most and at least two significant digits: +2.24 %, -0.013 %."""
    if change is None:
        return "-"
    value = change * 100
    if abs(value) < 1e-7:
        return "0 %"
    text = f"{value:+.1f}" if abs(value) >= 10 else f"{value:+.2f}" if abs(value) >= 0.1 else f"{value:+.2g}"
    return f"{text if sign else text.removeprefix('+')} %"


def points(change: float) -> str:
    """A part of a relative change, in percentage points to two decimals."""
    return f"{change * 100:+.2f}"


def named(contributions: dict[str, float], most: int = 3) -> list[tuple[str, float]]:
    """The contributions that are worth naming, the largest first: those of at least a twentieth of the largest."""
    largest = max((abs(value) for value in contributions.values()), default=0.0)
    found = [(name, value) for name, value in contributions.items() if value and abs(value) >= largest / 20]
    return found[:most]


def listed(contributions: dict[str, float], most: int = 3) -> str:
    """Contributions in words: `compute +2.30, wait_for_peers -0.10`."""
    return ", ".join(f"{name} {points(value)}" for name, value in named(contributions, most)) or "nothing"


def counted(n: int, what: str, more: str = "") -> str:
    """`1 regression`, `2 regressions`."""
    return f"{n} {what}" if n == 1 else f"{n} {more or what + 's'}"


def sentence(parts: Iterable[str]) -> str:
    """Parts with commas between them."""
    return ", ".join(part for part in parts if part)
