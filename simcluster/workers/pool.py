"""Parallel calls of a function, in processes of this machine or in the workers of a Dask cluster."""

from __future__ import annotations

import logging
import os
import tempfile
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from simcluster.files.problems import InputError, Problem

if TYPE_CHECKING:
    from distributed import Client, Future, LocalCluster

T = TypeVar("T")
R = TypeVar("R")

MIN_IN_FLIGHT = 32
"""Calls at a scheduler at a time: enough to keep workers busy, few enough to bound memory."""
BATCH_S, MAX_BATCH = 0.25, 64
"""Items go to a worker in batches of about `BATCH_S` CPU seconds and at most `MAX_BATCH` items: a call costs Dask
several ms."""
MAX_REASON_LENGTH = 500
WAIT_FOR_WORKERS_S = 30.0
QUIET = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "5s",
    "distributed.nanny.pre-spawn-environ": {"OMP_NUM_THREADS": 1, "OPENBLAS_NUM_THREADS": 1},
}
"""
Settings of Dask that save a third of a core: workers are not profiled, event loops are not checked for delays 50
times a second, and workers do not return freed memory to the system only to request it again.
"""
START_S = 6.0
"""Work that takes less than this is done in this process, since workers take as long to start."""


def each(
    function: Callable[[T], R],
    items: Sequence[T],
    jobs: int | None = None,
    scheduler: str | None = None,
    done: Callable[[], None] = lambda: None,
    expected_s: float = 0.0,
) -> list[R]:
    """
    Call a function for each item in parallel, and return the results in order.

    Args:
        function: at the top level of a module, so that workers can import it.
        items: must be picklable.
        jobs: processes on this machine; 1 uses this process. Default: one per core, once that pays.
        scheduler: address of a Dask scheduler to use instead.
        done: called after each item.
        expected_s: estimated duration of all calls, if known.

    Raises:
        InputError: workers die, the address is not that of a scheduler, or the function raises one.
    """
    found: list[R] = []
    if scheduler is None:
        at_once = jobs is not None or expected_s > START_S
        deadline_s = None if jobs == 1 else 0.0 if at_once else START_S
        found = _in_process(function, items, deadline_s, done)
    left = items[len(found) :]
    n_workers = min(jobs or os.cpu_count() or 1, len(left))
    if not left:
        return found
    if scheduler is None and n_workers == 1:
        return found + _in_process(function, left, None, done)
    with _client(n_workers, scheduler) as client:
        return found + _in_workers(client, function, left, done)


@dataclass(frozen=True)
class Failure:
    """The reason why a call failed."""

    reason: str


def flow(
    function: Callable[[T], R],
    first: Iterable[T],
    then: Callable[[T, R | Failure], Iterable[T]],
    jobs: int | None = None,
    scheduler: str | None = None,
    expected_s: float = 0.0,
) -> None:
    """
    Call a function in parallel for items, and for further items that follow from the outcomes.

    A call that fails does not stop the others. If a worker dies, its calls are repeated by another; after three
    deaths a call counts as failed.

    Args:
        function: at the top level of a module, so that workers can import it.
        first: items to begin with.
        then: receives each item and its outcome, in any order, in this process; returns the items that follow.
        jobs: as in `each`.
        scheduler: as in `each`.
        expected_s: estimated duration of all calls, if known.

    Raises:
        InputError: the address is not that of a scheduler, or the scheduler has no workers or went away.
    """
    waiting = deque(first)
    n_workers = jobs or os.cpu_count() or 1
    if scheduler is None and jobs is None and n_workers > 1 and expected_s <= START_S:
        _flow_in_process(function, waiting, then, START_S)
    n_workers = min(n_workers, len(waiting))
    if scheduler is None and n_workers == 1:
        _flow_in_process(function, waiting, then, None)
    elif waiting:
        with _client(n_workers, scheduler) as client:
            _flow_in_workers(client, function, waiting, then)


def _flow_in_process(
    function: Callable[[T], R],
    waiting: deque[T],
    then: Callable[[T, R | Failure], Iterable[T]],
    deadline_s: float | None,
) -> None:
    """Work in this process until all is done, or until the estimated total exceeds the deadline."""
    began, n_done = time.monotonic(), 0
    while waiting:
        so_far_s = time.monotonic() - began
        if deadline_s is not None and n_done and so_far_s * (1 + len(waiting) / n_done) > deadline_s:
            return
        item = waiting.popleft()
        outcome = _outcome(function, item)
        n_done += 1
        waiting.extend(then(item, outcome))


def _flow_in_workers(
    client: Client, function: Callable[[T], R], waiting: deque[T], then: Callable[[T, R | Failure], Iterable[T]]
) -> None:
    """Work in workers, with a bounded number of calls in flight; short calls go in batches."""
    from distributed import as_completed

    n_threads = sum(client.nthreads().values())
    most = max(MIN_IN_FLIGHT, 4 * n_threads)
    running: dict[Future, list[T]] = {}
    alone: deque[T] = deque()  # from batches whose worker died; retried one by one
    finished = as_completed(loop=client.loop, with_results=True, raise_errors=False)
    so_far_s, n_done = 0.0, 0
    try:
        while waiting or running or alone:
            at_once = int(BATCH_S * n_done / so_far_s) if so_far_s else 1
            while (waiting or alone) and len(running) < most:
                n_fair = -(-len(waiting) // (2 * n_threads))
                n_items = max(1, min(at_once, MAX_BATCH, n_fair))
                items = [alone.popleft()] if alone else [waiting.popleft() for _ in range(min(n_items, len(waiting)))]
                with warnings.catch_warnings():
                    warnings.filterwarnings("ignore", "Sending large graph")  # scenarios may hold large topologies
                    future = client.submit(_several, function, items, pure=False)
                running[future] = items
                finished.add(future)
            for future, result in [next(finished), *finished.next_batch(block=False)]:
                items = running.pop(future)
                took_s, outcomes = _outcomes(result, len(items))
                if took_s is None and len(items) > 1:
                    alone.extend(items)
                    continue
                so_far_s, n_done = so_far_s + (took_s or 0.0), n_done + len(items)
                for item, outcome in zip(items, outcomes, strict=True):
                    waiting.extend(then(item, outcome))
    finally:
        client.cancel(list(running), force=True)


def _several(function: Callable[[T], R], items: Sequence[T]) -> tuple[float, list[R | Failure]]:
    """Call the function for a batch of items in a worker; returns CPU seconds and outcomes."""
    began = time.thread_time()
    outcomes = [_outcome(function, item) for item in items]
    return time.thread_time() - began, outcomes


def _outcomes(result: Any, n_items: int) -> tuple[float | None, list[Any]]:
    """The outcomes of a batch; without a time if its workers died."""
    from distributed import CancelledError, KilledWorker

    if isinstance(result, tuple) and result and isinstance(result[0], type):
        result = result[1]  # the form of exceptions in some versions of Dask
    if isinstance(result, KilledWorker):
        return None, [Failure("every worker that ran it died, most likely for lack of memory")] * n_items
    if isinstance(result, CancelledError):
        found = "the Dask scheduler went away"
        raise InputError([Problem("--scheduler", 0, "", found, "run the same command again")]) from None
    if isinstance(result, BaseException):
        return None, [_failure(result)] * n_items
    return result  # type: ignore[no-any-return]


def _outcome(function: Callable[[T], R], item: T) -> R | Failure:
    """Call the function; an exception becomes a Failure."""
    try:
        return function(item)
    except Exception as error:
        return _failure(error)


def _failure(error: BaseException) -> Failure:
    text = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
    return Failure(text[:MAX_REASON_LENGTH])


def _in_process(
    function: Callable[[T], R], items: Sequence[T], deadline_s: float | None, done: Callable[[], None]
) -> list[R]:
    """Work in this process as long as the estimated total is within the deadline; returns the results so far."""
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


def _in_workers(client: Client, function: Callable[[T], R], items: Sequence[T], done: Callable[[], None]) -> list[R]:
    """Work in workers; the first exception ends it."""
    from distributed import KilledWorker, as_completed

    futures = client.map(function, items, pure=False)
    try:
        for future in as_completed(futures, loop=client.loop):
            future.result()
            done()
        return [future.result() for future in futures]
    except KilledWorker:
        found = "workers died repeatedly, most likely for lack of memory"
        raise InputError([Problem("--jobs", 0, "", found, "expected fewer at once")]) from None
    finally:
        client.cancel(futures, force=True)


@contextmanager
def _client(n_workers: int, scheduler: str | None) -> Iterator[Client]:
    """A client of a scheduler, or of own workers that end with it."""
    from distributed import Client

    if scheduler is not None:
        try:
            client = Client(scheduler, timeout="5s", set_as_default=False)
        except (OSError, ValueError) as error:
            found = f"no Dask scheduler at {scheduler[:80]}: {str(error).splitlines()[0][:80]}"
            raise InputError(
                [Problem("--scheduler", 0, "", found, "expected an address such as tcp://host:8786")]
            ) from None
        with client:
            _require_workers(client, scheduler)
            yield client
        return
    with cluster(n_workers) as own, Client(own, set_as_default=False) as client:
        yield client


@contextmanager
def cluster(n_workers: int) -> Iterator[LocalCluster]:
    """A scheduler in this process with workers, which end with the context."""
    import dask
    from distributed import LocalCluster

    options: dict[str, Any] = {"n_workers": n_workers, "threads_per_worker": 1, "memory_limit": 0}
    with (
        tempfile.TemporaryDirectory(prefix="simcluster-") as scratch,
        dask.config.set(QUIET),
        LocalCluster(
            **options, dashboard_address="127.0.0.1:0", local_directory=scratch, silence_logs=logging.CRITICAL
        ) as own,
    ):
        yield own


def _require_workers(client: Client, scheduler: str) -> None:
    """Require that a scheduler has workers, or gets some soon; otherwise tasks would wait forever."""
    try:
        client.wait_for_workers(1, timeout=WAIT_FOR_WORKERS_S)
    except TimeoutError:
        found = f"no worker at the Dask scheduler {scheduler[:80]} after {WAIT_FOR_WORKERS_S:.0f} s"
        raise InputError([Problem("--scheduler", 0, "", found, "start one with `dask worker ADDRESS`")]) from None
