"""Devices and links as the simulation sees them: frozen, SI units, nothing implied."""

from __future__ import annotations

from typing import Literal

from simcluster.files.quantities import Frozen

DeviceKind = Literal["gpu", "wafer", "lpu", "rdu"]


class WaferGrid(Frozen):
    """The inside of a wafer: a rectangle of cores, cut into dies, joined by a 2D mesh."""

    rows: int
    columns: int
    clock_hz: float
    link_bytes_per_cycle: float
    """Of one mesh link in one direction."""
    hop_cycles: float
    ramp_cycles: float
    """Between a core and its router, T_R of the HPDC 2024 model."""
    sram_bytes_per_core: float
    sram_bytes_per_cycle: float
    flop_per_cycle_per_core: float
    die_rows: int
    die_columns: int
    io_ports: int
    io_port_bytes_per_s: float
    """Of one port in one direction."""
    io_latency_s: float
    """From one wafer to the next or to a host, software included."""


class Device(Frozen):
    """One accelerator: what its data sheet says. Fitted constants live in the calibration."""

    name: str
    title: str
    kind: DeviceKind
    memory_bytes: float
    memory_bytes_per_s: float
    peak_flop_per_s: dict[str, float]
    """By number format: bf16, fp8, fp4, int8; dense."""
    power_w: float
    """Of one device: its share of the system's maximum where that is known, else its own maximum."""
    power_basis: str
    """What `power_w` is, in words for the report."""
    grid: WaferGrid | None = None


class Link(Frozen):
    """One kind of link. Full duplex: `bytes_per_s` holds in each direction at the same time."""

    name: str
    title: str
    bytes_per_s: float
    latency_s: float
    """From a write at one end to its arrival at the other, one hop, small message."""
