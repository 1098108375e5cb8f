"""A topology coloured by a run: ranks by how often the others wait for them, links by utilisation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Colormap, LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from simcluster.plots.components import ink
from simcluster.plots.plot_data import PlotData
from simcluster.plots.ranks import SHADES, TITLES
from simcluster.plots.sheet import FAINT, INK, WIDTH_IN, sheet
from simcluster.plots.topology import SMALLEST_PT, Box, boxes_of, extent, frames, is_crowded, text_size, ways
from simcluster.topology.model import Topology
from simcluster.variance.critical_path import CriticalPath

Link = tuple[str, str]

_LINK_SHADES = LinearSegmentedColormap.from_list("use", ["#fdc38a", "#e6550d", "#7f2704"])
"""After ColorBrewer's Oranges; lines also grow with utilisation, which can be printed."""
_UNUSED = "#c4c4c4"
_OTHER = "#ececec"
"""Colour of nodes other than devices, and of devices without waiting peers."""
_LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)
_MAX_HEIGHT_IN = 9.0
_MIN_SCALE = 0.45
"""Inches per unit from which drawings are placed side by side: names are legible."""
_WIDE_IN = WIDTH_IN - 1.3
_GAP_IN = 0.4
_SPARE_IN = 0.4
"""Room below axes for their labels."""
_MIN_PT, _MOST_PT = 1.0, 3.4


def topology_map(
    whole: PlotData, topology: Topology, critical: CriticalPath | None, use: Mapping[Link, float] | None
) -> Figure | None:
    """
    Draw the topology for each criterion of lateness, with link utilisation in each; None without data.

    Args:
        whole: the run, or replications combined.
        topology: of the run.
        critical: result of `variance.critical_path.critical_path`; None if no rank waits for another.
        use: utilisation of every directed link; None if unknown.
    """
    lasts = _lasts(critical)
    used = _by_edge(topology, use or {})
    if not lasts and not used:
        return None
    boxes = boxes_of(topology)
    left, right, bottom, top = extent(boxes)
    width, height = right - left, top - bottom
    panels: list[tuple[str, Mapping[str, float]]] = list(lasts.items()) or [("", {})]
    columns = len(panels) if _scale(width, height, len(panels), 1) >= _MIN_SCALE else 1
    scale = _scale(width, height, columns, len(panels) // columns)
    rows = len(panels) // columns
    body_in = rows * height * scale + (rows - 1) * _GAP_IN - _SPARE_IN
    most = max((share for shares in lasts.values() for share in shares.values()), default=0.0)
    busiest = max(used.values(), default=0.0)
    notes = _notes(topology, lasts, used, is_unknown=use is None)
    legend = _legend(lasts, used, most, busiest)
    figure, cell = sheet(
        f"{_title(lasts, used)}: {whole.label}", [whole], body_in, (), notes=notes, legend=legend,
        legend_columns=len(_LEVELS) + 1,
    )  # fmt: skip
    cell.update(bottom=(cell.bottom or 0.0) - _SPARE_IN / figure.get_figheight())
    grid = cell[0].subgridspec(rows, columns, hspace=_GAP_IN / (height * scale), wspace=_GAP_IN / (width * scale))
    for place, (what, shares) in enumerate(panels):
        axes = figure.add_subplot(grid[place // columns, place % columns])
        axes.set_title(TITLES.get(what, ""))
        axes.set_axis_off()
        axes.set_xlim(left, right)
        axes.set_ylim(bottom, top)
        axes.set_aspect("equal", anchor="NW")
        frames(axes, topology, boxes, scale)
        _links(axes, topology, boxes, used, busiest, min(1.0, scale / 0.55))
        _nodes(axes, boxes, shares, most, scale, f"rank-{place}")
    return figure


def _scale(width: float, height: float, columns: int, rows: int) -> float:
    """Inches per unit so that `n` drawings fit."""
    wide_in, tall_in = _WIDE_IN - _GAP_IN * (columns - 1), _MAX_HEIGHT_IN - _GAP_IN * (rows - 1)
    return min(wide_in / columns / width, tall_in / rows / height, 1.1)


def _lasts(critical: CriticalPath | None) -> dict[str, dict[str, float]]:
    """The share of each rank by criterion; criteria without any late rank are left out."""
    ranks = [rank for _, rank in critical.ranks] if critical is not None else []
    found = {
        "last": {rank.device: rank.last_share for rank in ranks},
        "slowest": {rank.device: rank.fetch.slowest_share for rank in ranks},
    }
    return {what: shares for what, shares in found.items() if any(shares.values())}


def _by_edge(topology: Topology, use: Mapping[Link, float]) -> dict[Link, float]:
    """Utilisation of the busier direction of each used edge, with ends as in the drawing."""
    edges = ((a, b, max(use.get((a, b), 0.0), use.get((b, a), 0.0))) for a, b in topology.graph.edges)
    return {(a, b): share for a, b, share in edges if share > 0}


def _title(lasts: Mapping[str, Any], used: Mapping[Link, float]) -> str:
    return " and ".join(
        [*(["Last ranks"] if lasts else []), *(["utilisation of links"] if used else [])]
    ).capitalize()


def _notes(
    topology: Topology, lasts: Mapping[str, Any], used: Mapping[Link, float], *, is_unknown: bool
) -> list[str]:
    notes = []
    if lasts:
        notes.append(
            "Box: share of the collectives at which a rank arrives last, or of the steps in which it is the slowest."
        )
    else:
        notes.append("No rank waits for another.")
    if used:
        (a, b), share = max(used.items(), key=lambda one: one[1])
        notes.append(
            "Line: bytes of exchanges and sends over what the link can carry in the run, in its busier direction; "
            f"the busiest, {a} - {b}, {_percent(share)}. Not counted: repeated work, streamed weights, transfers."
        )
    else:
        notes.append(
            "Only ranks are coloured: the utilisation of links is unknown." if is_unknown else "No link was used."
        )
    if is_crowded(topology):
        notes.append("Drawn: links inside an enclosure, and to the next.")
    return notes


def _legend(lasts: Mapping[str, Any], used: Mapping[Link, float], most: float, busiest: float) -> list[Line2D]:
    """Legend with a row for boxes and one for lines; legends are filled by column."""
    rows = []
    if lasts:
        rows.append([
            _words("last or slowest:"),
            *(
                Line2D([], [], linestyle="none", marker="s", markersize=10, markerfacecolor=_shade(SHADES, level),
                       markeredgecolor=FAINT, markeredgewidth=0.8, label=_percent(level * most))
                for level in _LEVELS
            ),
        ])  # fmt: skip
    if used:
        rows.append([
            _words("utilisation:"),
            Line2D([], [], color=_UNUSED, linewidth=_MIN_PT, label="none"),
            *(
                Line2D([], [], color=_shade(_LINK_SHADES, level), linewidth=_thick(level),
                       label=_percent(level * busiest))
                for level in _LEVELS[1:]
            ),
        ])  # fmt: skip
    return [handle for column in zip(*rows, strict=True) for handle in column]


def _words(text: str) -> Line2D:
    return Line2D([], [], linestyle="none", label=text)


def _links(
    axes: Axes, topology: Topology, boxes: Mapping[str, Box], used: Mapping[Link, float], busiest: float, finer: float
) -> None:
    """Draw the lines of all edges; used ones above the others, all thinner in small drawings."""
    drawn = list(ways(topology, boxes))
    for are_used in (False, True):
        some = [way for way in drawn if ((way.a, way.b) in used) == are_used]
        levels = [used.get((way.a, way.b), 0.0) / (busiest or 1.0) for way in some]
        colours = [_shade(_LINK_SHADES, level) if are_used else _UNUSED for level in levels]
        widths = [finer * _thick(level) if are_used else 0.5 if way.is_faint else _MIN_PT
                  for way, level in zip(some, levels, strict=True)]  # fmt: skip
        axes.add_collection(
            LineCollection([(way.start, way.end) for way in some], colors=colours, linewidths=widths,
                           zorder=1.2 if are_used else 1)
        )  # fmt: skip
        for way, colour, width in zip(some, colours, widths, strict=True):
            if way.dot is not None:
                axes.plot(*way.dot, marker="o", markersize=width + finer, color=colour, zorder=4, clip_on=False)


def _nodes(
    axes: Axes, boxes: Mapping[str, Box], shares: Mapping[str, float], most: float, scale: float, key: str
) -> None:
    """Draw boxes with names, and with shares for ranks; their ids in an SVG begin with a key."""
    for name, box in boxes.items():
        is_rank = name in shares
        around = box.kind == "device" and box.is_long  # a wafer drawn around its dies
        face = _shade(SHADES, shares[name] / (most or 1.0)) if is_rank else _OTHER
        corner = (box.x - box.width / 2, box.y - box.height / 2)
        edge = INK if box.kind == "device" else FAINT
        patch = Rectangle(corner, box.width, box.height, facecolor=face, edgecolor=edge, linewidth=0.7)
        patch.set_gid(f"{key}-{name}" if is_rank else None)
        patch.set_zorder(0.5 if around else 3)
        axes.add_patch(patch)
        lines = [name.rpartition("/")[2], *([_percent(shares[name])] if is_rank else [])]
        size = min(text_size(max(lines, key=len), box, scale), 0.36 * box.height * scale * 72 if is_rank else 9.0)
        if size < SMALLEST_PT and is_rank:
            size = text_size(lines.pop(0), box, scale)
        if size < SMALLEST_PT:
            continue
        axes.text(
            box.x, box.y, "\n".join(lines), size=size, ha="center", va="center", zorder=5, parse_math=False,
            color=ink(face), linespacing=1.15, rotation=90 if box.height > 2 * box.width else 0,
        )  # fmt: skip


def _shade(shades: Colormap, level: float) -> str:
    return to_hex(shades(float(level)))


def _thick(level: float) -> float:
    return _MIN_PT + (_MOST_PT - _MIN_PT) * level


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share > 0.0995 or not share else f"{100 * share:.2g} %"
