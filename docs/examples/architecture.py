"""
Draw the parts of the package in layers.

    python docs/examples/architecture.py

Writes docs/images/architecture.svg from the layers in pyproject.toml and the questions in docs/architecture.md.
The SVG is written as text, so that it does not depend on the version of a plotting library.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from html import escape
from pathlib import Path
from textwrap import wrap

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "architecture.md"
PICTURE = ROOT / "docs" / "images" / "architecture.svg"

WIDTH, ROW, GAP, MARGIN = 860, 50, 7, 12
CHARACTERS_PER_PX = 1 / 6.3
"""Of text at 11 px, on average."""
GROUPS = {
    "#fde0c5": ("cli", "report", "plots", "timeline"),
    "#d9e8f6": ("comparison", "calibrate", "variance", "sweeps"),
    "#d5eed9": ("results", "kernel", "workers"),
    "#fbf0b9": ("plans", "stages", "costs", "work"),
}
OTHER = "#ececec"
"""Colour of the parts that read and hold input."""


def layers() -> list[list[str]]:
    """The layers of the package from top to bottom, as import-linter checks them; loose modules are left out."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    (rows,) = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    names = ([name for name in row.split(" : ") if name != "pytest_plugin"] for row in rows)
    return [row for row in names if row]


def questions() -> dict[str, str]:
    """The question of each part, by name, in the order of the page's table."""
    return dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE))


def drawing() -> str:
    """The picture as SVG text: a row for each layer, a box for each part with its question."""
    rows, asked = layers(), questions()
    height = MARGIN + len(rows) * (ROW + GAP)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="Helvetica, Arial, sans-serif">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
    ]
    for number, row in enumerate(rows):
        width = (WIDTH - 2 * MARGIN - GAP * (len(row) - 1)) / len(row)
        for place, part in enumerate(row):
            left, top = MARGIN + place * (width + GAP), MARGIN + number * (ROW + GAP)
            lines.extend(_box(part, asked.get(part, ""), left, top, width))
    return "\n".join([*lines, "</svg>"]) + "\n"


def _box(part: str, question: str, left: float, top: float, width: float) -> Iterator[str]:
    colour = next((colour for colour, parts in GROUPS.items() if part in parts), OTHER)
    middle = left + width / 2
    yield (
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{ROW}" rx="5" fill="{colour}" '
        'stroke="#888888" stroke-width="0.8"/>'
    )
    name = f'<text x="{middle:.1f}" y="{top + 17:.1f}" font-size="13" font-weight="bold" text-anchor="middle">'
    yield f"{name}{part}</text>"
    for number, line in enumerate(wrap(question, int(width * CHARACTERS_PER_PX))):
        place = f'x="{middle:.1f}" y="{top + 32 + 12 * number:.1f}"'
        yield f'<text {place} font-size="11" text-anchor="middle">{escape(line, quote=False)}</text>'


if __name__ == "__main__":
    PICTURE.write_text(drawing(), encoding="utf-8")
