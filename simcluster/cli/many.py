"""What commands that play many runs have in common: options, a bar of what is done, and what cannot be played."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.progress import Progress


def with_workers(command: Callable[..., Any]) -> Callable[..., Any]:
    """A command with --jobs and --scheduler."""
    jobs = click.option("--jobs", type=click.IntRange(1, 1024), metavar="J",
                        help="Runs at once on this machine. Default: one a core, where that pays.")  # fmt: skip
    scheduler = click.option("--scheduler", metavar="ADDRESS",
                             help="A running Dask scheduler whose workers play the runs instead.")  # fmt: skip
    return jobs(scheduler(command))


@contextmanager
def counted(name: str, total: int, what: str) -> Iterator[Callable[..., None]]:
    """A bar on a terminal that is told how many are done, and of how many if that changes; nothing in a pipe."""
    if not sys.stderr.isatty():
        yield lambda *_: None
        return
    with bar(f"{{task.completed}} of {{task.total}} {what}") as shown:
        task = shown.add_task(name, total=total)
        yield lambda n_done, n_all=total: shown.update(task, completed=n_done, total=n_all)


def bar(done: str) -> Progress:
    """A bar on stderr with a name, what is done in words of rich's tasks, and the time left; it does not stay."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn(done), TimeRemainingColumn(),
        console=Console(file=sys.stderr), transient=True,
    )  # fmt: skip


@contextmanager
def playable(name: str) -> Iterator[None]:
    """A scenario that turns out while it is played to be beyond all bounds is an input error."""
    from simcluster.files.problems import InputError, Problem
    from simcluster.kernel.events import TooManyEvents

    try:
        yield
    except TooManyEvents as error:
        expected = "expected fewer events at random, longer apart, or a horizon"
        raise InputError([Problem(name, 0, "events", str(error), expected)]) from None
    except OverflowError:  # the clock's int64 picoseconds are at their end
        expected = "expected fewer requests, a horizon, or less time a step"
        raise InputError([Problem(name, 0, "", "a run of more than 106 days", expected)]) from None
