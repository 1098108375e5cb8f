"""Noise presets: the human file form, each number with its source, to the rows of a world."""

from __future__ import annotations

from typing import TypeVar

from pydantic import model_validator

from simcluster import catalog
from simcluster.hardware import DeviceKind
from simcluster.noise import ArrivalSkewRow, Noise, OpJitterRow
from simcluster.quantities import Fact, Frozen, Ratio, Seconds, Source, fault
from simcluster.validation import validate

T = TypeVar("T")


class _OpJitter(Frozen):
    devices: list[DeviceKind]
    cv: Fact[Ratio]


class _ArrivalSkew(Frozen):
    devices: list[DeviceKind]
    mean: Fact[Seconds]


class _NoiseFile(Frozen):
    """A preset as people write it."""

    title: str
    note: str = ""
    op_jitter: _OpJitter | None = None
    arrival_skew: _ArrivalSkew | None = None
    sources: dict[str, Source]

    @model_validator(mode="after")
    def _sources_are_listed(self) -> _NoiseFile:
        used = {
            row.source
            for row in (self.op_jitter and self.op_jitter.cv, self.arrival_skew and self.arrival_skew.mean)
            if row
        }
        for name in sorted(used ^ set(self.sources)):
            raise fault(f"source '{name}'", "expected every source to be listed, and every listed one to be used")
        return self


def read_noise(name: str) -> Noise:
    """
    A preset of the catalogue.

    Raises:
        UnknownName: there is none of this name.
        InputError: its file is broken.
    """
    file = validate(catalog.entry("noise", name), _NoiseFile)
    rows: list[OpJitterRow | ArrivalSkewRow] = []
    if file.op_jitter is not None:
        kinds, cv = tuple(file.op_jitter.devices), file.op_jitter.cv
        rows.append(OpJitterRow(device_kinds=kinds, cv=cv.value, basis=_basis(cv, file.sources)))
    if file.arrival_skew is not None:
        kinds, mean = tuple(file.arrival_skew.devices), file.arrival_skew.mean
        rows.append(ArrivalSkewRow(device_kinds=kinds, mean_s=mean.value, basis=_basis(mean, file.sources)))
    return Noise(name=name, rows=tuple(rows))


def _basis(fact: Fact[T], sources: dict[str, Source]) -> str:
    """Where a number comes from, in one line."""
    return f"{sources[fact.source].title} ({fact.confidence} confidence)" + (f"; {fact.note}" if fact.note else "")
