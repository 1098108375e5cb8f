"""Figures of a comparison as text."""

from __future__ import annotations

from collections.abc import Iterable

from simcluster.comparison.causes import Causes, Part
from simcluster.comparison.comparison import Row
from simcluster.comparison.side import World
from simcluster.files.units import number
from simcluster.scenario.gates import METRICS, Gate


def shown(metric: str, value: float | None) -> str:
    """A value of a metric with its unit, four significant digits."""
    unit = METRICS[metric].unit
    return "-" if value is None else number(value * 100 if unit == "%" else value, unit)


def percent(change: float | None, sign: bool = True) -> str:
    """A relative change, two decimals at most and at least two significant digits: +2.24 %, -0.013 %."""
    if change is None:
        return "-"
    value = change * 100
    if abs(value) < 1e-7:
        return "0 %"
    text = f"{value:+.1f}" if abs(value) >= 10 else f"{value:+.2f}" if abs(value) >= 0.1 else f"{value:+.2g}"
    return f"{text if sign else text.removeprefix('+')} %"


def points(change: float, n_decimals: int = 2) -> str:
    """A contribution to a relative change, in percentage points."""
    return f"{change * 100:+.{n_decimals}f}"


def part(name: str, one: Part) -> str:
    """
    A component and its contribution in percentage points: `compute +2.30 ± 0.01`, or `+0.053` without uncertainty.

    Three decimals if the uncertainty is small; shares have no more digits.
    """
    half = (one.high - one.low) / 2 * 100
    n_decimals = 2 if half >= 0.005 else 3
    uncertainty = f" ± {half:.{n_decimals}f}" if half >= 0.0005 else ""
    return f"{name} {points(one.change, n_decimals)}{uncertainty}"


def named(found: Causes, most: int = 3) -> list[str]:
    """Names of components with at least a twentieth of the largest contribution, the largest first."""
    largest = max((abs(one.change) for one in found.parts.values()), default=0.0)
    names = [name for name, one in found.parts.items() if one.change and abs(one.change) >= largest / 20]
    return names[:most]


def listed(found: Causes, most: int = 3) -> str:
    """Components of a change, `compute +2.30 ± 0.02, queue -0.10 ± 0.01`, and rivals of the largest."""
    names = named(found, most)
    text = ", ".join(part(name, found.parts[name]) for name in names) or "nothing"
    if not names or not found.rivals:
        return text
    more = len(found.rivals) - most
    rivals = ", ".join(found.rivals[:most]) + (f" and {more} more" if more > 0 else "")
    return f"{text} ({names[0]} not distinguished from {rivals})"


def counted(n: int, what: str, more: str = "") -> str:
    """`1 regression`, `2 regressions`."""
    return f"{n} {what}" if n == 1 else f"{n} {more or what + 's'}"


def sentence(parts: Iterable[str]) -> str:
    """Join non-empty parts with commas."""
    return ", ".join(part for part in parts if part)


def allowed(gate: Gate) -> str:
    """A gate's threshold: `+2 %`, or `500 ms`."""
    return f"{gate.threshold * 100:+.4g} %" if gate.is_change else shown(gate.metric, gate.threshold)


def figure(row: Row, value: float | None) -> str:
    """A value of a row in the scale of its gate: in the metric's unit for a limit, else a relative change."""
    is_limit = row.gate is not None and not row.gate.is_change
    return shown(row.metric, value) if is_limit else percent(value)


def bounds(row: Row) -> str:
    """The bounds of a row, `low to high`."""
    return f"{figure(row, row.low)} to {figure(row, row.high)}"


def judged(row: Row, word: str) -> str:
    """A row's verdict in a given word, with the worlds that it needs and the reason."""
    verdict = word + (f", needs {row.needs:,} worlds" if row.needs else "")
    return f"{verdict}: {row.why}" if row.why and row.verdict else row.why or verdict


def where(world: World) -> str:
    """The worlds of a side: `20 worlds from seed 1, noise datacenter`."""
    return f"{len(world.seeds)} worlds from seed {world.seeds[0]}, noise {world.noise}"


def verdict_text(row: Row) -> str:
    """A row in one line: the change, what is allowed, and the components."""
    title, gate = METRICS[row.metric].title, row.gate
    if row.low is None or row.high is None:
        return f"{title} {row.why or 'has no bounds'}"
    is_limit = gate is not None and not gate.is_change
    value = figure(row, row.candidate if is_limit else row.change)
    limit = f", allowed {allowed(gate)}" if gate is not None else ""
    needs = f"; {row.needs:,} worlds would probably suffice" if row.needs else ""
    cause = f": {listed(row.causes)}" if row.causes.parts and row.change else ""
    return f"{title} {value} ({bounds(row)}){limit}{cause}{needs}"
