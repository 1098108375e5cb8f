"""
Play sides and compare them, at looks that were planned beforehand.

Whoever looks again and again until something is found, finds something: so the looks are stated first, each has an
equal part of alpha, and what is decided at one stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

from simcluster.comparison.comparison import Comparison, compare_sides
from simcluster.comparison.play import play_on
from simcluster.comparison.side import Side, require_comparable
from simcluster.files.problems import InputError, Problem
from simcluster.scenario.gates import Gate

DEFAULT_WORLDS = 20


def planned(sides: Sequence[Side], looks: Sequence[int]) -> tuple[int, ...]:
    """
    After how many worlds to look: as asked for, or else at all that runs and baselines have, or at twenty.

    Raises:
        InputError: the looks do not go up, or a side that is not played has another number of worlds.
    """
    fixed = [side for side in sides if side.kind != "scenario"]
    if any(later <= earlier for earlier, later in pairwise(looks)):
        raise InputError([Problem("--seeds", 0, "", ",".join(map(str, looks)), "expected numbers that go up: 20,40")])
    last = looks[-1] if looks else len(fixed[0].rows) if fixed else DEFAULT_WORLDS
    problems = [
        Problem(side.file, 0, "seeds", f"not comparable: {len(side.rows)} worlds, not {last}",
                "expected as many on both sides: --seeds, or a baseline made anew with --update-baseline")
        for side in fixed
        if len(side.rows) != last
    ]  # fmt: skip
    if problems:
        raise InputError(problems)
    return tuple(looks) or (last,)


def n_runs(sides: Sequence[Side], n_worlds: int) -> int:
    """How many runs it takes to have so many worlds of all."""
    return sum(n_worlds - len(side.rows) for side in sides if side.kind == "scenario")


def require_same_worlds(sides: Sequence[Side], n_worlds: int) -> None:
    """
    Hold that sides will be comparable once they are played.

    Raises:
        InputError: with what differs.
    """
    base, *others = [as_if_played(side, n_worlds) for side in sides]
    require_comparable(base, others)


def as_if_played(side: Side, n_worlds: int) -> Side:
    """A side with the seeds that it will have."""
    if side.kind != "scenario" or side.scenario is None:
        return side
    first = side.scenario.seed
    return replace(side, world=replace(side.world, seeds=tuple(range(first, first + n_worlds))))


def compare_in_looks(
    sides: Sequence[Side],
    gates: Sequence[Gate],
    alpha: float,
    looks: Sequence[int],
    play: Callable[[Sequence[Side], int], list[Side]] = play_on,
    drop_absent: bool = False,
) -> Comparison:
    """
    Compare the first side with the others, with more worlds until all is decided or the last look is over.

    Args:
        sides: the base first.
        gates: what is judged.
        alpha: of the whole comparison.
        looks: as `planned` gives them.
        play: brings sides to a number of worlds.
        drop_absent: see `compare_sides`.

    Raises:
        InputError: they cannot be compared or played.
    """
    require_same_worlds(sides, looks[-1])
    found: Comparison | None = None
    for n_worlds in looks:
        sides = play(sides, n_worlds)
        base, *candidates = [side.first(n_worlds) for side in sides]
        found = compare_sides(base, candidates, gates, alpha, looks, found, drop_absent)
        if found.verdict != "INCONCLUSIVE":
            break
    assert found is not None
    return found
