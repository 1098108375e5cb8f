"""
What-if shares: a source is exchanged for another world's, or what happens to a device is taken away; all else stays.

Only a simulator can do this: a world is a function of names and seeds, so one part of it can be exchanged. Sources
have shares in the variance over worlds, see `sobol`. Events that concern one device or link have an effect: by how
much a figure falls without them in the same world, with Student's interval over replications.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from simcluster.files.problems import InputError, Problem
from simcluster.results.replications import CONFIDENCE, interval, metrics
from simcluster.results.run import expected_s, measure
from simcluster.scenario.drawn import devices_drawn, drawn_sources
from simcluster.scenario.resolved import Event, Scenario
from simcluster.scenario.spec import OF_DEVICES
from simcluster.variance.sobol import Effects, effects
from simcluster.workers.pool import each

WHAT_IF_FORMAT = "simcluster-what-if-1"
FIGURES = (
    "mean_ttft_ms", "p99_ttft_ms", "mean_tpot_ms", "p99_tpot_ms", "mean_itl_ms", "p99_itl_ms", "std_itl_ms",
    "mean_e2el_ms", "p99_e2el_ms",
)  # fmt: skip
"""That are explained, of a run's summary."""
MOST_ENTITIES = 32
MOST_SEED = 2**63
_AWAY = 2**62
"""Added to a seed for the other world of a replication."""


def what_if(
    scenario: Scenario,
    n_seeds: int,
    by_device: bool = False,
    jobs: int | None = None,
    scheduler: str | None = None,
    done: Callable[[int], None] = lambda _: None,
) -> dict[str, Any]:
    """
    What sources, devices and links do to the figures of a scenario.

    Args:
        scenario: played under its seed and those that follow.
        n_seeds: replications, at least two.
        by_device: also exchange the noise of each device alone.
        jobs: processes at once; see `workers.each`.
        scheduler: of Dask, to use its workers.
        done: called after each run with how many there have been, of `n_runs`.

    Returns:
        `figures` by name: `mean` and `variance` over worlds; of each source, and of each device's noise, `total` and
        `first` effect with intervals and their `interaction`; `interactions` of all; of each entity the `effect` of
        its events.

    Raises:
        InputError: nothing is drawn in the scenario and nothing happens, or it cannot be played.
    """
    sources, entities, devices = drawn_sources(scenario), _entities(scenario), _noisy(scenario) if by_device else {}
    if not sources and not entities:
        expected = "expected noise, random arrivals or lengths, or events"
        raise InputError([Problem(scenario.name, 0, "", "a scenario in which nothing is drawn", expected)])
    looked_at = list(entities)[:MOST_ENTITIES]
    exchanged = [[source] for source in sources] + list(devices.values())
    variants = _variants(scenario, exchanged, [entities[name] for name in looked_at])
    worlds = [variant(scenario.seed + number) for number in range(n_seeds) for variant in variants]
    count = itertools.count(1)
    takes_s = len(worlds) * expected_s(scenario)
    summaries = each(measure, worlds, jobs, scheduler, lambda: done(next(count)), takes_s)
    rows = [metrics(summary) for summary in summaries]
    found: dict[str, Any] = {
        "format": WHAT_IF_FORMAT,
        "scenario": scenario.name,
        "noise": scenario.noise.name,
        "seeds": list(range(scenario.seed, scenario.seed + n_seeds)),
        "runs": len(worlds),
        "confidence": CONFIDENCE,
        "figures": {},
        "notes": _notes(scenario, sources, entities, n_seeds),
        "assumptions": list(scenario.assumptions),
    }
    for name in FIGURES:
        values = [row[name] for row in rows]
        if all(value is not None for value in values):
            table = np.array(values, np.float64).reshape(n_seeds, len(variants)).T  # (variants, replications)
            found["figures"][name] = _figure(table, sources, list(devices), looked_at)
    return found


def n_runs(scenario: Scenario, n_seeds: int, by_device: bool = False) -> int:
    """How many runs that takes: for each replication two, two more a source and a device, and one an entity."""
    n_entities = min(len(_entities(scenario)), MOST_ENTITIES)
    n_exchanged = len(drawn_sources(scenario)) + (len(_noisy(scenario)) if by_device else 0)
    return n_seeds * (2 + 2 * n_exchanged + n_entities)


Variant = Callable[[int], Scenario]
"""The scenario in the world of a seed, with something exchanged."""


def _variants(
    scenario: Scenario, exchanged: Sequence[Sequence[str]], without: Sequence[Sequence[Event]]
) -> list[Variant]:
    """Both worlds; one with each of the exchanged streams from the other; the other so; one without some events."""

    def world(seed: int, streams: Sequence[str] = (), from_seed: int = 0, without: Sequence[Event] = ()) -> Scenario:
        events = tuple(event for event in scenario.events if event not in without)
        seeds = dict.fromkeys(streams, from_seed)
        return scenario.model_copy(update={"seed": seed, "source_seeds": seeds, "events": events})

    def in_one(streams: Sequence[str]) -> Variant:
        return lambda seed: world(seed, streams, _other(seed))

    def in_other(streams: Sequence[str]) -> Variant:
        return lambda seed: world(_other(seed), streams, seed)

    def rid_of(events: Sequence[Event]) -> Variant:
        return lambda seed: world(seed, without=events)

    return [in_one(()), in_other(()), *map(in_one, exchanged), *map(in_other, exchanged), *map(rid_of, without)]


def _other(seed: int) -> int:
    """The seed of a replication's other world."""
    return (seed + _AWAY) % MOST_SEED


def _figure(table: Any, sources: Sequence[str], devices: Sequence[str], entities: Sequence[str]) -> dict[str, Any]:
    """One figure, of whose variants each is a row of shape (replications,)."""
    k, m = len(sources), len(sources) + len(devices)
    one, other, of_one, of_other, without = np.split(table, [1, 2, 2 + m, 2 + 2 * m])
    found: dict[str, Any] = {"mean": float(one[0].mean())}
    effect = effects(one[0], other[0], of_one[:k], of_other[:k])
    found["variance"] = effect.variance if effect else 0.0
    found["sources"] = _by_source(sources, effect) if effect else None
    found["interactions"] = asdict(effect.interactions) if effect else None
    if devices:
        of_devices = effects(one[0], other[0], of_one[k:], of_other[k:])
        found["devices"] = _by_source(devices, of_devices) if of_devices else None
    found["entities"] = {name: _without(one[0], row) for name, row in zip(entities, without, strict=True)}
    return found


def _by_source(sources: Sequence[str], effect: Effects) -> dict[str, Any]:
    return {
        source: {"total": asdict(total), "first": asdict(first), "interaction": total.value - first.value}
        for source, total, first in zip(sources, effect.total, effect.first, strict=True)
    }


def _without(base: Any, other: Any) -> dict[str, float | None]:
    """By how much a figure exceeds what it is without an entity's events, in the same worlds."""
    found = interval((base - other).tolist())
    return {
        "effect": found.mean,
        "low": found.low,
        "high": found.high,
        "relative": found.mean / float(base.mean()) if base.mean() else None,
    }


def _entities(scenario: Scenario) -> dict[str, tuple[Event, ...]]:
    """Devices and links that the scenario says something happens to, in its order, each with its events."""
    found: dict[str, tuple[Event, ...]] = {}
    for event in scenario.events:
        if not event.noise:  # what noise does is a source
            found[whom(event)] = (*found.get(whom(event), ()), event)
    return found


def whom(event: Event) -> str:
    """Who an event concerns, in words."""
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


def _notes(scenario: Scenario, sources: Sequence[str], entities: Sequence[str] | dict[str, Any], n: int) -> list[str]:
    """What a reader should know before believing the figures."""
    notes = []
    if not sources:
        notes.append("nothing is drawn in this scenario, so no figure varies; only events have effects")
    if n < 10:
        notes.append(f"{n} replications: intervals of shares are rough below ten")
    if len(entities) > MOST_ENTITIES:
        notes.append(f"events of the first {MOST_ENTITIES} of {len(entities)} devices and links are taken away")
    if scenario.source_seeds:
        notes.append("source_seeds of the scenario are not used here: its sources are drawn from the seeds listed")
    return notes
