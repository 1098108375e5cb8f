"""Sides with given values, for tests of comparisons and their output."""

from __future__ import annotations

from collections.abc import Sequence

from simcluster.comparison.parts import Parts
from simcluster.comparison.side import Side, World


def side(
    name: str,
    values: dict[str, Sequence[float | None]],
    *,
    trace: str = "a",
    gates: Sequence[str] = (),
    parts: Parts | Sequence[Parts] | None = None,
    file: str = "",
) -> Side:
    """A side whose metrics have these values by world; `trace` makes its traces others than another's."""
    n = len(next(iter(values.values())))
    world = World(tuple(range(n)), {}, "datacenter", "0" * 16, {}, "simcluster-metrics-1")
    rows = tuple({metric: by_world[number] for metric, by_world in values.items()} for number in range(n))
    traces = tuple(f"{trace * 15}{number % 10:x}" for number in range(n))
    of_worlds = tuple(parts) if isinstance(parts, Sequence) else (parts or {},) * n
    versions = {"simcluster": "0.1.0", "python": "3.11.9"}
    return Side(
        name, "scenario", file or f"{name}.yaml", (trace * 64)[:64], world, versions, tuple(gates), traces, rows,
        of_worlds,
    )  # fmt: skip


def times(values: Sequence[float], *factors: float) -> list[float]:
    """Values, each times its factor; the last factor holds for the rest."""
    return [value * factors[min(n, len(factors) - 1)] for n, value in enumerate(values)]
