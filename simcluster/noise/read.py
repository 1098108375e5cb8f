"""Noise presets: the human file form, each number with its source, to the rows of a world."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, create_model, model_validator

from simcluster.catalog import entries
from simcluster.catalog.device import DeviceKind
from simcluster.files.quantities import Fact, Frozen, Source, fault
from simcluster.files.source import Document
from simcluster.files.validation import validate
from simcluster.noise.sources import SOURCES, Noise, NoiseRow, row
from simcluster.noise.sources import Source as NoiseSource


class _OnDevices(Frozen):
    """A source as a preset states it: on which devices, and a fact for every parameter."""

    devices: list[DeviceKind]

    def facts(self) -> dict[str, Fact[Any]]:
        """The parameters that are stated."""
        stated = {name: getattr(self, name) for name in type(self).model_fields if name != "devices"}
        return {name: fact for name, fact in stated.items() if fact is not None}


def _with_facts(source: NoiseSource) -> type[_OnDevices]:
    """The form of a source in a file: each parameter a fact."""
    fields: dict[str, Any] = {}
    for name, field in SOURCES[source].model_fields.items():
        fact = Fact[Annotated[field.annotation, *field.metadata]]  # type: ignore[name-defined]
        fields[name] = (fact, ...) if field.is_required() else (fact | None, None)
    return create_model(f"_{SOURCES[source].__name__}", __base__=_OnDevices, **fields)


class _File(Frozen):
    """A preset as people write it, but for the sources of noise."""

    title: str
    note: str = ""
    sources: dict[str, Source]

    def noise(self) -> dict[NoiseSource, _OnDevices]:
        """The sources of noise that are there."""
        found = {name: getattr(self, name) for name in SOURCES}
        return {name: stated for name, stated in found.items() if stated is not None}

    @model_validator(mode="after")
    def _sources_are_listed(self) -> _File:
        used = {fact.source for stated in self.noise().values() for fact in stated.facts().values()}
        for name in sorted(used ^ set(self.sources)):
            raise fault(f"source '{name}'", "expected every source to be listed, and every listed one to be used")
        return self


_NoiseFile = create_model(
    "_NoiseFile", __base__=_File, **{name: (_with_facts(name) | None, Field(None)) for name in SOURCES}
)  # type: ignore[call-overload]


def read_noise(name: str, document: Document | None = None) -> Noise:
    """
    A preset of the catalogue, or of a file of the caller's.

    Raises:
        UnknownName: there is none of this name.
        InputError: its file is broken.
    """
    file = validate(entries.entry("noise", name) if document is None else document, _NoiseFile)
    return Noise(name=name, rows=tuple(_row(source, stated, file.sources) for source, stated in file.noise().items()))


def _row(source: NoiseSource, stated: _OnDevices, sources: dict[str, Source]) -> NoiseRow:
    """The numbers of a source, with where they come from in one line; notes are for who looks at the preset."""
    facts = stated.facts()
    bases: dict[str, list[str]] = {}
    for name, fact in facts.items():
        bases.setdefault(f"{sources[fact.source].title} ({fact.confidence} confidence)", []).append(name)
    basis = "; ".join(text if len(bases) == 1 else f"{', '.join(names)}: {text}" for text, names in bases.items())
    parameters = SOURCES[source].model_construct(**{name: fact.value for name, fact in facts.items()})
    parameters.require_consistency()
    return row(source, parameters, tuple(stated.devices), basis)
