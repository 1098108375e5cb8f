"""`simcluster show`: list the catalogue, and print entries with the source of every value."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from simcluster.cli.output_files import ending_in
from simcluster.cli.printing import bare_table
from simcluster.cli.problems import report_problems
from simcluster.plots.formats import FORMATS

if TYPE_CHECKING:
    from rich.table import Table

WIDTH = 100
"""Columns of the output in a pipe; a terminal has its own width."""
MAX_IN_TABLE = 40
"""Characters; longer texts are printed as paragraphs below the table."""
KINDS = ("devices", "links", "models", "noise", "calibration", "topologies", "scenarios", "sweeps")


@click.command()
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("name", required=False)
@click.option("--plot", type=click.Path(path_type=Path), callback=ending_in(*FORMATS),
              help="Draw a topology into this file.")  # fmt: skip
@report_problems
def show(kind: str, name: str | None, plot: Path | None) -> int:
    """List what comes with simcluster, or show one entry with the source of every value."""
    if plot is not None and (kind != "topologies" or name is None):
        raise click.UsageError("--plot goes with a topology: simcluster show topologies NAME --plot FILE")
    if name is None:
        _print_table(_listing(kind))
    elif kind == "topologies":
        _show_topology(name, plot)
    elif kind in ("scenarios", "sweeps"):
        _show_file(kind, name)
    else:
        _show_entry(kind, name)
    return 0


def _listing(kind: str) -> Table:
    """A table of one kind of entry, with the most important columns."""
    own = {"devices": _devices, "links": _links, "models": _models, "topologies": _topologies}
    if kind in own:
        return own[kind]()
    table = _table("name", "title")
    if kind in ("scenarios", "sweeps"):
        from simcluster.files import source

        files = _files(kind)
        titles = {name: source.read(files.find(name)).data.get("title", "") for name in files.names()}
    else:
        from simcluster.catalog import entries

        names = entries.names(kind)  # type: ignore[arg-type]
        titles = {name: entries.entry(kind, name).data.get("title", "") for name in names}  # type: ignore[arg-type]
    for name, title in titles.items():
        table.add_row(name, str(title))
    return table


def _devices() -> Table:
    from simcluster.catalog import entries
    from simcluster.files.units import show as text

    table = _table("name", "title", "memory", "bandwidth", "bf16 peak", "power")
    for name in entries.names("devices"):
        device = entries.device(name)
        peak = device.peak_flop_per_s.get("bf16")
        table.add_row(
            name, device.title, text(device.memory_bytes, "bytes"), text(device.memory_bytes_per_s, "bandwidth"),
            text(peak, "speed") if peak else "-", text(device.power_w, "power"),
        )  # fmt: skip
    return table


def _links() -> Table:
    from simcluster.catalog import entries
    from simcluster.files.units import show as text

    table = _table("name", "title", "per direction", "latency, one way")
    for name in entries.names("links"):
        link = entries.link(name)
        table.add_row(name, link.title, text(link.bytes_per_s, "bandwidth"), text(link.latency_s, "time"))
    return table


def _models() -> Table:
    from simcluster.catalog import entries
    from simcluster.catalog.shapes import active_parameters, kv_bytes_per_token, total_parameters
    from simcluster.files.units import show as text

    table = _table("name", "kind", "parameters", "active", "layers", "KV per token, 16 bit")
    for name in entries.names("models"):
        shape = entries.model(name)
        table.add_row(
            name, shape.kind, f"{total_parameters(shape) / 1e9:,.1f}B", f"{active_parameters(shape) / 1e9:,.1f}B",
            str(shape.layers), text(kv_bytes_per_token(shape, 16), "bytes"),
        )  # fmt: skip
    return table


def _topologies() -> Table:
    from simcluster.topology import read

    table = _table("name", "title", "devices")
    for name in read.names():
        topology = read.load(name)
        table.add_row(name, topology.title, str(len(topology.devices)))
    return table


def _table(*columns: str) -> Table:
    table = bare_table()
    for place, column in enumerate(columns):
        table.add_column(column, no_wrap=not place, overflow="fold")
    return table


def _print_table(table: Table) -> None:
    from rich.console import Console

    stdout = sys.stdout
    Console(file=stdout, highlight=False, width=None if stdout.isatty() else WIDTH).print(table)


def _files(kind: str) -> Any:
    """The module that finds scenarios or sweeps."""
    from simcluster.scenario import files as scenarios
    from simcluster.sweeps import files as sweeps

    return sweeps if kind == "sweeps" else scenarios


def _show_file(kind: str, name: str) -> None:
    """Print the file of a scenario or a sweep."""
    from simcluster.catalog import entries
    from simcluster.files import source
    from simcluster.files.problems import nearest

    files = _files(kind)
    names = files.names()
    if name not in names:
        raise entries.UnknownName(f"no {kind.removesuffix('s')} '{name[:80]}'", nearest(name[:80], names))
    click.echo(source.read_text(files.find(name)).rstrip())


def _show_entry(kind: str, name: str) -> None:
    """Print every value of a catalogue entry with its source."""
    from simcluster.catalog import entries
    from simcluster.files import source

    if kind == "models":
        name = entries.model(name).name
    document = entries.entry(kind, name)  # type: ignore[arg-type]
    data = document.data
    click.echo(f"{name}: {data.get('title', '')}")
    facts = [(source.show_path(path), value) for path, value in _facts(data, ())]
    rows = [(path, *_cells(value)) for path, value in facts if not _is_prose(value)]
    if rows:
        n_used = max(place + 1 for row in rows for place, text in enumerate(row) if text)
        table = _table(*("value", "", "source", "remarks")[:n_used])
        table.columns[1].min_width = max(len(word) for row in rows for word in row[1].split() or [""])
        for row in rows:
            table.add_row(*row[:n_used])
        _print_table(table)
    for path, value in facts:
        if _is_prose(value):
            _print_paragraph(f"{path}: {value}")
    for key, attributes in data.get("sources", {}).items():
        _print_paragraph(f"{key}: {attributes.get('title', '')}")
        if attributes.get("url"):
            click.echo(f"    {attributes['url']}")


def _is_prose(value: Any) -> bool:
    """Whether a value is a text too long for the table."""
    return isinstance(value, str) and len(value) > MAX_IN_TABLE


def _print_paragraph(text: str) -> None:
    click.echo(textwrap.fill(text, WIDTH, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False))


def _cells(value: Any) -> tuple[str, str, str]:
    """A value, its source, and remarks on it."""
    if not isinstance(value, dict):
        return _text(value), "", ""
    remarks = "; ".join(str(value[key]) for key in ("confidence", "status", "note") if value.get(key))
    return _text(value["value"]), str(value.get("source", "")), remarks


def _text(value: Any) -> str:
    """A value as in a file, but lists without brackets."""
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _facts(data: Any, path: tuple[str | int, ...]) -> list[tuple[tuple[str | int, ...], Any]]:
    """Every value of an entry with its path: mappings with a `value`, and plain values; no titles or sources."""
    if isinstance(data, dict) and "value" in data:
        return [(path, data)]
    if isinstance(data, dict):
        return [fact for key, value in data.items() if path or key not in ("title", "sources")
                for fact in _facts(value, (*path, key))]  # fmt: skip
    if isinstance(data, list) and any(isinstance(item, dict) for item in data):
        return [fact for index, value in enumerate(data) for fact in _facts(value, (*path, index))]
    return [(path, data)]


def _show_topology(name: str, plot: Path | None) -> None:
    """Print counts, distances and bisection; draw the topology if a file is given."""
    from collections import Counter

    from simcluster.files.units import show as text
    from simcluster.topology import measure, read

    topology = read.load(name)
    click.echo(f"{topology.name}: {topology.title}")
    kinds = Counter(attributes["kind"] for _, attributes in topology.graph.nodes(data=True))
    click.echo("nodes: " + ", ".join(f"{count} {kind}" for kind, count in kinds.items()))
    table = _table("link", "edges", "per direction", "latency")
    edges = Counter((attributes["link"] or "-", attributes["bytes_per_s"], attributes["latency_s"])
                    for _, _, attributes in topology.graph.edges(data=True))  # fmt: skip
    for (link, bytes_per_s, latency_s), count in edges.items():
        table.add_row(link, str(count), text(bytes_per_s, "bandwidth"), text(latency_s, "time"))
    _print_table(table)
    if len(topology.devices) > 1:
        far = measure.diameter(topology)
        click.echo(f"diameter: {far.hops} links, {text(far.latency_s, 'time')}")
        click.echo(f"bisection: {text(measure.bisection_bytes_per_s(topology), 'bandwidth')} per direction")
    if kinds["die"] > 1:
        click.echo(f"bisection of the dies: {text(measure.bisection_bytes_per_s(topology, 'die'), 'bandwidth')}"
                   " per direction")  # fmt: skip
    if plot is not None:
        from simcluster.plots.save import save
        from simcluster.plots.topology import draw

        save(draw(topology), plot)
        click.echo(str(plot))
