"""
What-if shares: a source is exchanged for another world's, or events of a device are removed; all else stays.

Only a simulator can do this: a world is a function of names and seeds, so one part of it can be exchanged. Sources
have shares in the variance over worlds, see `sobol`. Events that concern one device or link have an effect: by how
much a figure falls without them in the same world, with Student's interval over replications.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from simcluster.files.problems import InputError, Problem
from simcluster.numerics.arrays import Floats
from simcluster.results.replications import CONFIDENCE, interval, metrics
from simcluster.results.run import expected_s, measure
from simcluster.scenario.drawn import devices_drawn, drawn_sources
from simcluster.scenario.resolved import Event, Scenario
from simcluster.scenario.spec import OF_DEVICES
from simcluster.variance.sobol import Effects, Estimate, effects
from simcluster.workers.pool import each

WHAT_IF_FORMAT = "simcluster-what-if-1"
FIGURES = (
    "mean_ttft_ms", "p99_ttft_ms", "mean_tpot_ms", "p99_tpot_ms", "mean_itl_ms", "p99_itl_ms", "std_itl_ms",
    "mean_e2el_ms", "p99_e2el_ms",
)  # fmt: skip
"""Figures of a run's summary that are explained."""
MAX_ENTITIES = 32
MAX_SEED = 2**63
FEW_SEEDS = 10
_OTHER_WORLD = 2**62
"""Added to a seed for the other world of a replication."""


@dataclass(frozen=True)
class SourceEffect:
    """The part of one source in the variance of a figure over worlds."""

    total: Estimate
    """Share with all its interactions."""
    first: Estimate
    """Share of the source alone."""
    interaction: float


@dataclass(frozen=True)
class EntityEffect:
    """The difference of a figure with and without the events of a device or link, in the same worlds."""

    effect: float
    low: float | None
    high: float | None
    """Ends of the 95 % interval; None with one replication."""
    relative: float | None
    """Over the figure; None where that is zero."""


@dataclass(frozen=True)
class FigureEffects:
    """What moves one figure."""

    mean: float
    variance: float
    """Over worlds."""
    sources: dict[str, SourceEffect] | None
    """Keyed by source; None where the figure does not vary."""
    interactions: Estimate | None
    """Share of the variance that no source explains by itself."""
    devices: dict[str, SourceEffect] | None
    """The noise of each device, by device; None where that was not asked for or the figure does not vary."""
    entities: dict[str, EntityEffect]
    """Events by device or link."""


@dataclass(frozen=True)
class WhatIf:
    """What sources, devices and links do to the figures of a scenario."""

    scenario: str
    noise: str
    seeds: list[int]
    runs: int
    confidence: float
    figures: dict[str, FigureEffects]
    """Keyed by the names in `FIGURES`; figures without a value in some run are left out."""
    notes: list[str]
    assumptions: list[str]


def what_if_as_json(found: WhatIf) -> dict[str, Any]:
    """What-if results as plain data; a figure has `devices` only if they were asked for and it varies."""
    data = {"format": WHAT_IF_FORMAT, **asdict(found)}
    for figure in data["figures"].values():
        if figure["devices"] is None:
            del figure["devices"]
    return data


def what_if(
    scenario: Scenario,
    n_seeds: int,
    by_device: bool = False,
    jobs: int | None = None,
    scheduler: str | None = None,
    done: Callable[[int], None] = lambda _: None,
) -> WhatIf:
    """
    Find what sources, devices and links do to the figures of a scenario.

    Args:
        scenario: simulated under its seed and those that follow.
        n_seeds: replications, at least two.
        by_device: also exchange the noise of each device alone.
        jobs: processes at once; see `workers.each`.
        scheduler: of Dask, to use its workers.
        done: called after each run with the number of runs so far, of `n_runs`.

    Raises:
        InputError: nothing is drawn in the scenario and it has no events, or it cannot be simulated.
    """
    sources, entities, devices = drawn_sources(scenario), _entities(scenario), _noisy(scenario) if by_device else {}
    if not sources and not entities:
        expected = "expected noise, random arrivals or lengths, or events"
        raise InputError([Problem(scenario.name, 0, "", "a scenario in which nothing is drawn", expected)])
    shown = list(entities)[:MAX_ENTITIES]
    exchanged = [[source] for source in sources] + list(devices.values())
    variants = _variants(scenario, exchanged, [entities[name] for name in shown])
    worlds = [variant(scenario.seed + number) for number in range(n_seeds) for variant in variants]
    count = itertools.count(1)
    takes_s = len(worlds) * expected_s(scenario)
    summaries = each(measure, worlds, jobs, scheduler, lambda: done(next(count)), takes_s)
    rows = [metrics(summary) for summary in summaries]
    figures = {}
    for name in FIGURES:
        values = [row[name] for row in rows]
        if all(value is not None for value in values):
            table = np.array(values, np.float64).reshape(n_seeds, len(variants)).T  # (variants, replications)
            figures[name] = _figure(table, sources, list(devices), shown)
    return WhatIf(
        scenario=scenario.name,
        noise=scenario.noise.name,
        seeds=list(range(scenario.seed, scenario.seed + n_seeds)),
        runs=len(worlds),
        confidence=CONFIDENCE,
        figures=figures,
        notes=_notes(scenario, sources, len(entities), n_seeds),
        assumptions=list(scenario.assumptions),
    )


def n_runs(scenario: Scenario, n_seeds: int, by_device: bool = False) -> int:
    """Number of runs: for each replication two, two more for a source and for a device, and one for an entity."""
    n_entities = min(len(_entities(scenario)), MAX_ENTITIES)
    n_exchanged = len(drawn_sources(scenario)) + (len(_noisy(scenario)) if by_device else 0)
    return n_seeds * (2 + 2 * n_exchanged + n_entities)


Variant = Callable[[int], Scenario]
"""The scenario in the world of a seed, with something exchanged."""


def _variants(
    scenario: Scenario, exchanged: Sequence[Sequence[str]], without: Sequence[Sequence[Event]]
) -> list[Variant]:
    """Both worlds; each of them with one of the exchanged streams from the other; the first without some events."""

    def world(seed: int, streams: Sequence[str] = (), from_seed: int = 0, without: Sequence[Event] = ()) -> Scenario:
        events = tuple(event for event in scenario.events if event not in without)
        seeds = dict.fromkeys(streams, from_seed)
        return scenario.model_copy(update={"seed": seed, "source_seeds": seeds, "events": events})

    def in_one(streams: Sequence[str]) -> Variant:
        return lambda seed: world(seed, streams, _other(seed))

    def in_other(streams: Sequence[str]) -> Variant:
        return lambda seed: world(_other(seed), streams, seed)

    def removed(events: Sequence[Event]) -> Variant:
        return lambda seed: world(seed, without=events)

    return [in_one(()), in_other(()), *map(in_one, exchanged), *map(in_other, exchanged), *map(removed, without)]


def _other(seed: int) -> int:
    """The seed of a replication's other world."""
    return (seed + _OTHER_WORLD) % MAX_SEED


def _figure(table: Floats, sources: Sequence[str], devices: Sequence[str], entities: Sequence[str]) -> FigureEffects:
    """One figure, of which each variant is a row of shape (replications,)."""
    k, m = len(sources), len(sources) + len(devices)
    one, other, of_one, of_other, without = np.split(table, [1, 2, 2 + m, 2 + 2 * m])
    effect = effects(one[0], other[0], of_one[:k], of_other[:k])
    of_devices = effects(one[0], other[0], of_one[k:], of_other[k:]) if devices else None
    return FigureEffects(
        mean=float(one[0].mean()),
        variance=effect.variance if effect else 0.0,
        sources=_by_source(sources, effect) if effect else None,
        interactions=effect.interactions if effect else None,
        devices=_by_source(devices, of_devices) if of_devices else None,
        entities={name: _without(one[0], row) for name, row in zip(entities, without, strict=True)},
    )


def _by_source(sources: Sequence[str], effect: Effects) -> dict[str, SourceEffect]:
    return {
        source: SourceEffect(total, first, total.value - first.value)
        for source, total, first in zip(sources, effect.total, effect.first, strict=True)
    }


def _without(base: Floats, other: Floats) -> EntityEffect:
    """The effect of an entity's events: a figure with them, and without them in the same worlds."""
    found = interval((base - other).tolist())
    relative = found.mean / float(base.mean()) if base.mean() else None
    return EntityEffect(found.mean, found.low, found.high, relative)


def _entities(scenario: Scenario) -> dict[str, tuple[Event, ...]]:
    """Devices and links that have events in the scenario, in its order, each with its events."""
    found: dict[str, tuple[Event, ...]] = {}
    for event in scenario.events:
        if not event.noise:  # events of noise are a source
            name = concerned(event)
            found[name] = (*found.get(name, ()), event)
    return found


def concerned(event: Event) -> str:
    """The devices or the link that an event concerns, in words."""
    if event.link is not None:
        return " - ".join(event.link)
    if event.ends is not None:
        return f"transfer {event.ends[0]} to {event.ends[1]}"
    return event.devices[0] if len(event.devices) == 1 else f"{event.devices[0]} … {event.devices[-1]}"


def _noisy(scenario: Scenario) -> dict[str, list[str]]:
    """Devices with noise of their own, each with the names of its streams."""
    found: dict[str, list[str]] = {}
    for source in drawn_sources(scenario):
        if source in OF_DEVICES:
            for device in devices_drawn(scenario, source):
                found.setdefault(device, []).append(f"{source}/{device}")
    return found


def _notes(scenario: Scenario, sources: Sequence[str], n_entities: int, n_seeds: int) -> list[str]:
    """What a reader should know before believing the figures."""
    notes = []
    if not sources:
        notes.append("nothing is drawn in this scenario, so no figure varies; only events have effects")
    if n_seeds < FEW_SEEDS:
        notes.append(f"{n_seeds} replications: intervals of shares are rough below {FEW_SEEDS}")
    if n_entities > MAX_ENTITIES:
        notes.append(f"only events of the first {MAX_ENTITIES} of {n_entities} devices and links are removed")
    if scenario.source_seeds:
        notes.append("source_seeds of the scenario are not used here: its sources are drawn from the seeds listed")
    return notes
