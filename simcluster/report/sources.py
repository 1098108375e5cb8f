"""The assumptions of runs, the catalogue entries that they used with their sources, and their provenance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from simcluster import __version__
from simcluster.catalog import entries as catalog
from simcluster.report.reported_run import ReportedRun
from simcluster.report.table import Row, Table, cells
from simcluster.scenario.resolved import Scenario

_LINKED = ("https://", "http://")


class Assumption(NamedTuple):
    """One assumption, and the runs that make it."""

    text: str
    runs: tuple[str, ...]
    """Labels; empty if all of them make it."""


class Source(NamedTuple):
    """A source of the numbers of a catalogue entry."""

    title: str
    url: str
    """Empty without an address that a browser may open."""
    read: str


class Entry(NamedTuple):
    """A catalogue entry that runs used, and its sources."""

    kind: str
    name: str
    title: str
    sources: tuple[Source, ...]


def assumptions(runs: Sequence[ReportedRun], labels: Sequence[str]) -> list[Assumption]:
    """All assumptions in the order of the runs, each once."""
    of: dict[str, list[str]] = {}
    for run, label in zip(runs, labels, strict=True):
        for text in dict.fromkeys(run.summary["assumptions"]):
            of.setdefault(text, []).append(label)
    return [Assumption(text, () if len(which) == len(runs) else tuple(which)) for text, which in of.items()]


def entries(runs: Sequence[ReportedRun]) -> list[Entry]:
    """The catalogue entries that the scenarios name, as this version of simcluster has them."""
    named = dict.fromkeys(place for run in runs for place in _named(run.scenario))
    return [entry for kind, name in named if (entry := _entry(kind, name)) is not None]


def _named(scenario: Scenario) -> Iterator[tuple[catalog.Kind, str]]:
    for pool in scenario.pools:
        yield "models", pool.model.name
        yield "devices", pool.device.name
        yield "calibration", pool.device.name
        for fabric in (pool.group.inside, pool.group.across) if pool.group is not None else ():
            if fabric is not None:
                yield "links", fabric.name
                yield "calibration", f"collectives-{fabric.name}"
    yield "noise", scenario.noise.preset


def _entry(kind: catalog.Kind, name: str) -> Entry | None:
    """An entry with its sources; None where the catalogue has none of this name."""
    try:
        data = catalog.entry(kind, name).data
    except catalog.UnknownName:
        return None
    said: dict[str, Any] = data.get("sources") or {}
    sources = [
        Source(str(one.get("title", key)), _safe(str(one.get("url", ""))), str(one.get("read", one.get("date", ""))))
        for key, one in said.items()
    ]
    return Entry(kind, name, str(data.get("title", "")), tuple(sources)) if sources else None


def _safe(url: str) -> str:
    return url if url.startswith(_LINKED) else ""


def versions(runs: Sequence[ReportedRun]) -> list[str]:
    """A remark if runs were made by another version than the one whose catalogue is shown."""
    others = sorted({str(run.run.provenance.get("simcluster")) for run in runs} - {__version__})
    if not others:
        return []
    return [f"The entries are those of simcluster {__version__}; runs were made by {', '.join(others)}."]


def provenance(runs: Sequence[ReportedRun], labels: Sequence[str]) -> Table:
    """Versions, digests and seeds, a column for each run."""
    found = [run.run.provenance for run in runs]
    packages = [_mapping(one.get("packages")) for one in found]
    names = dict.fromkeys(name for one in packages for name in one)
    rows = [
        Row("simcluster", cells([str(one.get("simcluster", "-")) for one in found])),
        Row("Python", cells([str(one.get("python", "-")) for one in found])),
        *(Row(name, cells([str(one.get(name, "-")) for one in packages])) for name in names),
        Row("seed", cells([str(run.summary["seed"]) for run in runs])),
        Row("scenario digest", cells([run.summary["scenario_digest"] for run in runs]), "digest"),
        Row("trace digest", cells([run.summary["trace_digest"] for run in runs]), "digest"),
        Row("tokens recorded", cells([f"{run.run.n_tokens:,}" for run in runs])),
        Row("run folder", cells([run.run.folder.absolute().name for run in runs])),
    ]
    return Table("Provenance", labels, rows, of_runs=True, is_prose=True)


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
