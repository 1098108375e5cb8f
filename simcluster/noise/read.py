"""Read noise presets: files in which each number has its source, to rows in SI units."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, create_model, model_validator

from simcluster.catalog import entries
from simcluster.catalog.device import DeviceKind
from simcluster.catalog.sources import require_sources
from simcluster.files.quantities import Fact, Frozen, Source
from simcluster.files.source import Document
from simcluster.files.validation import validate
from simcluster.noise.sources import SOURCES, Noise, NoiseRow, row
from simcluster.noise.sources import Source as NoiseSource


class _OnDevices(Frozen):
    """A noise source in a preset: its kinds of device, and a fact for every parameter."""

    devices: list[DeviceKind]

    def facts(self) -> dict[str, Fact[Any]]:
        """Collect the stated parameters."""
        stated = {name: getattr(self, name) for name in type(self).model_fields if name != "devices"}
        return {name: fact for name, fact in stated.items() if fact is not None}


def _with_facts(source: NoiseSource) -> type[_OnDevices]:
    """Make the file model of a noise source: each parameter is a fact."""
    fields: dict[str, Any] = {}
    for name, field in SOURCES[source].model_fields.items():
        fact = Fact[Annotated[field.annotation, *field.metadata]]  # type: ignore[name-defined]
        fields[name] = (fact, ...) if field.is_required() else (fact | None, None)
    return create_model(f"_{SOURCES[source].__name__}", __base__=_OnDevices, **fields)


class _File(Frozen):
    """A preset file, without the noise sources."""

    title: str
    note: str = ""
    sources: dict[str, Source]

    def noise(self) -> dict[NoiseSource, _OnDevices]:
        """Collect the stated noise sources."""
        found = {name: getattr(self, name) for name in SOURCES}
        return {name: stated for name, stated in found.items() if stated is not None}

    @model_validator(mode="after")
    def _sources_are_listed(self) -> _File:
        cited = (fact.source for stated in self.noise().values() for fact in stated.facts().values())
        require_sources(cited, self.sources)
        return self


_NoiseFile = create_model(
    "_NoiseFile", __base__=_File, **{name: (_with_facts(name) | None, Field(None)) for name in SOURCES}
)  # type: ignore[call-overload]


def read_noise(name: str, document: Document | None = None) -> Noise:
    """
    Read a preset of the catalogue, or one from a given document.

    Raises:
        UnknownName: the catalogue has no preset of this name.
        InputError: its file is invalid.
    """
    file = validate(entries.entry("noise", name) if document is None else document, _NoiseFile)
    return Noise(name=name, rows=tuple(_row(source, stated, file.sources) for source, stated in file.noise().items()))


def _row(source: NoiseSource, stated: _OnDevices, sources: dict[str, Source]) -> NoiseRow:
    """Collect the numbers of a source and their origins in one line; notes are shown with the preset only."""
    facts = stated.facts()
    bases: dict[str, list[str]] = {}
    for name, fact in facts.items():
        bases.setdefault(f"{sources[fact.source].title} ({fact.confidence} confidence)", []).append(name)
    basis = "; ".join(text if len(bases) == 1 else f"{', '.join(names)}: {text}" for text, names in bases.items())
    parameters = SOURCES[source].model_construct(**{name: fact.value for name, fact in facts.items()})
    parameters.require_consistency()
    return row(source, parameters, tuple(stated.devices), basis)
