"""
Convert quantities between text with units and SI numbers.

The program computes with seconds, bytes, FLOP, hertz, watts and rates of them, as floats. Text with units occurs
only in scenario, topology and catalogue files and in printed tables. `GB` is 10^9 bytes, `GiB` 2^30, `Gb` 10^9 bits.
Units outside the lists below are rejected, because a guess would read `1 mB` as a millibyte. A value is rounded
once: `5 us` is 5e-06.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction

from simcluster.files.problems import nearest

_DECIMAL = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18}
_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50}
_BYTES = {f"{prefix}B": Fraction(scale) for prefix, scale in (_DECIMAL | _BINARY).items()}
_BITS = {f"{prefix}{unit}": Fraction(scale, 8) for prefix, scale in _DECIMAL.items() for unit in ("b", "bit")}


def _exact(**scales: str) -> dict[str, Fraction]:
    return {unit: Fraction(scale) for unit, scale in scales.items()}


UNITS: dict[str, dict[str, Fraction]] = {
    "time": _exact(ps="1e-12", ns="1e-9", us="1e-6", ms="1e-3", s="1", min="60", h="3600", d="86400")
    | dict.fromkeys(("\u00b5s", "\u03bcs"), Fraction(1, 10**6)),  # micro sign and Greek mu
    "bytes": dict(_BYTES),
    "bandwidth": {f"{unit}/s": scale for unit, scale in (_BYTES | _BITS).items()},
    "speed": {f"{prefix}FLOP/s": Fraction(scale) for prefix, scale in _DECIMAL.items()},
    "frequency": _exact(Hz="1", kHz="1e3", MHz="1e6", GHz="1e9"),
    "power": _exact(W="1", kW="1e3", MW="1e6"),
    "rate": {"req/s": Fraction(1), "req/min": Fraction(1, 60), "req/h": Fraction(1, 3600)},
    "bits": _exact(bit="1"),
    "ratio": {"%": Fraction(1, 100), "x": Fraction(1)},
}
"""Allowed units of each dimension and their values in SI (bits per parameter and ratios have none)."""

EXAMPLES = {
    "time": "250 ms", "bytes": "80 GB", "bandwidth": "900 GB/s", "speed": "989 TFLOP/s", "frequency": "1.1 GHz",
    "power": "700 W", "rate": "4 req/s", "bits": "16 bit", "ratio": "90 %",
}  # fmt: skip

NAMES = {name: f"a {name}" for name in UNITS} | {"bytes": "a size", "bits": "a number of bits"}
"""Names of quantities in messages, by dimension."""

DIGITS = r"[0-9](?:_?[0-9])*"
NUMBER = rf"[+-]?(?:{DIGITS}(?:\.(?:{DIGITS})?)?|\.{DIGITS})(?:[eE][+-]?[0-9]+)?"
_QUANTITY = re.compile(rf"\s*({NUMBER})\s*(\S*)\s*")
_MAX_TEXT = 64
_MAX_VALUE = Fraction(10) ** 308


class UnitError(ValueError):
    """A text is not a quantity of the expected dimension; `found` and `expected` say why."""

    def __init__(self, found: str, expected: str) -> None:
        self.found = found
        self.expected = expected
        super().__init__(f"{found}; {expected}")


def parse(text: str, dimension: str) -> float:
    """
    Read a quantity such as `900 GB/s`.

    Args:
        text: a number and a unit, with or without a space between them.
        dimension: a key of `UNITS`.

    Returns:
        The value in SI units (bytes, seconds, bytes per second …), finite.

    Raises:
        UnitError: no number, no unit, a unit of another dimension or an unknown one, or a value that overflows.
    """
    shown = text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT - 1] + "…"
    units = UNITS[dimension]
    example = f"expected {NAMES[dimension]} such as '{EXAMPLES[dimension]}'"
    match = _QUANTITY.fullmatch(text) if len(text) <= _MAX_TEXT else None
    if match is None:
        raise UnitError(f"'{shown}' is not {NAMES[dimension]}", example)
    number, unit = match.groups()
    if not unit:
        raise UnitError(f"'{shown}' has no unit", example)
    if unit not in units:
        raise UnitError(f"'{shown}' has the unit '{unit}'", _unit_hint(unit, dimension))
    approximate = float(number)  # bounds the exponent before exact arithmetic sees it
    if approximate == 0 or not math.isfinite(approximate):
        value = approximate
    else:
        exact = Fraction(number.replace("_", "")) * units[unit]
        value = float(exact) if abs(exact) < _MAX_VALUE else math.inf
    if not math.isfinite(value):
        raise UnitError(f"'{shown}' is too large", example)
    return value


def _unit_hint(unit: str, dimension: str) -> str:
    """Say which unit of the dimension was probably meant."""
    units = UNITS[dimension]
    same_letters = [known for known in units if known.lower() == unit.lower()]
    if len(same_letters) == 1:
        return f"did you mean '{same_letters[0]}'?"
    if same_letters:
        return "did you mean " + " or ".join(f"'{known}'" for known in same_letters) + "? (b is bit, B is byte)"
    return f"{NAMES[dimension]}: {nearest(unit, units)}"


_SHOWN: dict[str, list[tuple[float, str]]] = {
    "time": [(1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns"), (1e-12, "ps")],
    "bytes": [(scale, f"{prefix}B") for prefix, scale in reversed(_DECIMAL.items())],
    "bandwidth": [(scale, f"{prefix}B/s") for prefix, scale in reversed(_DECIMAL.items())],
    "speed": [(scale, f"{prefix}FLOP/s") for prefix, scale in reversed(_DECIMAL.items())],
    "frequency": [(1e9, "GHz"), (1e6, "MHz"), (1e3, "kHz"), (1.0, "Hz")],
    "power": [(1e6, "MW"), (1e3, "kW"), (1.0, "W")],
    "rate": [(1.0, "req/s")],
    "bits": [(1.0, "bit")],
    "ratio": [(0.01, "%")],
}


def show(value: float, dimension: str, digits: int = 4) -> str:
    """
    Write an SI value with the unit that keeps it between 1 and 1000.

    Args:
        value: in SI units.
        dimension: a key of `UNITS`.
        digits: significant digits kept.
    """
    scales = _SHOWN[dimension]
    fallback = scales[-1] if value else next(((s, u) for s, u in scales if s == 1), scales[0])
    scale, unit = next(((s, u) for s, u in scales if value and abs(value) >= s), fallback)
    return f"{value / scale:.{digits}g} {unit}" if abs(value / scale) < 1e4 else f"{value / scale:,.0f} {unit}"


def number(value: float | None, unit: str = "", digits: int = 4) -> str:
    """Write a number with `digits` significant digits, without an exponent where possible; a dash for None."""
    if value is None:
        return "-"
    least_whole = 10 ** min(digits, 3) - (0.5 if digits < 4 else 0)  # which `g` would round up to an exponent
    text = f"{value:,.0f}" if abs(value) >= least_whole else f"{value:.{digits}g}"
    return f"{text} {unit}".rstrip()
