"""The catalogue against a second entry of its values, made from public documents without looking at the first."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from simcluster.catalog import entries
from simcluster.catalog.device import Device, Link, WaferGrid
from simcluster.catalog.shapes import ModelShape
from simcluster.files import units

FOLDER = Path(__file__).parent / "second_entry"
KINDS: tuple[entries.Kind, ...] = ("devices", "links", "models")
ENTERED: dict[entries.Kind, dict[str, Any]] = {
    kind: yaml.safe_load((FOLDER / f"{kind}.yaml").read_text(encoding="utf-8")) for kind in KINDS
}
ABOUT = ("source", "read")

ROUNDING = 0.005
"""Quantities agree to half a per cent: data sheets round 989.4 to 989 and 2.039 to 2.04. Counts agree exactly."""

FORMATS = ("bf16", "fp8", "fp4", "int8")
OPTIONAL = ("int8",)
"""Formats that the catalogue may leave out though the device has them."""

DIMENSION = {
    "memory": "bytes",
    "memory_bandwidth": "bandwidth",
    "power": "power",
    "tdp": "power",
    "clock": "frequency",
    "sram_per_core": "bytes",
    "io_port_bandwidth": "bandwidth",
    "io_latency": "time",
    "bandwidth": "bandwidth",
    "latency": "time",
} | dict.fromkeys(FORMATS, "speed")
"""How a value with a unit is read; what is not here is a count."""


def of_grid(read: Callable[[WaferGrid], object]) -> Callable[[Device], object]:
    """Read a value of the inside of a wafer."""

    def read_device(device: Device) -> object:
        assert device.grid is not None, f"{device.name} has no grid"
        return read(device.grid)

    return read_device


def of_file(device: Device, field: str, dimension: str) -> float | None:
    """Read a value that the file of a device has and the simulation does not use; None where it is not given."""
    fact = entries.entry("devices", device.name).data.get(field)
    return None if fact is None else units.parse(fact["value"], dimension)


def of_peak(number_format: str) -> Callable[[Device], object]:
    """Read the dense peak of a format; None where the device has none."""
    return lambda device: device.peak_flop_per_s.get(number_format)


def sides(grid: WaferGrid) -> list[tuple[int, int]]:
    """Cores and dies along the short and along the long side: which of them is called rows is left open."""
    return sorted([(grid.rows, grid.die_rows), (grid.columns, grid.die_columns)])


DEVICE: dict[str, Callable[[Device], object]] = {
    "memory": lambda device: device.memory_bytes,
    "memory_bandwidth": lambda device: device.memory_bytes_per_s,
    "power": lambda device: device.power_w,
    "tdp": lambda device: of_file(device, "tdp", "power"),
    "short_side": of_grid(lambda grid: sides(grid)[0][0]),
    "long_side": of_grid(lambda grid: sides(grid)[1][0]),
    "dies_along_short_side": of_grid(lambda grid: sides(grid)[0][1]),
    "dies_along_long_side": of_grid(lambda grid: sides(grid)[1][1]),
    "clock": of_grid(lambda grid: grid.clock_hz),
    "sram_per_core": of_grid(lambda grid: grid.sram_bytes_per_core),
    "sram_bytes_per_cycle": of_grid(lambda grid: grid.sram_bytes_per_cycle),
    "flop_per_cycle_per_core": of_grid(lambda grid: grid.flop_per_cycle_per_core),
    "link_bytes_per_cycle": of_grid(lambda grid: grid.link_bytes_per_cycle),
    "hop_cycles": of_grid(lambda grid: grid.hop_cycles),
    "ramp_cycles": of_grid(lambda grid: grid.ramp_cycles),
    "io_ports": of_grid(lambda grid: grid.io_ports),
    "io_port_bandwidth": of_grid(lambda grid: grid.io_port_bytes_per_s),
    "io_latency": of_grid(lambda grid: grid.io_latency_s),
} | {number_format: of_peak(number_format) for number_format in FORMATS}

LINK: dict[str, Callable[[Link], object]] = {
    "bandwidth": lambda link: link.bytes_per_s,
    "latency": lambda link: link.latency_s,
}


def of_model(shape: ModelShape, field: str) -> object:
    """Read a number of a model; those of experts and of latent attention have names of their own."""
    for part in (shape, shape.moe, shape.mla):
        if part is not None and field in type(part).model_fields:
            return getattr(part, field)
    raise AssertionError(f"{shape.name} has no {field}")


def catalogued(kind: entries.Kind, entry: str, field: str) -> object:
    """What the catalogue loads, in SI units."""
    if kind == "devices":
        return DEVICE[field](entries.device(entry))
    if kind == "links":
        return LINK[field](entries.link(entry))
    return of_model(entries.model(entry), field)


def agrees(entered: object, actual: object, field: str) -> bool:
    """Whether the value entered here, text with a unit or a count, is the one of the catalogue."""
    if entered == "absent":
        return actual is None
    if field not in DIMENSION:
        return entered == actual
    expected = units.parse(str(entered), DIMENSION[field])
    return isinstance(actual, float) and math.isclose(expected, actual, rel_tol=ROUNDING)


def left_out(kind: entries.Kind, entry: str, field: str) -> bool:
    """Whether the catalogue may leave this value out, and does."""
    return field in OPTIONAL and catalogued(kind, entry, field) is None


CERTAIN = [
    pytest.param(kind, entry, field, value, id=f"{entry}-{field}")
    for kind, file in ENTERED.items()
    for entry, fields in file["entries"].items()
    for field, value in fields.items()
    if field not in ABOUT and not left_out(kind, entry, field)
]
CONTESTED = [
    pytest.param(kind, row["entry"], row["field"], row["values"], id=f"{row['entry']}-{row['field']}")
    for kind, file in ENTERED.items()
    for row in file["contested"]
]


@pytest.mark.parametrize(("kind", "entry", "field", "value"), CERTAIN)
def test_value_is_the_one_entered_a_second_time(kind: entries.Kind, entry: str, field: str, value: object) -> None:
    """A value of the catalogue is the one that a second reader found in the documents."""
    actual = catalogued(kind, entry, field)

    assert agrees(value, actual, field), f"{entry} {field}: entered here {value}, in the catalogue {actual}"


@pytest.mark.parametrize(("kind", "entry", "field", "values"), CONTESTED)
def test_contested_value_is_a_published_one(
    kind: entries.Kind, entry: str, field: str, values: dict[object, str]
) -> None:
    """Where documents contradict each other, the catalogue has the value of one of them and not a third."""
    actual = catalogued(kind, entry, field)

    assert any(agrees(value, actual, field) for value in values), (
        f"{entry} {field}: published are {', '.join(map(str, values))}, in the catalogue is {actual}"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_everything_is_entered_twice(kind: entries.Kind) -> None:
    """Each device, link and model of the catalogue has a second entry or a reason why it has none."""
    file = ENTERED[kind]
    twice = set(file["entries"]) | {row["entry"] for row in file["contested"]}
    excused = set(file.get("without_second_entry", {}))

    named = set(entries.names(kind))
    assert named == twice | excused, f"add {sorted(named ^ (twice | excused))} to {kind}.yaml of second_entry"
    assert not twice & excused


@pytest.mark.parametrize("entry", entries.names("devices"))
def test_every_peak_is_entered_twice(entry: str) -> None:
    """The catalogue gives a device no number format that the second reader did not find."""
    file = ENTERED["devices"]
    if entry in file.get("without_second_entry", {}):
        return
    entered = {field for field, value in file["entries"].get(entry, {}).items() if value != "absent"}
    entered |= {row["field"] for row in file["contested"] if row["entry"] == entry}

    assert set(entries.device(entry).peak_flop_per_s) <= entered


@pytest.mark.parametrize("kind", KINDS)
def test_contested_values_have_a_reason(kind: entries.Kind) -> None:
    """A contested value has a reason, at least two values, each with its source, and is not entered as certain."""
    file = ENTERED[kind]

    for row in file["contested"]:
        assert row["reason"]
        assert len(row["values"]) >= 2
        assert all(row["values"].values())
        assert row["field"] not in file["entries"].get(row["entry"], {})
