"""How every command tells what is wrong with its input."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

import click

INPUT_ERROR = 2
VIOLATION = 4
LONGEST_LINE = 2000
MOST_LINES = 1000


def told(command: Callable[..., int]) -> Callable[..., int]:
    """A command whose input errors go to stderr, one problem a line, with exit code 2."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> int:
        from simcluster.catalog.entries import UnknownName
        from simcluster.files.problems import InputError

        try:
            return command(*args, **kwargs)
        except InputError as error:
            tell(error.problems)
        except UnknownName as error:
            tell([error])
        except BrokenPipeError:
            raise
        except OSError as error:  # of what is written: what is read has problems of its own
            tell([f"{error.filename or 'output'}: {error.strerror or error}; expected a place to write to"])
        return INPUT_ERROR

    return run


def tell(problems: Iterable[object]) -> None:
    """Print problems to stderr, one a line, whatever characters their input had."""
    lines = [str(problem) for problem in problems]
    for text in lines[:MOST_LINES]:
        line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:LONGEST_LINE])
        click.echo(line + ("…" if len(text) > LONGEST_LINE else ""), err=True)
    if len(lines) > MOST_LINES:
        click.echo(f"… and {len(lines) - MOST_LINES:,} more", err=True)
