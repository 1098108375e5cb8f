"""Devices and links of the simulation: frozen, in SI units, with all values explicit."""

from __future__ import annotations

from typing import Literal

from simcluster.files.quantities import Frozen

DeviceKind = Literal["gpu", "wafer", "lpu", "rdu"]


class WaferGrid(Frozen):
    """The cores of a wafer: a rectangle, cut into dies, joined by a 2D mesh."""

    rows: int
    columns: int
    clock_hz: float
    link_bytes_per_cycle: float
    """Bandwidth of one mesh link in one direction."""
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
    """Bandwidth of one port in one direction."""
    io_latency_s: float
    """Latency from one wafer to the next or to a host, software included."""


class Device(Frozen):
    """The data sheet of one accelerator. Fitted constants are in its calibration."""

    name: str
    title: str
    kind: DeviceKind
    memory_bytes: float
    memory_bytes_per_s: float
    peak_flop_per_s: dict[str, float]
    """Dense peak by number format: bf16, fp8, fp4, int8."""
    power_w: float
    """Power of one device: its share of the system's maximum if that is known, else its own maximum."""
    power_basis: str
    """Meaning of `power_w`, for the report."""
    grid: WaferGrid | None = None


class Link(Frozen):
    """One kind of link. Full duplex: `bytes_per_s` holds in each direction at the same time."""

    name: str
    title: str
    bytes_per_s: float
    latency_s: float
    """Time from a write at one end to its arrival at the other, one hop, small message."""
