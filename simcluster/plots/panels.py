"""Figures for a page: SVG text, with place and scales of its axes, by which a page shows values under the pointer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypedDict

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from simcluster.numerics.ticks import TICKS_PER_S
from simcluster.plots.explanation import explanation_figures
from simcluster.plots.latency import FIGURES
from simcluster.plots.plot_data import PlotData
from simcluster.plots.save import svg
from simcluster.plots.sheet import plain_style
from simcluster.plots.topology import draw
from simcluster.results.read_run import RunFolder
from simcluster.topology.model import Topology
from simcluster.variance.explanation import Explanation

_POINTS_PER_IN = 72
_TITLE_IN = 0.38
"""Height at the top that holds only the title."""

_ZOOMED = ("itl_causes",)
"""Figures of an explanation that can be zoomed."""


class Scale(TypedDict):
    """One axis: its label, its ends, and its scale."""

    label: str
    low: float
    high: float
    log: bool


class Panel(TypedDict):
    """Axes with data: a rectangle in units of the SVG, y downwards, and its two scales."""

    axes: int
    """Number of its group `axes_<number>` in the SVG."""
    left: float
    top: float
    right: float
    bottom: float
    x: Scale
    y: Scale | None
    """None if the y axis has no meaning."""


@dataclass(frozen=True)
class Drawing:
    """A figure for a page, with its title apart."""

    name: str
    title: str
    svg: str
    top: float
    """Empty height at the top without the title, in units of the SVG."""
    panels: tuple[Panel, ...] = ()


def drawings(runs: Sequence[PlotData]) -> list[Drawing]:
    """All figures of runs, in the order and style of the files."""
    with plain_style():
        return [
            _untitled(name, figure, panels(figure))
            for name, make in FIGURES.items()
            if (figure := make(runs)) is not None
        ]


def explanation_drawings(run: RunFolder, data: PlotData, found: Explanation) -> list[Drawing]:
    """
    The figures of one run's explanation, as `simcluster explain --plot` draws them.

    Args:
        run: on disk.
        data: of the run, possibly made together with others.
        found: its explanation.

    Raises:
        InputError: the token table is damaged.
    """
    alone = replace(data, end_s=max(float(run.summary["duration"]), run.end_ticks / TICKS_PER_S))
    with plain_style():
        return [
            _untitled(name, figure, panels(figure) if name in _ZOOMED else ())
            for name, figure in explanation_figures([run], [alone], found)
            if figure is not None
        ]


def topology_drawing(topology: Topology) -> Drawing:
    """Draw a topology like `simcluster show topologies NAME --plot`."""
    with plain_style():
        return _untitled(topology.name, draw(topology))


def _untitled(name: str, figure: Figure, its_panels: tuple[Panel, ...] = ()) -> Drawing:
    """Remove the title of a figure, which is the first of its texts, alone at the top."""
    title = figure.texts[0]
    text = title.get_text()
    title.remove()
    return Drawing(name, text, svg(figure), _TITLE_IN * _POINTS_PER_IN, its_panels)


def panels(figure: Figure) -> tuple[Panel, ...]:
    """The axes of a figure that show data, in order of creation."""
    return tuple(
        _panel(figure, axes, number)
        for number, axes in enumerate(figure.axes, start=1)
        if axes.xaxis.get_visible() and axes.has_data()
    )


def _panel(figure: Figure, axes: Axes, number: int) -> Panel:
    width, height = (float(side) * _POINTS_PER_IN for side in figure.get_size_inches())
    place = axes.get_position()
    return {
        "axes": number,
        "left": round(place.x0 * width, 3),
        "top": round((1 - place.y1) * height, 3),
        "right": round(place.x1 * width, 3),
        "bottom": round((1 - place.y0) * height, 3),
        "x": _scale(_label([other.get_xlabel() for other in _with_x_of(axes)]), axes.get_xlim(), axes.get_xscale()),
        "y": _scale(
            _label([other.get_ylabel() for other in (axes, *figure.axes)]), axes.get_ylim(), axes.get_yscale()
        )
        if axes.yaxis.get_visible() and len(axes.get_yticks())
        else None,
    }


def _with_x_of(axes: Axes) -> Sequence[Axes]:
    """The axes, and then others with the same x axis, of which the lowest has the label."""
    return [axes, *axes.get_shared_x_axes().get_siblings(axes)]


def _label(labels: Sequence[str]) -> str:
    return next(filter(None, labels), "")


def _scale(label: str, ends: tuple[float, float], kind: str) -> Scale:
    return {"label": label, "low": float(ends[0]), "high": float(ends[1]), "log": kind == "log"}
