"""
Draw a topology.

Boxes are nodes, coloured by kind; lines are links, coloured by fabric. A long box is a switch or host with many
nodes; a dot marks where a line joins it. Frames show enclosures. The legend counts nodes and links.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch, Patch, Rectangle

from simcluster.files.units import show
from simcluster.topology.layout import positions
from simcluster.topology.model import Topology

_FILL = {
    "device": "#2f6fb3",
    "switch": "#3a3f47",
    "nic": "#d9a441",
    "port": "#7d8591",
    "die": "#a9c8e8",
    "memory": "#7b4fa0",
    "host": "#8f8577",
}
_DARK = ("device", "switch", "memory", "port", "host")
_LINES = ("#3c8d2f", "#c8502d", "#1f9e9e", "#a33c86", "#8a6d00", "#5560c8", "#777777")
_LONG = 1.5
_MAX_DIRECT = 1000
"""Largest number of direct links that are all drawn."""
SMALLEST_PT = 3.4
_INCHES = (15.0, 11.0)
"""Largest size of a drawing in inches, without title and legend."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Box:
    """A node's rectangle, in units of the drawing."""

    x: float
    y: float
    width: float
    height: float
    kind: str

    @property
    def is_long(self) -> bool:
        """Whether lines may join it anywhere along its side."""
        return max(self.width, self.height) >= _LONG

    def nearest(self, point: Point) -> Point:
        """The point of the rectangle nearest to a point."""
        return (
            min(max(point[0], self.x - self.width / 2), self.x + self.width / 2),
            min(max(point[1], self.y - self.height / 2), self.y + self.height / 2),
        )


@dataclass(frozen=True)
class _Fabric:
    """A kind of link: one line of the legend."""

    name: str
    bytes_per_s: float
    latency_s: float
    count: int

    def __str__(self) -> str:
        width = f"{self.count} x " if self.count > 1 else ""
        bandwidth = show(self.bytes_per_s / self.count, "bandwidth", 3)
        return f"{self.name}: {width}{bandwidth}, {show(self.latency_s, 'time', 3)}"


@dataclass(frozen=True)
class Way:
    """The line drawn for an edge."""

    a: str
    b: str
    fabric: _Fabric
    start: Point
    end: Point
    dot: Point | None
    """Points where it joins a long box."""
    is_faint: bool
    """Whether it is one of many inside an enclosure."""


def draw(topology: Topology) -> Figure:
    """
    Draw a topology; bandwidths in the legend are per direction, latencies one way over one edge.

    If a graph has more than 1,000 direct links between devices, only those inside an enclosure and to the next
    enclosure are drawn; the legend notes that and counts all.
    """
    boxes = boxes_of(topology)
    left, right, bottom, top = extent(boxes)
    scale = min(_INCHES[0] / (right - left), _INCHES[1] / (top - bottom), 1.1)
    fabrics = _fabrics(topology)
    legend = _legend(topology, fabrics)
    legend_rows = math.ceil(len(legend) / 2)
    width_in = max((right - left) * scale, 7.5)
    above_in, below_in = 0.75, 0.3 + 0.24 * legend_rows
    height_in = (top - bottom) * scale + above_in + below_in
    figure = Figure(figsize=(width_in, height_in), facecolor="white")
    share = (right - left) * scale / width_in
    drawing = (top - bottom) * scale / height_in
    axes = figure.add_axes(((1 - share) / 2, below_in / height_in, share, drawing))
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)
    axes.set_axis_off()
    frames(axes, topology, boxes, scale)
    _links(axes, topology, boxes, fabrics, scale)
    _nodes(axes, boxes, scale)
    figure.text(
        0.5, 1 - 0.22 / height_in, topology.title, ha="center", va="center", size=14, weight="bold", parse_math=False
    )
    figure.text(0.5, 1 - 0.5 / height_in, _counts(topology), ha="center", va="center", size=9.5, parse_math=False)
    texts = figure.legend(
        handles=legend, loc="lower center", ncols=2, frameon=False, fontsize=8.5, bbox_to_anchor=(0.5, 0.0)
    ).get_texts()
    for text in texts:
        text.set_parse_math(False)
    return figure


def extent(boxes: Mapping[str, Box]) -> tuple[float, float, float, float]:
    """Left, right, bottom and top of a drawing, with margins and room for the names of frames."""
    left, right, bottom, top = _around(boxes.values())
    return left - 0.3, right + 0.3, bottom - 0.3, top + 0.55


def _around(boxes: Collection[Box]) -> tuple[float, float, float, float]:
    """Left, right, bottom and top around all boxes."""
    return (
        min(box.x - box.width / 2 for box in boxes), max(box.x + box.width / 2 for box in boxes),
        min(box.y - box.height / 2 for box in boxes), max(box.y + box.height / 2 for box in boxes),
    )  # fmt: skip


def boxes_of(topology: Topology) -> dict[str, Box]:
    nodes = topology.graph.nodes
    return {
        name: Box(x, y, nodes[name].get("width", 0.8), nodes[name].get("height", 0.6), nodes[name]["kind"])
        for name, (x, y) in positions(topology).items()
    }


def _counts(topology: Topology) -> str:
    groups = {topology.graph.nodes[name]["group"] for name in topology.devices}
    devices = _several(len(topology.devices), "device")
    enclosures = f" in {len(groups)} enclosures" if 1 < len(groups) < len(topology.devices) else ""
    nodes, edges = _several(len(topology.graph), "node"), _several(topology.graph.number_of_edges(), "edge")
    return f"{topology.name}: {devices}{enclosures}, {nodes}, {edges}; bandwidth per direction, latency of one edge"


def _several(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _edges(topology: Topology) -> Iterator[tuple[str, str, _Fabric]]:
    """All edges with their kind in the legend."""
    nodes = topology.graph.nodes
    for a, b, edge in topology.graph.edges(data=True):
        kinds = sorted((nodes[a]["kind"], nodes[b]["kind"]), key=list(_FILL).index)
        name = edge["link"] or " to ".join(kinds)
        yield a, b, _Fabric(name, edge["bytes_per_s"], edge["latency_s"], edge["count"])


def _fabrics(topology: Topology) -> dict[str, tuple[str, list[_Fabric]]]:
    """Colour and distinct properties of each fabric, by name."""
    found: dict[str, tuple[str, list[_Fabric]]] = {}
    for _, _, fabric in _edges(topology):
        _, kinds = found.setdefault(fabric.name, (_LINES[min(len(found), len(_LINES) - 1)], []))
        if fabric not in kinds:
            kinds.append(fabric)
    return found


def _legend(topology: Topology, fabrics: Mapping[str, tuple[str, list[_Fabric]]]) -> list[Any]:
    kinds = Counter(
        f"{attributes['kind']} {attributes.get('device', '')}".strip()
        for _, attributes in topology.graph.nodes(data=True)
    )
    handles: list[Any] = [
        Patch(facecolor=_FILL[kind.split()[0]], label=f"{number:,} x {kind.removeprefix('device ')}")
        for kind, number in kinds.items()
    ]
    numbers = Counter(fabric.name for _, _, fabric in _edges(topology))
    hidden = " (drawn: inside, and to the next)" if is_crowded(topology) else ""
    for name, (colour, figures) in fabrics.items():
        text = str(figures[0])
        if len(figures) > 1:
            low, high = min(f.bytes_per_s for f in figures), max(f.bytes_per_s for f in figures)
            text = f"{name}: {show(low, 'bandwidth', 3)}"
            text += f" to {show(high, 'bandwidth', 3)}" if high > low else ""
            low, high = min(f.latency_s for f in figures), max(f.latency_s for f in figures)
            text += f", {show(low, 'time', 3)}" + (f" to {show(high, 'time', 3)}" if high > low else "")
        label = f"{text} ({_several(numbers[name], 'edge')}){hidden}"
        handles.append(Line2D([], [], color=colour, linewidth=2, label=label))
    return handles


def is_crowded(topology: Topology) -> bool:
    nodes = topology.graph.nodes
    direct = [1 for a, b in topology.graph.edges if nodes[a]["kind"] == nodes[b]["kind"] == "device"]
    return len(direct) > _MAX_DIRECT


def frames(axes: Axes, topology: Topology, boxes: Mapping[str, Box], scale: float) -> None:
    """Frames around enclosures of several nodes, if there are several such enclosures."""
    members: dict[str, list[Box]] = {}
    for name, attributes in topology.graph.nodes(data=True):
        members.setdefault(attributes["group"], []).append(boxes[name])
    framed = {
        group: inside
        for group, inside in members.items()
        if len(inside) > 2 and any(box.kind == "device" for box in inside)
    }
    if len(framed) < 2:
        return
    for group, inside in framed.items():
        left, right, bottom, top = _around(inside)
        frame = FancyBboxPatch(
            (left, bottom),
            right - left,
            top - bottom,
            boxstyle="round,pad=0.18,rounding_size=0.2",
            facecolor="#f3f5f8",
            edgecolor="#c3c9d2",
            linewidth=0.8,
            zorder=0,
        )
        axes.add_patch(frame)
        size = min(9.0, 0.5 * scale * 72)
        if size >= SMALLEST_PT:
            paper = {"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.85}
            text = axes.text(left, top + 0.24, group, size=size, color="#5b6470", va="bottom", bbox=paper, zorder=1.5)
            text.set_parse_math(False)


def _nodes(axes: Axes, boxes: Mapping[str, Box], scale: float) -> None:
    numbers_only = {
        (box.kind, box.width)
        for name, box in boxes.items()
        if not box.is_long and text_size(name.rpartition("/")[2], box, scale) < SMALLEST_PT
    }
    for name, box in boxes.items():
        inside = box.kind == "device" and box.is_long  # a wafer drawn around its dies
        corner = (box.x - box.width / 2, box.y - box.height / 2)
        face = "#eaf1f9" if inside else _FILL[box.kind]
        edge = _FILL[box.kind] if inside else "white"
        patch = Rectangle(
            corner, box.width, box.height, facecolor=face, edgecolor=edge, linewidth=1.5 if inside else 0.4
        )
        patch.set_zorder(0.5 if inside else 3)
        axes.add_patch(patch)
        text = name.rpartition("/")[2]
        if inside:
            axes.text(box.x, corner[1] + box.height + 0.08, text, ha="center", va="bottom", size=10, parse_math=False)
            continue
        if (box.kind, box.width) in numbers_only:
            text = text.lstrip("abcdefghijklmnopqrstuvwxyz")
        size = text_size(text, box, scale)
        if text and size >= SMALLEST_PT:
            colour = "white" if box.kind in _DARK else "#1d2530"
            upright = box.height > 2 * box.width
            label = axes.text(box.x, box.y, text, size=size, color=colour, ha="center", parse_math=False, zorder=5)
            label.set_verticalalignment("center" if upright else "center_baseline")
            label.set_rotation(90 if upright else 0)


def text_size(text: str, box: Box, scale: float) -> float:
    """The font size in points at which a text fits into a box, along its longer side."""
    breadth, length = sorted((box.width, box.height)) if box.height > 2 * box.width else (box.height, box.width)
    return min(9.0, 0.62 * breadth * scale * 72, 1.45 * length * scale * 72 / max(len(text), 1))


def _links(
    axes: Axes,
    topology: Topology,
    boxes: Mapping[str, Box],
    fabrics: Mapping[str, tuple[str, list[_Fabric]]],
    scale: float,
) -> None:
    lines: dict[tuple[str, bool], list[tuple[Point, Point]]] = {}
    dots: dict[str, list[Point]] = {}
    for way in ways(topology, boxes):
        colour = fabrics[way.fabric.name][0]
        lines.setdefault((colour, way.is_faint), []).append((way.start, way.end))
        if way.dot is not None:
            dots.setdefault(colour, []).append(way.dot)
    for (colour, faint), segments in lines.items():
        width = 0.5 if faint else max(0.5, min(1.6, 2.4 * scale))
        axes.add_collection(
            LineCollection(segments, colors=colour, linewidths=width, alpha=0.45 if faint else 0.9, zorder=1)
        )
    for colour, points in dots.items():
        size = max(1.2, min(4.0, 5.5 * scale))
        xs, ys = zip(*points, strict=True)
        axes.plot(xs, ys, linestyle="none", marker="o", markersize=size, color=colour, zorder=4, clip_on=False)


def ways(topology: Topology, boxes: Mapping[str, Box]) -> Iterator[Way]:
    """The lines of all edges that are drawn."""
    slots = _slots(topology, boxes)
    crowded = is_crowded(topology)
    order = {group: number for number, group in enumerate(_groups(topology))}
    for a, b, fabric in _edges(topology):
        groups = [order[topology.graph.nodes[end]["group"]] for end in (a, b)]
        apart = abs(groups[0] - groups[1])
        if crowded and apart > 1:
            continue
        start, end = slots.get((a, b)) or boxes[a].nearest((boxes[b].x, boxes[b].y)), (boxes[b].x, boxes[b].y)
        dot = None
        if boxes[a].is_long and boxes[b].is_long:
            end = boxes[b].nearest(start)
            start = boxes[a].nearest(end)
            dot = end
        elif boxes[b].is_long:
            start = slots[a, b]
            dot = end = boxes[b].nearest(start)
        elif boxes[a].is_long:
            end = slots[b, a]
            dot = start = boxes[a].nearest(end)
        else:
            start = (boxes[a].x, boxes[a].y)
        yield Way(a, b, fabric, start, end, dot, crowded and apart == 0)


def _groups(topology: Topology) -> list[str]:
    return list(dict.fromkeys(attributes["group"] for _, attributes in topology.graph.nodes(data=True)))


def _slots(topology: Topology, boxes: Mapping[str, Box]) -> dict[tuple[str, str], Point]:
    """
    Points where lines to long boxes leave small ones, by (small, long).

    Lines that leave by the same side share its length, so that they do not overlap.
    """
    sides: dict[tuple[str, str], list[str]] = {}
    for a, b in topology.graph.edges:
        for small, long in ((a, b), (b, a)):
            if boxes[long].is_long and not boxes[small].is_long:
                box, end = boxes[small], boxes[long].nearest((boxes[small].x, boxes[small].y))
                across, up = (end[0] - box.x) / box.width, (end[1] - box.y) / box.height
                side = (
                    ("east" if across > 0 else "west") if abs(across) > abs(up) else ("north" if up > 0 else "south")
                )
                sides.setdefault((small, side), []).append(long)
    points: dict[tuple[str, str], Point] = {}
    for (small, side), longs in sides.items():
        box = boxes[small]
        for number, long in enumerate(longs):
            along = (number + 1) / (len(longs) + 1) - 0.5
            if side in ("north", "south"):
                sign = 1 if side == "north" else -1
                points[small, long] = (box.x + along * box.width, box.y + sign * box.height / 2)
            else:
                sign = 1 if side == "east" else -1
                points[small, long] = (box.x + sign * box.width / 2, box.y + along * box.height)
    return points
