"""Differences between the scenarios of a candidate and a base."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from simcluster.comparison.side import Side
from simcluster.scenario.resolved import Scenario

_SAID = ("name", "title", "assumptions", "gates", "seed")
_MISSING = object()


def differences(base: Side, candidate: Side) -> list[str]:
    """Keys of the resolved scenarios that differ, with both values; empty if a scenario is unknown."""
    if base.scenario is None or candidate.scenario is None:
        return []
    one, other = _by_pool(base.scenario), _by_pool(candidate.scenario)
    return sorted(_leaves(one, other, ""), key=lambda text: (text.count(".") + text.count("["), text))


def _by_pool(scenario: Scenario) -> dict[str, Any]:
    """A scenario with its pools by name, or with the keys of the only pool next to its own."""
    data = scenario.model_dump(mode="json", exclude=set(_SAID))
    pools = {pool.pop("name"): pool for pool in data.pop("pools")}
    return {**data, "pools": pools} if len(pools) > 1 else {**data, **next(iter(pools.values()))}


def _leaves(one: Any, other: Any, path: str) -> Iterator[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in {**one, **other}:
            where = f"{path}.{key}" if path else str(key)
            yield from _leaves(one.get(key, _MISSING), other.get(key, _MISSING), where)
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, (first, second) in enumerate(zip(one, other, strict=True)):
            yield from _leaves(first, second, f"{path}[{index}]")
    elif one != other:
        yield f"{path}: {_shown(one)} → {_shown(other)}"


def _shown(value: Any) -> str:
    if value is _MISSING:
        return "nothing"
    if isinstance(value, dict | list):
        return f"{len(value)} entries"
    return f"{value:g}" if isinstance(value, float) else str(value)[:60]


def summarised(base: Side, candidate: Side, most: int = 3) -> str:
    """The differences in one line. Baselines hold no scenario: only whether it differs is known."""
    if base.scenario_digest == candidate.scenario_digest:
        versions = [
            f"{name} {base.made_with.get(name)} → {version}"
            for name, version in candidate.made_with.items()
            if base.made_with.get(name) != version
        ]
        return "same scenario" + (f"; {', '.join(versions)}" if versions else "")
    found = differences(base, candidate)
    if not found:
        return "another scenario"
    more = f", and {len(found) - most} more" if len(found) > most else ""
    return f"scenario differs in {', '.join(found[:most])}{more}"
