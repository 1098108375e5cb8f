"""Errors in the input, as every command reports them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

import click

INPUT_ERROR = 2
VIOLATION = 4
MAX_LINE_LENGTH = 2000
MAX_LINES = 1000


def report_problems(command: Callable[..., int]) -> Callable[..., int]:
    """Make a command print its input errors to stderr, one problem per line, and exit with code 2."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> int:
        from simcluster.catalog.entries import UnknownName
        from simcluster.files.problems import InputError

        try:
            return command(*args, **kwargs)
        except InputError as error:
            print_problems(error.problems)
        except UnknownName as error:
            print_problems([error])
        except BrokenPipeError:
            raise
        except OSError as error:  # while writing: reading raises an InputError
            print_problems([f"{error.filename or 'output'}: {error.strerror or error}; expected a place to write to"])
        return INPUT_ERROR

    return run


def print_problems(problems: Iterable[object]) -> None:
    """Print problems to stderr, one per line; control characters of the input are escaped."""
    lines = [str(problem) for problem in problems]
    for text in lines[:MAX_LINES]:
        line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:MAX_LINE_LENGTH])
        click.echo(line + ("…" if len(text) > MAX_LINE_LENGTH else ""), err=True)
    if len(lines) > MAX_LINES:
        click.echo(f"… and {len(lines) - MAX_LINES:,} more", err=True)
