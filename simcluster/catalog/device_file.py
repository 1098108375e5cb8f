"""
Read the catalogue files of devices and links, with units and sources, into `catalog.device` models.

Every value is a fact: `{value: 80 GB, source: key, confidence: high, note: …}`, where the key is one of the file's
`sources`. Constants that were fitted to measurements are not here but in the calibration.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal

from pydantic import Field

from simcluster.catalog.device import Device, DeviceKind, Link, WaferGrid
from simcluster.catalog.sources import source_problems
from simcluster.files import units
from simcluster.files.problems import InputError, Problem
from simcluster.files.quantities import (
    Bandwidth,
    Bytes,
    Fact,
    Frequency,
    Frozen,
    PositiveInt,
    Power,
    Seconds,
    Source,
    Speed,
)
from simcluster.files.source import Document, Path
from simcluster.files.validation import Model, validate

PerCycle = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1)]
Extra = Fact[str | int | float]


class PeakFile(Frozen):
    """Dense peak speed by number format. `bf16` means any 16-bit float; `int8` counts integer operations."""

    bf16: Fact[Speed]
    fp8: Fact[Speed] | None = None
    fp4: Fact[Speed] | None = None
    int8: Fact[Speed] | None = None


class SystemFile(Frozen):
    """The system as it is sold; its devices share its power equally."""

    name: Text
    devices: PositiveInt
    measure: Literal["maximum", "average", "quoted power"]
    """Kind of power; `quoted power` if the source does not say."""
    power: Fact[Power]


class GridFile(Frozen):
    """The cores of a wafer; the fields are those of `WaferGrid`, with units."""

    rows: Fact[PositiveInt]
    columns: Fact[PositiveInt]
    clock: Fact[Frequency]
    link_bytes_per_cycle: Fact[PerCycle]
    hop_cycles: Fact[PerCycle]
    ramp_cycles: Fact[PerCycle]
    sram_per_core: Fact[Bytes]
    sram_bytes_per_cycle: Fact[PerCycle]
    flop_per_cycle_per_core: Fact[PerCycle]
    die_rows: Fact[PositiveInt]
    die_columns: Fact[PositiveInt]
    io_ports: Fact[PositiveInt]
    io_port_bandwidth: Fact[Bandwidth]
    """Bandwidth of one port in one direction."""
    io_latency: Fact[Seconds]


class DeviceFile(Frozen):
    """A device file; `facts` serve to check claims and are not used by the simulation."""

    title: Text
    kind: DeviceKind
    memory: Fact[Bytes]
    memory_bandwidth: Fact[Bandwidth]
    peak: PeakFile
    tdp: Fact[Power] | None = None
    system: SystemFile | None = None
    grid: GridFile | None = None
    facts: dict[str, Extra] = Field(default_factory=dict)
    sources: dict[str, Source]


class LinkFile(Frozen):
    """A link file. Full duplex: the bandwidth holds in each direction at the same time."""

    title: Text
    bandwidth_per_direction: Fact[Bandwidth]
    latency: Fact[Seconds]
    facts: dict[str, Extra] = Field(default_factory=dict)
    sources: dict[str, Source]


def read_device(document: Document, name: str) -> Device:
    """
    Turn a device file into a device.

    The power is the system's, shared by its devices, if the file states it; else the device's own maximum.

    Args:
        document: the file, with lines.
        name: of the device in the catalogue.

    Raises:
        InputError: with all problems of values and sources.
    """
    entry = _validated(document, DeviceFile, _device_problems(document))
    power_w, power_basis = _power(entry)
    return Device(
        name=name,
        title=entry.title,
        kind=entry.kind,
        memory_bytes=entry.memory.value,
        memory_bytes_per_s=entry.memory_bandwidth.value,
        peak_flop_per_s={form: fact.value for form, fact in entry.peak if fact is not None},
        power_w=power_w,
        power_basis=power_basis,
        grid=None if entry.grid is None else _grid(entry.grid),
    )


def read_link(document: Document, name: str) -> Link:
    """
    Turn a link file into a link.

    Full duplex: the bandwidth is per direction and holds in both at the same time. The latency is one way, from end
    to end, with a switch in between if there is one: device, switch, device is one hop.

    Args:
        document: the file, with lines.
        name: of the link in the catalogue.

    Raises:
        InputError: with all problems of values and sources.
    """
    entry = _validated(document, LinkFile, ())
    return Link(
        name=name,
        title=entry.title,
        bytes_per_s=entry.bandwidth_per_direction.value,
        latency_s=entry.latency.value,
    )


def _validated(document: Document, model: type[Model], more: Iterable[Problem]) -> Model:
    """Turn a file into a model, or raise one error with the problems of its values and sources, and `more`."""
    problems = [*more, *_source_problems(document)]
    try:
        entry = validate(document, model)
    except InputError as error:
        raise InputError([*error.problems, *problems]) from None
    if problems:
        raise InputError(problems)
    return entry


def _source_problems(document: Document) -> Iterator[Problem]:
    """Find facts whose source is not listed, and sources that no fact cites."""
    data = document.data
    sources = data.get("sources") if isinstance(data, dict) else None
    if isinstance(sources, dict):
        yield from source_problems(document, _cited(data, ()), sources)


def _cited(data: Any, path: Path) -> Iterator[tuple[Path, str]]:
    """Yield the source of each fact below `path` with its path."""
    if not isinstance(data, dict):
        return
    if "value" in data and isinstance(data.get("source"), str):
        yield (*path, "source"), data["source"]
        return
    for key, value in data.items():
        if path or key != "sources":
            yield from _cited(value, (*path, key))


def _device_problems(document: Document) -> Iterator[Problem]:
    """Find fields of a device that contradict each other."""
    data = document.data
    if not isinstance(data, dict):
        return
    if data.get("kind") == "wafer" and "grid" not in data:
        yield document.problem(("kind",), "a wafer without a grid", "a wafer's file says its 'grid'")
    if data.get("kind") != "wafer" and "grid" in data:
        yield document.problem(("grid",), "a grid", "only a wafer has one")
    if "tdp" not in data and "system" not in data:
        yield document.problem((), "no power", "expected 'tdp', 'system' or both")


def _power(entry: DeviceFile) -> tuple[float, str]:
    """Find the watts of one device, and their meaning in words."""
    system = entry.system
    if system is not None:
        share = f" shared by {system.devices}" if system.devices > 1 else ""
        total = units.show(system.power.value, "power")
        return system.power.value / system.devices, f"{total} {system.measure} of a {system.name}{share}"
    if entry.tdp is None:
        raise AssertionError(f"{entry.title} has neither a system nor a tdp")
    return entry.tdp.value, f"{units.show(entry.tdp.value, 'power')} maximum of the device alone"


def _grid(grid: GridFile) -> WaferGrid:
    return WaferGrid(
        rows=grid.rows.value,
        columns=grid.columns.value,
        clock_hz=grid.clock.value,
        link_bytes_per_cycle=grid.link_bytes_per_cycle.value,
        hop_cycles=grid.hop_cycles.value,
        ramp_cycles=grid.ramp_cycles.value,
        sram_bytes_per_core=grid.sram_per_core.value,
        sram_bytes_per_cycle=grid.sram_bytes_per_cycle.value,
        flop_per_cycle_per_core=grid.flop_per_cycle_per_core.value,
        die_rows=grid.die_rows.value,
        die_columns=grid.die_columns.value,
        io_ports=grid.io_ports.value,
        io_port_bytes_per_s=grid.io_port_bandwidth.value,
        io_latency_s=grid.io_latency.value,
    )
