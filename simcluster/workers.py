"""Many calls of one function side by side, in processes of this machine or of a cluster that Dask knows."""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from simcluster.problems import InputError, Problem

if TYPE_CHECKING:
    from distributed import Client

T = TypeVar("T")
R = TypeVar("R")

START_S = 6.0
"""Work that takes less than this is done at once and not in workers, which take as long to start."""


def each(
    function: Callable[[T], R],
    items: Sequence[T],
    jobs: int | None = None,
    scheduler: str | None = None,
    done: Callable[[], None] = lambda: None,
    expected_s: float = 0.0,
) -> list[R]:
    """
    What a function gives for each of some items, in their order, however many workers there are.

    Args:
        function: of a module, so that workers find it.
        items: of a kind that can be sent to a worker.
        jobs: processes on this machine; 1 works in this one. Default: one a core, once it is worth starting them.
        scheduler: address of a running Dask scheduler to use instead.
        done: called after each.
        expected_s: what all of them may take, if the caller has an idea.

    Raises:
        InputError: workers die, or there is no scheduler at the address; or as the function raises it.
    """
    found: list[R] = []
    if scheduler is None:
        at_once = jobs is not None or expected_s > START_S
        deadline_s = None if jobs == 1 else 0.0 if at_once else START_S
        found = _here(function, items, deadline_s, done)
    left = items[len(found) :]
    n_workers = min(jobs or os.cpu_count() or 1, len(left))
    if not left:
        return found
    if scheduler is None and n_workers == 1:
        return found + _here(function, left, None, done)
    with _client(n_workers, scheduler) as client:
        return found + _there(client, function, left, done)


def _here(
    function: Callable[[T], R], items: Sequence[T], deadline_s: float | None, done: Callable[[], None]
) -> list[R]:
    """In this process, as long as all of them would be done within so many seconds."""
    found: list[R] = []
    began = time.monotonic()
    for number, item in enumerate(items):
        so_far_s = time.monotonic() - began
        expected_s = so_far_s / number * len(items) if number else 0.0
        if deadline_s is not None and (deadline_s == 0 or expected_s > deadline_s):
            break
        found.append(function(item))
        done()
    return found


def _there(client: Client, function: Callable[[T], R], items: Sequence[T], done: Callable[[], None]) -> list[R]:
    """In workers; the first that fails ends it."""
    from distributed import KilledWorker, as_completed

    futures = client.map(function, items, pure=False)
    try:
        for future in as_completed(futures, loop=client.loop):
            future.result()
            done()
        return [future.result() for future in futures]
    except KilledWorker:
        found = "workers died again and again, most likely for want of memory"
        raise InputError([Problem("--jobs", 0, "", found, "expected fewer at once")]) from None
    finally:
        client.cancel(futures, force=True)


@contextmanager
def _client(n_workers: int, scheduler: str | None) -> Iterator[Client]:
    """A client of a scheduler, or of workers of its own, which end with it."""
    from distributed import Client, LocalCluster

    if scheduler is not None:
        try:
            client = Client(scheduler, timeout="5s", set_as_default=False)
        except (OSError, ValueError) as error:
            found = f"no Dask scheduler at {scheduler[:80]}: {str(error).splitlines()[0][:80]}"
            raise InputError([Problem("--scheduler", 0, "", found, "expected one such as tcp://host:8786")]) from None
        with client:
            yield client
        return
    options: dict[str, Any] = {"n_workers": n_workers, "threads_per_worker": 1, "memory_limit": 0}
    with (
        tempfile.TemporaryDirectory(prefix="simcluster-") as scratch,
        LocalCluster(
            **options, dashboard_address="127.0.0.1:0", local_directory=scratch, silence_logs=logging.CRITICAL
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client
