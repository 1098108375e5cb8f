"""Problems of an input: where each is, what was found, what would be right."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")

MAX_SHOWN = 60
"""Characters of a value that a message repeats."""


@dataclass(frozen=True, order=True)
class Problem:
    """One fault of one input file; prints as `file:line: path: found; expected`."""

    file: str
    line: int
    path: str
    found: str
    expected: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}: " if self.line else f"{self.file}: "
        path = f"{self.path}: " if self.path else ""
        return f"{where}{path}{self.found}; {self.expected}"


class InputError(ValueError):
    """An input cannot be used; `problems` holds all its problems, sorted by place."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        super().__init__("\n".join(str(problem) for problem in self.problems))

    def __reduce__(self) -> tuple[type[InputError], tuple[tuple[Problem, ...]]]:
        """Pickle the problems, for other processes."""
        return type(self), (self.problems,)


class Impossible(InputError):
    """Well-formed and known settings that cannot be combined, such as a model that does not fit in memory."""


def all_or_problems(read: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """
    List what a function returns for each item.

    Raises:
        InputError: with the problems of all items.
    """
    found: list[R] = []
    problems: list[Problem] = []
    for item in items:
        try:
            found.append(read(item))
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    return found


def nearest(name: str, known: Iterable[str]) -> str:
    """
    Say what an unknown name could have meant.

    Args:
        name: as found in the input.
        known: the names that would have been right.

    Returns:
        `did you mean 'x'?` when one is close, else the list of known names.
    """
    names = sorted(known)
    close = get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{close[0]}'?"
    return "expected one of " + ", ".join(names)


def shown(value: Any) -> str:
    """Quote a value as it stands in a file, cut short, or name its type."""
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    if len(text) > MAX_SHOWN:
        return f"'{text[:MAX_SHOWN]}…'"
    return f"'{text}'" if isinstance(value, str) else text
