"""Options, progress bars and limits that commands share which simulate many runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.progress import Progress


def with_workers(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --jobs and --scheduler to a command."""
    jobs = click.option("--jobs", type=click.IntRange(1, 1024), metavar="J",
                        help="Runs at once on this machine. Default: one per core, where that pays.")  # fmt: skip
    scheduler = click.option("--scheduler", metavar="ADDRESS",
                             help="Address of a Dask scheduler whose workers simulate the runs instead.")  # fmt: skip
    return jobs(scheduler(command))


@contextmanager
def run_progress(name: str, total: int, what: str) -> Iterator[Callable[..., None]]:
    """Show a bar on a terminal; yields a function of the number of finished runs, and of all runs if that changes."""
    if not sys.stderr.isatty():
        yield lambda *_: None
        return
    with progress_bar(f"{{task.completed}} of {{task.total}} {what}") as shown:
        task = shown.add_task(name, total=total)
        yield lambda n_done, n_all=total: shown.update(task, completed=n_done, total=n_all)


def progress_bar(done: str) -> Progress:
    """A transient bar on stderr with a name, what is done (a rich format of the task), and the time left."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn(done), TimeRemainingColumn(),
        console=Console(file=sys.stderr), transient=True,
    )  # fmt: skip


@contextmanager
def limits_reported(name: str) -> Iterator[None]:
    """Turn limits that are only found while simulating into input errors: too many events, or too long a run."""
    from simcluster.files.problems import InputError, Problem
    from simcluster.kernel.events import TooManyEvents

    try:
        yield
    except TooManyEvents as error:
        expected = "expected fewer random events, longer intervals between them, or a horizon"
        raise InputError([Problem(name, 0, "events", str(error), expected)]) from None
    except OverflowError:  # of the clock's int64 picoseconds
        expected = "expected fewer requests, a horizon, or shorter steps"
        raise InputError([Problem(name, 0, "", "a run of more than 106 days", expected)]) from None
