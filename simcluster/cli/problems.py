"""How every command tells what is wrong with its input."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

INPUT_ERROR = 2
VIOLATION = 4


def told(command: Callable[..., int]) -> Callable[..., int]:
    """A command whose input errors go to stderr, one problem a line, with exit code 2."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> int:
        from simcluster.catalog import UnknownName
        from simcluster.problems import InputError

        try:
            return command(*args, **kwargs)
        except InputError as error:
            for problem in error.problems:
                click.echo(str(problem), err=True)
        except UnknownName as error:
            click.echo(str(error), err=True)
        return INPUT_ERROR

    return run
