"""Field types and limits of files and generators: names in the catalogue, and sizes checked before building."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple, TypeVar

from pydantic import AfterValidator, StringConstraints

from simcluster.catalog import entries
from simcluster.catalog.device import WaferGrid
from simcluster.files.quantities import Frozen, fault
from simcluster.topology.model import MAX_LINKS, MAX_NODES

Built = TypeVar("Built", bound="Parameters")


class Size(NamedTuple):
    """Number of nodes and links of a graph."""

    nodes: int
    links: int


class Parameters(Frozen):
    """Parameters of a generator."""

    @abstractmethod
    def size(self) -> Size:
        """Compute the exact size of the graph that will be built."""


def bounded(parameters: Built) -> Built:
    """Check, without building, that the graph of these parameters is within the limits, and return them."""
    nodes, links = parameters.size()
    if nodes > MAX_NODES or links > MAX_LINKS:
        limits = f"at most {MAX_NODES:,} nodes and {MAX_LINKS:,} links are allowed"
        raise fault(f"{nodes:,} nodes and {links:,} links", limits)
    return parameters


def _checked(look_up: Callable[[str], Any]) -> Callable[[str], str]:
    """Make a validator that accepts names of the catalogue."""

    def check(name: str) -> str:
        try:
            look_up(name)
        except entries.UnknownName as error:
            raise fault(error.found, error.expected) from None
        return name

    return check


def _is_wafer(name: str) -> str:
    if entries.device(name).grid is None:
        raise fault(f"'{name}' is not a wafer", "expected a device with a grid of cores, such as 'wse-3'")
    return name


DeviceName = Annotated[str, AfterValidator(_checked(entries.device))]
WaferName = Annotated[DeviceName, AfterValidator(_is_wafer)]
LinkName = Annotated[str, AfterValidator(_checked(entries.link))]
NodeName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_./:-]*$", max_length=64)]
Label = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_./: -]*$", max_length=64)]


def grid(device: str) -> WaferGrid:
    """Look up the cores of a wafer of the catalogue."""
    cores = entries.device(device).grid
    if cores is None:
        raise ValueError(f"{device} is not a wafer")
    return cores


def prefix(device: str) -> str:
    """Find the prefix of names of a kind of device: `gpu`, `wafer`, `lpu` or `rdu`."""
    return entries.device(device).kind


def figures(
    link: str | None, bytes_per_s: float | None, latency_s: float | None, latency_share: float
) -> tuple[float, float]:
    """Find bandwidth and latency of a link in a file: as given, the rest from the catalogue."""
    if bytes_per_s is not None and latency_s is not None:
        return bytes_per_s, latency_s
    known = entries.link(link or "")
    return (
        known.bytes_per_s if bytes_per_s is None else bytes_per_s,
        known.latency_s * latency_share if latency_s is None else latency_s,
    )
