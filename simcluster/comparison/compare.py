"""Compare candidates with a base in one call, as the command line and the pytest plugin do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from simcluster.comparison import baseline
from simcluster.comparison.comparison import ALPHA, Comparison
from simcluster.comparison.looks import DEFAULT_WORLDS, compare_in_looks, planned
from simcluster.comparison.read import parse_gates, read
from simcluster.comparison.side import Side
from simcluster.comparison.worlds import simulate_worlds
from simcluster.files import source
from simcluster.files.problems import InputError, Problem
from simcluster.scenario.gates import Gate, default_gates, parse_all

Simulate = Callable[[Sequence[Side], int], list[Side]]


def compare(
    base: str | Path,
    *candidates: str | Path,
    settings: Sequence[str] = (),
    candidate_settings: Sequence[str] = (),
    fail_if: Sequence[str] = (),
    looks: Sequence[int] = (),
    alpha: float = ALPHA,
    jobs: int | None = 1,
) -> Comparison:
    """
    Compare candidates with a base in the same worlds: changes of latencies with bounds, and a verdict for each gate.

    Args:
        base: a scenario by name or path, a folder of runs, or a baseline file.
        candidates: likewise; at least one.
        settings: changes of every scenario, `a.b=c`.
        candidate_settings: changes of the candidates alone, which must be scenarios then.
        fail_if: gates instead of the base's, such as `p99_ttft_ms > +5%`.
        looks: numbers of worlds after which to judge; by default those that the base has, or twenty.
        alpha: probability that any gate fails by chance.
        jobs: processes at once; see `workers.each`. By default no process is started.

    Returns:
        The comparison: `verdict` (`PASS`, `FAIL` or `INCONCLUSIVE`), and for each candidate a row per metric.

    Raises:
        InputError: with all faults of the scenarios, gates or settings, or with what makes the sides incomparable.
        ValueError: there is no candidate.
    """
    if not candidates:
        raise ValueError("no candidate to compare with the base")
    sides = [read(str(base), (), settings), *(read(str(name), candidate_settings, settings) for name in candidates)]
    stated = parse_gates(fail_if, "fail_if") if fail_if else None
    return judge_sides(sides, stated, alpha, planned(sides, looks), partial(simulate_worlds, jobs=jobs))


def judge_sides(
    sides: Sequence[Side], stated: Sequence[Gate] | None, alpha: float, looks: Sequence[int], simulate: Simulate
) -> Comparison:
    """
    Compare sides by the stated gates, or else by those of the base, or else by the default gates.

    Raises:
        InputError: the sides cannot be compared or simulated.
    """
    own = parse_all(sides[0].gates)
    gates = stated if stated is not None else own or default_gates()
    return compare_in_looks(sides, gates, alpha, looks, simulate, drop_absent=stated is None and not own)


def require_baseline_place(path: Path) -> Side | None:
    """
    Read the baseline to replace; None if the place is free.

    Raises:
        InputError: the place holds something else, or has a suffix by which no baseline is found.
    """
    expected = "expected a baseline, or a free place whose name ends in .yaml"
    if source.is_folder(path) or path.suffix not in (".yaml", ".yml"):
        raise InputError([Problem(str(path), 0, "", "not a place for a baseline", expected)])
    if not source.is_file(path):
        return None
    document = source.read(path)
    if not baseline.is_baseline(document):
        raise InputError([Problem(str(path), 0, "", "not a baseline", expected)])
    try:
        return baseline.from_document(document)
    except InputError:  # such as one of an older version
        return None


def update_baseline(
    path: Path, candidate: Side, stated: Sequence[Gate] | None, looks: Sequence[int], simulate: Simulate
) -> Side:
    """
    Write the results of a side as a baseline, with the stated number of worlds, or as many as the former one has.

    Args:
        path: of the baseline.
        candidate: a scenario; or runs, of which all worlds are taken.
        stated: gates to store instead of the scenario's.
        looks: numbers of worlds, of which the last counts; none for that of the former baseline, or twenty.
        simulate: simulates a scenario up to a number of worlds.

    Raises:
        InputError: the place holds something else, or the scenario cannot be simulated.
    """
    former = require_baseline_place(path)
    if candidate.kind == "baseline":
        raise InputError([Problem(candidate.file, 0, "", "a baseline", "expected a scenario or a folder of runs")])
    if candidate.kind == "runs" and looks and looks[-1] != len(candidate.rows):
        found = f"{len(candidate.rows)} worlds, not {looks[-1]}"
        raise InputError([Problem(candidate.file, 0, "seeds", found, "all worlds of runs are taken")])
    n_worlds = looks[-1] if looks else len(former.rows) if former is not None else DEFAULT_WORLDS
    (played,) = simulate([candidate], n_worlds)
    if stated is not None:
        played = replace(played, gates=tuple(str(gate) for gate in stated))
    baseline.write(played, path)
    return played
