"""Points of a design: variants, grid and samples crossed in a fixed order."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from simcluster.files.source import Path
from simcluster.files.units import NUMBER
from simcluster.numerics.arrays import Floats
from simcluster.numerics.streams import stream, uniforms
from simcluster.sweeps.spec import Design, Range, Samples, SobolSamples, SweepFile

Fault = tuple[Path, str, str]
"""Place in the sweep file, what was found, what was expected."""

SOBOL_BITS = 30
DIGITS = 6
"""Significant digits of a drawn number, so that files and command lines hold the same value."""

_QUANTITY = re.compile(rf"\s*({NUMBER})\s*(\S+)\s*")


@dataclass(frozen=True)
class Setting:
    """One key of the scenario at one point."""

    key: str
    value: Any
    at: Path
    """Place of the value in the sweep file."""

    @property
    def path(self) -> Path:
        """The key's parts."""
        return tuple(self.key.split("."))


@dataclass(frozen=True)
class Point:
    """One point of a design."""

    number: int
    """From 0, in the order of the file: variants, then the grid with its last key fastest, then samples."""
    variant: str
    """Its name, empty without variants."""
    settings: tuple[Setting, ...]


def n_points(design: Design) -> int:
    """The number of points of a design."""
    n_variants = 1 if design.variants is None else len(design.variants)
    n_grid = math.prod(len(values) for values in (design.grid or {}).values())
    return n_variants * n_grid * (1 if design.samples is None else design.samples.points)


def points(design: Design) -> list[Point]:
    """All points of a valid design."""
    variants = [
        (name, [Setting(key, value, ("design", "variants", name, key)) for key, value in settings.items()])
        for name, settings in (design.variants or {"": {}}).items()
    ]
    grid = list(product(*(
        [Setting(key, value, ("design", "grid", key, place)) for place, value in enumerate(values)]
        for key, values in (design.grid or {}).items()
    )))  # fmt: skip
    drawn = _drawn(design)
    return [
        Point(number, name, (*settings, *crossed, *sample))
        for number, ((name, settings), crossed, sample) in enumerate(product(variants, grid, drawn))
    ]


def faults(file: SweepFile) -> Iterator[Fault]:
    """Errors that the schema does not find: empty ranges, and keys that are set twice."""
    samples = file.design.samples
    kind = "random" if file.design.random is not None else "sobol"
    for key, drawn_from in (samples.ranges if samples else {}).items():
        if fault := _range_fault(drawn_from):
            yield ("design", kind, "ranges", key), *fault
    layers: list[tuple[Path, list[str]]] = [(("set",), list(file.set))]
    for name, settings in (file.design.variants or {}).items():
        layers.append((("design", "variants", name), list(settings)))
    layers.append((("design", "grid"), list(file.design.grid or {})))
    layers.append((("design", kind, "ranges"), list(samples.ranges if samples else {})))
    seen: list[tuple[Path, str]] = []
    for where, keys in layers:
        for key in keys:
            for earlier, other in seen:
                if earlier[:2] == where[:2] == ("design", "variants") and earlier != where:
                    continue
                if other == key or other.startswith(f"{key}."):
                    yield (
                        (*where, key),
                        f"sets {other} again",
                        f"expected it in one place, not in {_quoted(earlier)} too",
                    )
            seen.append((where, key))


def _quoted(path: Path) -> str:
    return "'" + ".".join(str(part) for part in path) + "'"


def _range_fault(given: Range) -> tuple[str, str] | None:
    """The error of a range, if it has one."""
    if given.choices is not None:
        return None
    (low, low_unit), (high, high_unit) = _number(given.low), _number(given.high)
    if low is None or high is None:
        bad = given.low if low is None else given.high
        return f"'{str(bad)[:60]}'", "expected a number, or a number and a unit such as '4 req/s'"
    if low_unit != high_unit:
        return f"'{low_unit}' and '{high_unit}'", "expected both ends in the same unit"
    if high <= low:
        return f"from {low:g} to {high:g}", "expected 'high' above 'low'"
    if given.scale == "log" and low <= 0:
        return f"a logarithmic scale from {low:g}", "expected 'low' above 0"
    return None


def _number(value: Any) -> tuple[float | None, str]:
    """Split a value into number and unit, which may be empty; None for other values."""
    if isinstance(value, int | float):
        return float(value), ""
    match = _QUANTITY.fullmatch(value) if isinstance(value, str) and len(value) <= 64 else None
    number = math.inf if match is None else float(match[1])
    return (number, match[2]) if match and math.isfinite(number) else (None, "")


def _drawn(design: Design) -> list[list[Setting]]:
    """The settings of each sample; one empty sample without ranges."""
    samples = design.samples
    if samples is None:
        return [[]]
    kind = "random" if design.random is not None else "sobol"
    uniform = _sobol(samples) if isinstance(samples, SobolSamples) else _random(samples)
    ranges = list(samples.ranges.items())
    return [
        [
            Setting(key, value_at(given, float(u)), ("design", kind, "ranges", key))
            for (key, given), u in zip(ranges, row, strict=True)
        ]
        for row in uniform
    ]


def _random(samples: Samples) -> Floats:
    """Independent uniform numbers, shape (points, keys); those of a key do not depend on other keys."""
    columns = [uniforms(stream(samples.seed, "sweep", key), samples.points) for key in samples.ranges]
    return np.stack(columns, axis=1)


def _sobol(samples: Samples) -> Floats:
    """
    A Sobol sequence with a random digital shift in each dimension, shape (points, keys).

    The shift keeps the points evenly spread and makes each of them uniform. It is drawn here and not by scipy, whose
    scrambling differs between versions.

    Source:
        Joe and Kuo, SIAM J. Sci. Comput. 30 (2008), 2635: the direction numbers, as scipy has them;
        L'Ecuyer and Lemieux, in: Modeling Uncertainty (2002), 419: random digital shifts.
    """
    from scipy.stats import qmc

    sequence = qmc.Sobol(len(samples.ranges), scramble=False, bits=SOBOL_BITS).random(samples.points)
    whole = np.round(sequence * 2**SOBOL_BITS).astype(np.int64)
    shifts = [uniforms(stream(samples.seed, "sweep", key), 1)[0] * 2**SOBOL_BITS for key in samples.ranges]
    shifted: Floats = ((whole ^ np.array(shifts).astype(np.int64)) + 0.5) / 2**SOBOL_BITS
    return shifted


def value_at(given: Range, uniform: float) -> Any:
    """The value of a range at a uniform number inside (0, 1): its quantile."""
    if given.choices is not None:
        return given.choices[int(uniform * len(given.choices))]
    (low, unit), (high, _) = _number(given.low), _number(given.high)
    assert low is not None and high is not None
    is_whole = isinstance(given.low, int) and isinstance(given.high, int)
    end = high + 1 if is_whole else high
    value = low * (end / low) ** uniform if given.scale == "log" else low + (end - low) * uniform
    if is_whole:
        return min(int(value), int(high))
    text = f"{value:.{DIGITS}g}"
    return f"{text} {unit}" if unit else float(text)
