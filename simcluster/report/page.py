"""The page: everything about some runs in one HTML text that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from importlib import resources
from itertools import chain, zip_longest
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from simcluster import __version__
from simcluster.plots.components import COLOURS
from simcluster.plots.panels import Drawing, drawings, explanation_drawings, topology_drawing
from simcluster.plots.plot_data import labels, plot_data
from simcluster.plots.sheet import DEFINITIONS, style
from simcluster.report import measured, sources
from simcluster.report.attribution import attribution
from simcluster.report.bottlenecks import bottlenecks, map_text
from simcluster.report.configuration import configuration, differing
from simcluster.report.inline import dark_variables, inline
from simcluster.report.reported_run import ReportedRun, assumed_places
from simcluster.results.run import remarks
from simcluster.scenario.known_topology import topology_of
from simcluster.trace.columns import COMPONENTS
from simcluster.variance.explanation import Explanation

MAX_TEXT = 2000
"""Characters of a text from a file that the page repeats."""

HOW_TO_READ = {
    "latency_cdfs": "The further left a curve, the faster; the steeper, the steadier. Marks are p50 and p99.",
    "latency_tails": "How many of the values are at least that long. A curve that falls late has a long tail.",
    "latency_violins": "The same, run next to run: the higher, the more values. Marks are p50, p99 and p99.9.",
    "latency_over_time": "Every gap at the token that ends it, every TTFT at the arrival.",
    "component_bars": "Where a mean token spends its time; the parts sum to the mean.",
    "batch_over_time": "Requests in each step, and requests that wait for a place.",
    "variance_waterfall": "What each component adds to the variance of a latency, in percent, one after another.",
    "components_by_percentile": "Mean components in ms of gaps in bands of percentiles, the longest at the right.",
    "itl_causes": "Each gap beyond p99 in ms, at the second it ended, coloured by what made it long.",
    "last_ranks": "For each rank how often the others wait for it, in percent, over the seconds of the run.",
    "topology_map": "Boxes: how often a rank is last or slowest, in percent of the collectives or steps. Lines: the "
    "use of a link, in percent of its bandwidth.",
}
"""A sentence next to each figure."""


class Picture(NamedTuple):
    """A figure on the page."""

    key: str
    title: str
    text: str
    alt: str
    """What it shows, for screen readers; its title by default."""
    svg: Markup
    panels: Markup
    """JSON for an attribute, for the interactive page; empty without."""


class Detail(NamedTuple):
    """What the page shows of one run alone."""

    key: str
    place: int
    label: str
    title: str
    headlines: list[measured.Headline]
    tables: list[Any]
    pictures: list[Picture]
    bars: list[tuple[str, list[tuple[str, float]]]]
    remarks: list[str]
    zero_is_assumed: bool


def page(
    runs: Sequence[ReportedRun], explained: Sequence[Explanation | None] = (), *, interactive: bool = False
) -> str:
    """
    Make the report of some runs.

    Args:
        runs: at least one; the first is what the others are compared with.
        explained: the explanation of each run, if there is one.
        interactive: add a script for zoom and hover, which fetches nothing.

    Returns:
        HTML; equal runs give equal text.

    Raises:
        InputError: the token table of a run is damaged.
        ValueError: no run.
    """
    if not runs:
        raise ValueError("no run to report")
    names = labels([run.run for run in runs])
    gathered = plot_data([run.run for run in runs])
    drawn = drawings(gathered)
    explanations = [
        explanation_drawings(run.run, one, found) if found is not None else []
        for run, one, found in zip_longest(runs, gathered, explained)
    ]
    topologies = _topologies(runs)
    details = [
        _detail(place, run, names[place], found, of_run, interactive)
        for place, (run, of_run, found) in enumerate(zip_longest(runs, explanations, explained))
    ]
    script = _asset("page.js") if interactive else ""
    component_colours = {name: colour.lower() for name, colour in COLOURS.items()}
    svgs = [drawing.svg for drawing in (*drawn, *chain(*explanations), *topologies)]
    return _environment().get_template("page.html").render(
        **_tables(runs, names),
        **_terms(details),
        title=_title(runs),
        labels=names,
        colours=[style(place).colour.lower() for place in range(len(runs))],
        component_colours=component_colours,
        pictures=[_picture(drawing, interactive) for drawing in drawn],
        topologies=[_topology_picture(place, drawing) for place, drawing in enumerate(topologies)],
        undrawn=sorted({run.scenario.topology for run in runs} - {drawing.name for drawing in topologies}),
        details=details,
        version=__version__,
        style=Markup(_asset("page.css").replace("/*dark*/", dark_variables([*svgs, *component_colours.values()]))),
        script=Markup(script),
        script_hash=_hash(script) if interactive else "",
    )  # fmt: skip


def _tables(runs: Sequence[ReportedRun], names: Sequence[str]) -> dict[str, Any]:
    """What the template shows of all runs side by side, by its names."""
    configured = configuration(runs, names)
    return {
        "configuration": configured,
        "differing": differing(configured),
        "comparison": measured.comparison(runs, names, differing(configured)),
        "zero_assumed": [names[place] for place in assumed_places(runs)],
        "zero_assumed_text": measured.ZERO_ASSUMED,
        "assumptions": sources.assumptions(runs, names),
        "entries": sources.entries(runs),
        "versions": sources.versions(runs),
        "provenance": sources.provenance(runs, names),
    }


def _terms(details: Sequence[Detail]) -> dict[str, Any]:
    """Definitions of latencies, and of the components that the page shows, by the template's names."""
    used = {name for detail in details for _, parts in detail.bars for name, _ in parts}
    return {
        "definitions": [DEFINITIONS[name] for name in ("ttft", "tpot", "itl", "clock")],
        "used_components": [name for name in COLOURS if name in used],
        "meanings": {name: meaning for name, meaning in COMPONENTS.items() if name in used},
    }


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("simcluster.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, finalize=plain,
    )  # fmt: skip
    return environment


def plain(value: Any) -> Any:
    """A text from a file with unprintable letters replaced, cut to the longest text that the page repeats."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    text = value if len(value) <= MAX_TEXT else value[: MAX_TEXT - 1] + "…"
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


def _title(runs: Sequence[ReportedRun]) -> str:
    titles = list(dict.fromkeys(str(run.summary["title"]) or str(run.summary["scenario"]) for run in runs))
    return titles[0] if len(titles) == 1 else " · ".join(titles) if len(titles) < 4 else f"{len(runs)} runs compared"


def _topologies(runs: Sequence[ReportedRun]) -> list[Drawing]:
    """A drawing of each topology that is known."""
    found: dict[str, Drawing] = {}
    for run in runs:
        if run.scenario.topology not in found and (topology := topology_of(run.scenario)) is not None:
            found[run.scenario.topology] = topology_drawing(topology)
    return list(found.values())


def _picture(drawing: Drawing, interactive: bool, before: str = "", alt: str = "") -> Picture:
    """A figure, whose key is its name with `before` in front."""
    panels = escape(json.dumps(drawing.panels)) if interactive and drawing.panels else Markup("")
    key = before + drawing.name.replace("_", "-")
    svg = Markup(inline(drawing.svg, key, COLOURS, drawing.top))
    return Picture(key, drawing.title, HOW_TO_READ[drawing.name], alt or drawing.title, svg, panels)


def _topology_picture(place: int, drawing: Drawing) -> Picture:
    key = f"topology-{place}"
    svg = Markup(inline(drawing.svg, key, (), drawing.top))
    return Picture(key, drawing.title, "", drawing.title, svg, Markup(""))


def _detail(
    place: int, run: ReportedRun, label: str, explained: Explanation | None, drawn: Sequence[Drawing],
    interactive: bool,
) -> Detail:  # fmt: skip
    components = measured.components(run)
    bars = [
        (name, [(row.mark, share) for row in components.rows if (share := row.cells[column].share or 0.0) > 0])
        for column, name in enumerate(("TTFT", "ITL"))
    ]
    tables = [
        measured.latencies(run), components, *attribution(explained, run.zero_is_assumed), *bottlenecks(explained),
    ]  # fmt: skip
    key = f"run-{place}"
    pictures = [
        _picture(drawing, interactive, f"{key}-", map_text(explained) if drawing.name == "topology_map" else "")
        for drawing in drawn
    ]
    return Detail(
        key, place, label, str(run.summary["title"]), measured.headlines(run.summary),
        [table for table in tables if table.rows], pictures, bars, remarks(run.summary), run.zero_is_assumed,
    )  # fmt: skip


def _asset(name: str) -> str:
    return (resources.files("simcluster") / "report" / "templates" / name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    """The hash by which the page's content security policy allows its only script."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
