"""
Simulate sides and compare them after planned numbers of worlds (looks).

Repeated testing until something is significant inflates the error rate. So the looks are planned beforehand, each
gets an equal part of alpha, and a gate that is decided at one look stays decided.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

from simcluster.comparison.comparison import Comparison, compare_sides
from simcluster.comparison.side import Side, require_comparable
from simcluster.comparison.worlds import simulate_worlds
from simcluster.files.problems import InputError, Problem
from simcluster.scenario.gates import Gate

DEFAULT_WORLDS = 20


def planned(sides: Sequence[Side], looks: Sequence[int]) -> tuple[int, ...]:
    """
    Plan the looks: the stated ones, or one after all worlds of runs and baselines, or after twenty.

    Raises:
        InputError: the looks do not ascend, or a side that cannot be simulated has another number of worlds.
    """
    fixed = [side for side in sides if side.kind != "scenario"]
    if any(later <= earlier for earlier, later in pairwise(looks)):
        raise InputError([Problem("--seeds", 0, "", ",".join(map(str, looks)), "expected ascending numbers: 20,40")])
    last = looks[-1] if looks else len(fixed[0].rows) if fixed else DEFAULT_WORLDS
    problems = [
        Problem(side.file, 0, "seeds", f"not comparable: {len(side.rows)} worlds, not {last}",
                "expected equal numbers: use --seeds, or renew the baseline with --update-baseline")
        for side in fixed
        if len(side.rows) != last
    ]  # fmt: skip
    if problems:
        raise InputError(problems)
    return tuple(looks) or (last,)


def n_runs(sides: Sequence[Side], n_worlds: int) -> int:
    """The number of runs that sides lack to `n_worlds` worlds."""
    return sum(n_worlds - len(side.rows) for side in sides if side.kind == "scenario")


def require_same_worlds(sides: Sequence[Side], n_worlds: int) -> None:
    """
    Require that sides will be comparable once they are simulated.

    Raises:
        InputError: with the differences.
    """
    base, *others = [with_planned_seeds(side, n_worlds) for side in sides]
    require_comparable(base, others)


def with_planned_seeds(side: Side, n_worlds: int) -> Side:
    """A side with the seeds that it will have once simulated."""
    if side.kind != "scenario" or side.scenario is None:
        return side
    first = side.scenario.seed
    return replace(side, world=replace(side.world, seeds=tuple(range(first, first + n_worlds))))


def compare_in_looks(
    sides: Sequence[Side],
    gates: Sequence[Gate],
    alpha: float,
    looks: Sequence[int],
    simulate: Callable[[Sequence[Side], int], list[Side]] = simulate_worlds,
    drop_absent: bool = False,
) -> Comparison:
    """
    Compare the first side with the others, look by look, until no gate is inconclusive.

    Args:
        sides: the base first.
        gates: what is judged.
        alpha: of the whole comparison.
        looks: as `planned` gives them.
        simulate: simulates sides up to a number of worlds.
        drop_absent: see `compare_sides`.

    Raises:
        InputError: the sides cannot be compared or simulated.
    """
    require_same_worlds(sides, looks[-1])
    found: Comparison | None = None
    for n_worlds in looks:
        sides = simulate(sides, n_worlds)
        base, *candidates = [side.first(n_worlds) for side in sides]
        found = compare_sides(base, candidates, gates, alpha, looks, found, drop_absent)
        if found.verdict != "INCONCLUSIVE":
            break
    assert found is not None
    return found
