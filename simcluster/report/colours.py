"""
Colours of the figures on a dark page.

Figures are drawn in dark ink on white. On a dark page each colour is replaced by one of the same hue whose contrast
with the dark paper is what the original's is with white: ink becomes light and a faint grid stays faint. Only what is
not grey is kept within bounds, since a pale yellow on white is cheerful and its like on black is mud.

Source:
    Contrast: WCAG 2.2, relative luminance and contrast ratio. Hue: Björn Ottosson, A perceptual color space for image
    processing (2020), OKLab.
"""

from __future__ import annotations

import math

PAPER = "#14171c"
"""The dark page."""
COLOURED = (3.6, 9.0)
"""Contrast of anything but grey, at least and at most."""
LIGHTEST = 0.92
"""Greatest luminance on it: black becomes this and not pure white, which glares."""

_INSTEAD = {"#ddcc77": "#a8702a"}
"""Sand and olive differ by how light they are, which is lost on dark paper: there, sand becomes a brown."""
_FLARE = 0.05
"""WCAG's term for the light that falls on any screen."""
_STEPS = 40
_GREY = 0.04
"""Distance from grey in OKLab up to which a colour counts as such."""


def on_dark(colour: str) -> str:
    """
    The colour that stands for another on dark paper.

    Args:
        colour: `#rrggbb`, as drawn on white.

    Returns:
        `#rrggbb`; white becomes the paper.
    """
    if colour in _INSTEAD:
        return _INSTEAD[colour]
    wanted = contrast(colour, "#ffffff")
    _, a, b = _oklab(_linear(colour))
    if math.hypot(a, b) > _GREY:
        wanted = min(max(wanted, COLOURED[0]), COLOURED[1])
    if wanted < 1.01:
        return PAPER
    return _with_luminance(colour, min((luminance_of(PAPER) + _FLARE) * wanted - _FLARE, LIGHTEST))


def luminance_of(colour: str) -> float:
    """Relative luminance, 0 to 1, of `#rrggbb`."""
    red, green, blue = _linear(colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours, from 1 to 21."""
    low, high = sorted((luminance_of(one), luminance_of(other)))
    return (high + _FLARE) / (low + _FLARE)


def _with_luminance(colour: str, luminance: float) -> str:
    """A colour of the same hue, as colourful as the original or as the screen allows at that luminance."""
    lightness, a, b = _oklab(_linear(colour))
    low, high = 0.0, 1.0
    shown = (luminance, luminance, luminance)
    for _ in range(_STEPS):
        lightness = (low + high) / 2
        shown = _shown(lightness, a, b)
        reached = 0.2126 * shown[0] + 0.7152 * shown[1] + 0.0722 * shown[2]
        low, high = (lightness, high) if reached < luminance else (low, lightness)
    return "#" + "".join(f"{round(255 * _encoded(part)):02x}" for part in shown)


def _shown(lightness: float, a: float, b: float) -> tuple[float, float, float]:
    """Linear red, green, blue; less colourful where the screen cannot show it."""
    low, high = 0.0, 1.0
    if _is_possible(_rgb(lightness, a, b)):
        low = 1.0
    else:
        for _ in range(_STEPS):
            middle = (low + high) / 2
            is_possible = _is_possible(_rgb(lightness, a * middle, b * middle))
            low, high = (middle, high) if is_possible else (low, middle)
    red, green, blue = (min(max(part, 0.0), 1.0) for part in _rgb(lightness, a * low, b * low))
    return red, green, blue


def _is_possible(rgb: tuple[float, float, float]) -> bool:
    return all(-1e-6 <= part <= 1 + 1e-6 for part in rgb)


def _linear(colour: str) -> tuple[float, float, float]:
    red, green, blue = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    return _decoded(red), _decoded(green), _decoded(blue)


def _decoded(part: float) -> float:
    return part / 12.92 if part <= 0.04045 else float(((part + 0.055) / 1.055) ** 2.4)


def _encoded(part: float) -> float:
    return part * 12.92 if part <= 0.0031308 else float(1.055 * part ** (1 / 2.4) - 0.055)


def _oklab(rgb: tuple[float, float, float]) -> tuple[float, float, float]:
    red, green, blue = rgb
    long = math.cbrt(0.4122214708 * red + 0.5363325363 * green + 0.0514459929 * blue)
    middle = math.cbrt(0.2119034982 * red + 0.6806995451 * green + 0.1073969566 * blue)
    short = math.cbrt(0.0883024619 * red + 0.2817188376 * green + 0.6299787005 * blue)
    return (
        0.2104542553 * long + 0.7936177850 * middle - 0.0040720468 * short,
        1.9779984951 * long - 2.4285922050 * middle + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * middle - 0.8086757660 * short,
    )


def _rgb(lightness: float, a: float, b: float) -> tuple[float, float, float]:
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    middle = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    return (
        4.0767416621 * long - 3.3077115913 * middle + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * middle - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * middle + 1.7076147010 * short,
    )
