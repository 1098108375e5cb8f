"""Read a side of a comparison: a scenario, a folder of runs, or a baseline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from simcluster.comparison import baseline
from simcluster.comparison.side import Side
from simcluster.comparison.worlds import from_folder, scenario_side
from simcluster.files import source
from simcluster.files.problems import InputError, Problem
from simcluster.files.quantities import Frozen
from simcluster.files.validation import validate
from simcluster.scenario.files import find
from simcluster.scenario.gates import Gate, GateError, parse_all
from simcluster.scenario.load import load

MAX_NAME_LENGTH = 120
"""Characters of a side's name, its own changes included."""


def read(name: str, own: Sequence[str] = (), shared: Sequence[str] = (), seed: int | None = None) -> Side:
    """
    Read a side by name or path; a scenario has no worlds yet.

    Args:
        name: name of a scenario, or path of a scenario, a folder of runs or a baseline.
        own: changes of this side, `a.b=c`, which must then be a scenario.
        shared: changes of all scenarios, applied before.
        seed: seed of a scenario's first world, instead of its own.

    Raises:
        InputError: it is none of these, has errors, or is to be changed without being a scenario.
    """
    if source.is_folder(name):
        _require_unchanged(name, "a folder of runs", own)
        return from_folder(Path(name))
    path = find(name)
    document = source.read(path)
    if baseline.is_baseline(document):
        _require_unchanged(name, "a baseline", own)
        return baseline.from_document(document)
    scenario = load(name, (*shared, *own), seed)
    changed = f" ({', '.join(own)})" if own else ""
    return scenario_side(scenario, str(path), f"{scenario.name}{changed}"[:MAX_NAME_LENGTH])


def _require_unchanged(name: str, what: str, settings: Sequence[str]) -> None:
    if settings:
        raise InputError(
            [Problem(name, 0, "", f"{what}, to set {settings[0][:80]}", "only scenarios can be changed")]
        )


class GatesFile(Frozen):
    """A file of gates."""

    gates: list[str]


def read_gates(file: Path) -> tuple[Gate, ...]:
    """
    Read gates from a file with the key `gates`, a list as in a scenario.

    Raises:
        InputError: with every error and its line.
    """
    document = source.read(file)
    texts = validate(document, GatesFile).gates
    return _all(texts, lambda number, error: document.problem(("gates", number), error.found, error.expected))


def parse_gates(texts: Sequence[str], option: str) -> tuple[Gate, ...]:
    """
    Parse gates of the command line.

    Raises:
        InputError: with every error.
    """
    return _all(texts, lambda _, error: Problem(option, 0, "", error.found, error.expected))


def _all(texts: Sequence[str], problem: Callable[[int, GateError], Problem]) -> tuple[Gate, ...]:
    problems = []
    for number, text in enumerate(texts):
        try:
            parse_all([text])
        except GateError as error:
            problems.append(problem(number, error))
    if problems:
        raise InputError(problems)
    return parse_all(texts)
