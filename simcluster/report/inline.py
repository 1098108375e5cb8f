"""matplotlib's SVG as a part of an HTML page: no prolog, no names that clash, colours that follow the page."""

from __future__ import annotations

import re
from collections.abc import Iterable

from simcluster.report.colours import on_dark

_DROPPED = re.compile(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", re.DOTALL)
_ROOT = re.compile(r"<svg\b[^>]*?viewBox=\"([-\d. ]+)\"[^>]*>")
_ID = re.compile(r'\bid="([^"]*)"')
_REFERENCE = re.compile(r'(url\(#|href="#)')
_COLOUR = re.compile(r"\b(fill|stroke): (#[0-9a-f]{6})\b")
_DRAWN = re.compile(r"#[0-9a-f]{6}\b")
_RUN = re.compile(r"run-(\d+)(?:-|$)")
_PX_PER_PT = 4 / 3
_LINE_BREAK = re.compile(r"\s*\n\s*")


def inline(svg: str, key: str, components: Iterable[str], top: float = 0.0) -> str:
    """
    A figure's SVG for the page.

    Args:
        svg: as matplotlib writes it, text as paths.
        key: of the figure, distinct within the page; its ids begin with it.
        components: ids that say which component a bar is of; they come many times and become `data-component`. What
            belongs to a run gets its number as `data-run`.
        top: so much is cut off above, in units of the SVG.

    Returns:
        An `svg` element that names no address; its colours are variables, see `dark_variables`.
    """
    components = frozenset(components)

    def named(match: re.Match[str]) -> str:
        name = match[1]
        if name in components:
            return f'data-component="{name}"'
        run = _RUN.match(name)
        return f'id="{key}-{name}"' + (f' data-run="{run[1]}"' if run else "")

    body = _DROPPED.sub("", svg[svg.index("<svg") :])
    view = _ROOT.match(body)
    if view is None:
        raise ValueError(f"not an SVG of matplotlib: {body[:80]!r}")
    body = _ID.sub(named, body[view.end() :])
    body = _REFERENCE.sub(rf"\g<1>{key}-", body).replace("xlink:href", "href")
    body = _COLOUR.sub(lambda match: f"{match[1]}: var(--c{match[2][1:]}, {match[2]})", body)
    left, _, width, height = map(float, view[1].split())
    frame = f'viewBox="{left:g} {top:g} {width:g} {height - top:g}" style="max-width: {width * _PX_PER_PT:.0f}px"'
    return f'<svg {frame} data-figure="{key}">{_LINE_BREAK.sub(" ", body)}'


def dark_variables(svgs: Iterable[str]) -> str:
    """CSS that gives every colour of some figures, as matplotlib wrote them, its value on dark paper."""
    colours = sorted({colour for svg in svgs for colour in _DRAWN.findall(svg)} | {"#000000"})
    return "".join(f"--c{colour[1:]}:{on_dark(colour)};" for colour in colours)
