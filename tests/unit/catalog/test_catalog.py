"""The catalogue of devices and links: complete, sourced, consistent with itself, and safe for any name."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from simcluster.catalog import entries
from simcluster.catalog.device import Device, WaferGrid
from simcluster.catalog.device_file import read_device, read_link
from simcluster.files import units
from simcluster.files.problems import InputError
from simcluster.files.source import parse

DEVICES = entries.names("devices")
LINKS = entries.names("links")
FILES = [("devices", name) for name in DEVICES] + [("links", name) for name in LINKS]
WAFERS = ["wse-1", "wse-2", "wse-3"]

DEVICE = """\
title: A device
kind: gpu
memory: {value: 80 GB, source: sheet}
memory_bandwidth: {value: 3 TB/s, source: sheet}
peak:
  bf16: {value: 900 TFLOP/s, source: sheet}
tdp: {value: 700 W, source: sheet}
sources:
  sheet: {title: A data sheet}
"""


def facts(data: Any) -> Iterator[dict[str, Any]]:
    """Every mapping with a value in it, wherever it stands in a file."""
    if isinstance(data, dict):
        if "value" in data:
            yield data
        for value in data.values():
            yield from facts(value)


def fact(name: str, key: str) -> Any:
    """One of the extra facts of a device."""
    return entries.entry("devices", name).data["facts"][key]["value"]


def grid(name: str) -> WaferGrid:
    """The inside of a wafer of the catalogue."""
    found = entries.device(name).grid
    assert found is not None
    return found


def faults(text: str) -> list[str]:
    """The problems reported for an invalid device file called x.yaml."""
    with pytest.raises(InputError) as error:
        read_device(parse(text, "x.yaml"), "x")
    return [str(problem) for problem in error.value.problems]


def test_what_is_shipped() -> None:
    """The devices and links that the topologies are made of are all there."""
    devices = "wse-1 wse-2 wse-3 a100-sxm-80 h100-sxm h200-sxm b200 gb200 mi300x groq-lpu sn40l"
    links = (
        "nvlink3 nvlink4 nvlink5 pcie5 infiniband-hdr infiniband-ndr infiniband-xdr ethernet-100g "
        "swarmx groq-c2c sn40l-fabric xgmi wafer-mesh"
    )

    assert sorted(devices.split()) == list(DEVICES)
    assert sorted(links.split()) == list(LINKS)


@pytest.mark.parametrize("name", DEVICES)
def test_devices_load(name: str) -> None:
    """Every device has a name, memory, speed and power; wafers and only wafers have a grid."""
    device = entries.device(name)

    assert name == device.name
    assert min(device.memory_bytes, device.memory_bytes_per_s, device.power_w, *device.peak_flop_per_s.values()) > 0
    assert "bf16" in device.peak_flop_per_s
    assert (device.kind == "wafer") == (device.grid is not None)


@pytest.mark.parametrize("name", LINKS)
def test_links_load(name: str) -> None:
    """Every link carries 10 GB/s to 1 TB/s with 0.1 to 10 us of latency, and says it is full duplex."""
    link = entries.link(name)
    file = Path(entries.__file__).parent.parent / "data" / "links" / f"{name}.yaml"

    assert name == link.name
    assert 10e9 <= link.bytes_per_s <= 1e12
    assert 0.1e-6 <= link.latency_s <= 10e-6
    assert "Full duplex" in file.read_text(encoding="utf-8")


@pytest.mark.parametrize(("kind", "name"), FILES)
def test_sources(kind: entries.Kind, name: str) -> None:
    """Every value names one of the file's sources, and every source is named by a value."""
    data = entries.entry(kind, name).data

    assert set(data["sources"]) == {item["source"] for item in facts(data)}


@pytest.mark.parametrize(("kind", "name"), FILES)
def test_weak_values_say_why(kind: entries.Kind, name: str) -> None:
    """A value of low confidence carries a note."""
    weak = [item for item in facts(entries.entry(kind, name).data) if item.get("confidence") == "low"]

    assert [] == [item for item in weak if not item.get("note")]


@pytest.mark.parametrize(("kind", "name"), FILES)
def test_general_knowledge_is_weak(kind: entries.Kind, name: str) -> None:
    """A value without a published source is of low confidence and is to be confirmed."""
    unsourced = [item for item in facts(entries.entry(kind, name).data) if item["source"] == "general"]

    assert all(item["confidence"] == "low" and "to be confirmed" in item["note"] for item in unsourced)


@pytest.mark.parametrize(("name", "tolerance"), [("wse-1", 0.10), ("wse-2", 0.05), ("wse-3", 0.01)])
def test_wafer_memory_is_the_sum_of_its_cores(name: str, tolerance: float) -> None:
    """Cores times 48 KiB give the published SRAM, rounded down by the vendor."""
    total = fact(name, "cores") * grid(name).sram_bytes_per_core

    assert 0 <= total / entries.device(name).memory_bytes - 1 <= tolerance


@pytest.mark.parametrize(("name", "tolerance"), [("wse-1", 0.01), ("wse-2", 0.13), ("wse-3", 0.03)])
def test_wafer_bandwidth_is_the_sum_of_its_ports(name: str, tolerance: float) -> None:
    """Cores times bytes per cycle times clock give the published bandwidth, on the WSE-2 12 % more."""
    inside = grid(name)
    total = fact(name, "cores") * inside.sram_bytes_per_cycle * inside.clock_hz

    assert entries.device(name).memory_bytes_per_s == pytest.approx(total, rel=tolerance)


@pytest.mark.parametrize("name", WAFERS)
def test_wafer_peak_is_the_sum_of_its_cores(name: str) -> None:
    """The dense peak is derived from cores, FLOP per cycle and clock, within rounding."""
    inside = grid(name)
    total = fact(name, "cores") * inside.flop_per_cycle_per_core * inside.clock_hz

    assert entries.device(name).peak_flop_per_s["bf16"] == pytest.approx(total, rel=0.01)


@pytest.mark.parametrize("name", WAFERS)
def test_usable_grid(name: str) -> None:
    """The usable rectangle holds 88 to 100 % of the published cores, and there are 84 dies."""
    inside = grid(name)

    assert 0.88 <= inside.rows * inside.columns / fact(name, "cores") <= 1
    assert fact(name, "dies") == inside.die_rows * inside.die_columns


@pytest.mark.parametrize("name", WAFERS)
def test_ports_are_the_io(name: str) -> None:
    """Twelve ports of 100 Gigabit Ethernet are 150 GB/s, which is what SwarmX carries."""
    inside = grid(name)

    assert inside.io_port_bytes_per_s == entries.link("ethernet-100g").bytes_per_s
    assert 150e9 == inside.io_ports * inside.io_port_bytes_per_s == entries.link("swarmx").bytes_per_s
    assert inside.io_latency_s == entries.link("swarmx").latency_s


def test_wse3_as_published() -> None:
    """WSE-3: 4 trillion transistors, 900,000 cores, 44 GB at 21 PB/s; 2.6 trillion transistors is the WSE-2."""
    device = entries.device("wse-3")

    assert (4 * 10**12, 900_000) == (fact("wse-3", "transistors"), fact("wse-3", "cores"))
    assert (44e9, 21e15) == (device.memory_bytes, device.memory_bytes_per_s)
    assert 2.6e12 == fact("wse-2", "transistors")


def test_wafer_mesh() -> None:
    """The mesh link of the catalogue is the narrow edge of a WSE-3 die, and its latency the length of the die."""
    inside = grid("wse-3")
    link = entries.link("wafer-mesh")
    edge, across = inside.rows / inside.die_rows, inside.columns / inside.die_columns

    assert link.bytes_per_s == pytest.approx(edge * inside.link_bytes_per_cycle * inside.clock_hz, rel=0.01)
    assert link.latency_s == pytest.approx(across * inside.hop_cycles / inside.clock_hz, rel=0.01)


def test_h100_node() -> None:
    """Eight H100 hold 640 GB at 26.8 TB/s and draw the 10.2 kW of a DGX H100 at most."""
    device = entries.device("h100-sxm")

    assert 640e9 == 8 * device.memory_bytes
    assert 26.8e12 == 8 * device.memory_bytes_per_s
    assert 10.2e3 == 8 * device.power_w
    assert "10.2 kW maximum of a DGX H100 shared by 8" == device.power_basis


def test_power_of_one_device_alone() -> None:
    """Without a system the power is the device's own maximum."""
    device = entries.device("mi300x")

    assert 750 == device.power_w
    assert "750 W maximum of the device alone" == device.power_basis


def test_power_of_a_wafer() -> None:
    """A CS-3 has one wafer, so the system's power is the wafer's."""
    device = entries.device("wse-3")

    assert 23e3 == device.power_w
    assert "23 kW quoted power of a CS-3" == device.power_basis


@pytest.mark.parametrize("name", [name for name in DEVICES if "system" in entries.entry("devices", name).data])
def test_system_power_covers_its_devices(name: str) -> None:
    """A device's share of its system is at least its own maximum."""
    data = entries.entry("devices", name).data
    alone_w = units.parse(data["tdp"]["value"], "power") if "tdp" in data else 0.0

    assert entries.device(name).power_w >= alone_w


@pytest.mark.parametrize("name", ["h100-sxm", "h200-sxm", "b200", "gb200", "mi300x"])
def test_half_the_bits_twice_the_speed(name: str) -> None:
    """Matrix units run 8-bit numbers at twice the 16-bit speed and 4-bit at four times, within rounding."""
    peak = entries.device(name).peak_flop_per_s

    assert peak["fp8"] == pytest.approx(2 * peak["bf16"], rel=0.001)
    assert peak.get("fp4", 4 * peak["bf16"]) == pytest.approx(4 * peak["bf16"], rel=0.001)


@pytest.mark.parametrize(
    ("name", "gigabits"),
    [("infiniband-hdr", 200), ("infiniband-ndr", 400), ("infiniband-xdr", 800), ("swarmx", 1200)],
)
def test_network_rates(name: str, gigabits: int) -> None:
    """A port's name states its rate in gigabits per second of one direction."""
    assert gigabits * 1e9 / 8 == entries.link(name).bytes_per_s


def test_nvlink_doubles() -> None:
    """NVLink carries 300, 450 and 900 GB/s per GPU and direction in generations 3, 4 and 5."""
    assert [300e9, 450e9, 900e9] == [entries.link(f"nvlink{generation}").bytes_per_s for generation in (3, 4, 5)]


def test_leonardo_path() -> None:
    """Two PCI Express crossings and one HDR hop add up to the 2.03 us measured from GPU to GPU."""
    path_s = 2 * entries.link("pcie5").latency_s + entries.link("infiniband-hdr").latency_s

    assert path_s == pytest.approx(2.03e-6, abs=1e-12)


def test_lookup_is_cached() -> None:
    """A device is read once."""
    assert entries.device("h100-sxm") is entries.device("h100-sxm")


@pytest.mark.parametrize(
    ("look_up", "name", "found", "expected"),
    [
        (entries.device, "h100-sx", "no device 'h100-sx' in the catalogue", "did you mean 'h100-sxm'?"),
        (entries.link, "nvlnk4", "no link 'nvlnk4' in the catalogue", "did you mean 'nvlink4'?"),
    ],
)
def test_unknown_name_suggests_its_neighbour(look_up: Any, name: str, found: str, expected: str) -> None:
    """A name with a slip in it is answered with the name that was meant."""
    with pytest.raises(entries.UnknownName) as error:
        look_up(name)

    assert (found, expected) == (error.value.found, error.value.expected)


def test_unknown_name_lists_the_known() -> None:
    """A name like no other is answered with all names."""
    with pytest.raises(LookupError, match=", ".join(DEVICES)):
        entries.device("zzz")


@pytest.mark.parametrize(
    "name",
    [
        "../links/nvlink4",
        "..",
        ".",
        "",
        "/etc/passwd",
        "h100-sxm/",
        "h100-sxm.yaml",
        "H100-SXM",
        "h100-sxm\n",
        "a\0b",
    ],
)
def test_a_name_is_not_a_path(name: str) -> None:
    """For any name, nothing outside the catalogue's own list is opened."""
    with pytest.raises(entries.UnknownName):
        entries.device(name)


def test_long_names_are_cut() -> None:
    """An absurd name is not echoed in full."""
    with pytest.raises(entries.UnknownName) as error:
        entries.device("a" * 10_000)

    assert len(error.value.found) < 150


def test_broken_file_of_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken data file is reported with its path in the package and its line."""
    (tmp_path / "broken-1.yaml").write_text(DEVICE.replace("80 GB", "80"), encoding="utf-8")
    monkeypatch.setattr(entries, "_folder", lambda kind: tmp_path)
    with pytest.raises(InputError) as error:
        entries.device("broken-1")

    assert ["simcluster/data/devices/broken-1.yaml:3: memory.value: "] == [
        str(problem).split("80")[0] for problem in error.value.problems
    ]


def test_all_faults_at_once() -> None:
    """Wrong units, unknown keys, missing and unused sources and a missing power are reported together, with lines."""
    text = """\
title: A device
kind: gpu
memory: {value: 80 GBs, source: sheet}
memory_bandwidth: {value: 3 TB/s, source: shet}
peak:
  bf16: {value: 900 TFLOP/s, source: sheet, confidence: sure}
  fp7: {value: 1 TFLOP/s, source: sheet}
clock: 1 GHz
sources:
  sheet: {title: A data sheet}
  spare: {title: Another}
"""
    found = faults(text)

    assert [line.split(": ")[:2] for line in found] == [
        ["x.yaml:1", "no power; expected 'tdp', 'system' or both"],
        ["x.yaml:3", "memory.value"],
        ["x.yaml:4", "memory_bandwidth.source"],
        ["x.yaml:6", "peak.bf16.confidence"],
        ["x.yaml:7", "peak.fp7"],
        ["x.yaml:8", "clock"],
        ["x.yaml:11", "sources.spare"],
    ]
    assert "did you mean 'GB'?" in found[1]
    assert "did you mean 'sheet'?" in found[2]
    assert "did you mean 'fp8'?" in found[4]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (("kind: gpu", "kind: wafer"), "x.yaml:2: kind: a wafer without a grid; a wafer's file says its 'grid'"),
        (("tdp:", "tdp: {value: 1 W, source: sheet}\ntdp:"), "x.yaml:8: tdp: repeated key"),
        (("700 W", "0 W"), "x.yaml:7: tdp.value: '0 W' is too small; expected more than 0"),
        (("title: A device", "title: ''"), "x.yaml:1: title: "),
        (("{title: A data sheet}", "{}"), "x.yaml:9: sources.sheet.title: missing; it must be given"),
    ],
)
def test_one_fault(change: tuple[str, str], fault: str) -> None:
    """Each kind of fault is reported with its line, alone."""
    with pytest.raises(InputError) as error:
        read_device(parse(DEVICE.replace(*change), "x.yaml"), "x")

    (problem,) = error.value.problems
    assert str(problem).startswith(fault)


@pytest.mark.parametrize("text", ["", "[]", "kind: wafer\nsources: 3\n", "sources: {a: {}}\nmemory: {value: 1}\n"])
def test_hopeless_files(text: str) -> None:
    """Files of the wrong shape are reported as such, without a crash."""
    assert faults(text)


def test_link_faults() -> None:
    """A link file that says `bandwidth` is reported with the key that gives the direction."""
    text = """\
title: A link
bandwidth: {value: 1 GB/s, source: a}
latency: {value: 1 us, source: a}
sources: {a: {title: A}}
"""
    with pytest.raises(InputError, match="unknown key 'bandwidth'; expected one of bandwidth_per_direction") as error:
        read_link(parse(text, "x.yaml"), "x")

    assert ["bandwidth", "bandwidth_per_direction"] == sorted(problem.path for problem in error.value.problems)


def test_a_minimal_device() -> None:
    """A file with nothing optional in it but its power is enough."""
    expected = Device(
        name="x",
        title="A device",
        kind="gpu",
        memory_bytes=80e9,
        memory_bytes_per_s=3e12,
        peak_flop_per_s={"bf16": 900e12},
        power_w=700.0,
        power_basis="700 W maximum of the device alone",
    )

    assert expected == read_device(parse(DEVICE), "x")
