"""Simulate the points of a plan under all seeds, and the rates of a capacity search in sequence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from simcluster.kernel.events import TooManyEvents
from simcluster.results.replications import metrics
from simcluster.results.run import measure
from simcluster.scenario.resolved import Scenario
from simcluster.sweeps.capacity import Bracket, bracket, max_rates, n_met, next_rate
from simcluster.sweeps.plan import Plan, Planned, at_rate, seeded
from simcluster.sweeps.spec import SweepFile
from simcluster.sweeps.store import Result, Store, key_of, origin
from simcluster.workers.pool import Failure, flow

OnProgress = Callable[[int, int], None]
"""Receives the number of finished runs, and the largest number that there can be."""


class Task(NamedTuple):
    """A run to simulate."""

    point: int
    rate: float | None
    scenario: Scenario
    key: str
    origin: str


@dataclass(frozen=True)
class Failed:
    """A run that failed."""

    seed: int
    rate: float | None
    reason: str


@dataclass
class PointResults:
    """The results of a point so far."""

    planned: Planned
    tried: dict[float | None, dict[int, Result]] = field(default_factory=dict)
    """Results by rate and seed; without a search the rate is None."""
    failed: list[Failed] = field(default_factory=list)

    @property
    def status(self) -> str:
        """`infeasible`, `failed` or `ok`."""
        return "infeasible" if self.planned.scenario is None else "failed" if self.failed else "ok"

    def attained(self) -> dict[float, float]:
        """Share of requests that meet every limit, over all seeds, by rate."""
        return {rate: attainment(runs.values()) or 0.0 for rate, runs in self.tried.items() if rate is not None}


def attainment(runs: Iterable[Result]) -> float | None:
    """Share of the requests of several runs that meet every limit; None without limits or requests."""
    counts = [met for run in runs if (met := n_met(run["metrics"])) is not None]
    n_arrived = sum(arrived for _, arrived in counts)
    return sum(met for met, _ in counts) / n_arrived if n_arrived else None


def execute(
    plan: Plan,
    store: Store,
    jobs: int | None = None,
    scheduler: str | None = None,
    progress: OnProgress = lambda *_: None,
) -> list[PointResults]:
    """
    Simulate the runs of a plan that the store lacks; new results are stored as they come.

    Args:
        plan: as read.
        store: results of former runs.
        jobs: as in `workers.each`.
        scheduler: as in `workers.each`.
        progress: called after every run.

    Raises:
        InputError: the address is not that of a Dask scheduler, or the scheduler went away.
    """
    dispatcher = _Dispatcher(plan, store, progress)
    flow(simulate_task, dispatcher.first(), dispatcher.receive, jobs, scheduler)
    return dispatcher.points


class _Dispatcher:
    """Chooses the runs that the points need next, and hands results to the points."""

    def __init__(self, plan: Plan, store: Store, progress: OnProgress) -> None:
        self.points = [PointResults(planned) for planned in plan.points]
        self._sweep, self._store, self._progress = plan.file, store, progress
        self._max_each = self._sweep.seeds * (1 if self._sweep.capacity is None else max_rates(self._sweep.capacity))
        self._n_max, self._n_done = plan.n_feasible * self._max_each, 0
        self._in_flight: dict[str, list[Task]] = {}
        """By key, the tasks that wait for one result: equal scenarios are simulated once."""

    def first(self) -> list[Task]:
        """The runs to begin with."""
        tasks = [task for point in self.points if point.planned.scenario is not None for task in self._next(point)]
        self._progress(self._n_done, self._n_max)
        return tasks

    def receive(self, task: Task, outcome: Result | Failure) -> list[Task]:
        """Store the outcome of a run, and return the runs that follow from it."""
        if not isinstance(outcome, Failure):
            self._store.put(task.key, outcome)
        following = [one for same in self._in_flight.pop(task.key) for one in self._add(same, outcome)]
        self._progress(self._n_done, self._n_max)
        return following

    def _add(self, task: Task, outcome: Result | Failure) -> list[Task]:
        """Add an outcome to its point, and return the runs that the point needs next."""
        point = self.points[task.point]
        if isinstance(outcome, Failure):
            point.failed.append(Failed(task.scenario.seed, task.rate, outcome.reason))
        else:
            point.tried[task.rate][task.scenario.seed] = outcome
        self._n_done += 1
        n_failed = sum(failed.rate == task.rate for failed in point.failed)
        has_all_seeds = len(point.tried[task.rate]) + n_failed == self._sweep.seeds
        return self._next(point) if has_all_seeds else []

    def _next(self, point: PointResults) -> list[Task]:
        """The runs of the next rate that the store lacks; earlier rates are complete."""
        for rate in _rates(self._sweep, point):
            missing = []
            for task in _tasks(self._sweep, point, rate):
                if (known := self._store.get(task.key)) is None:
                    missing.append(task)
                else:
                    point.tried[rate][task.scenario.seed] = known
                    self._n_done += 1
            if missing:
                new = [task for task in missing if task.key not in self._in_flight]
                for task in missing:
                    self._in_flight.setdefault(task.key, []).append(task)
                return new
        self._n_max -= max(0, self._max_each - self._sweep.seeds * len(point.tried))
        return []


def _rates(sweep: SweepFile, point: PointResults) -> Iterator[float | None]:
    """The rates to try next, each depending on the results of those before it; a single None without a search."""
    if sweep.capacity is None:
        if not point.tried:
            yield None
        return
    while not point.failed and (rate := next_rate(sweep.capacity, point.attained())) is not None:
        yield rate


def _tasks(sweep: SweepFile, point: PointResults, rate: float | None) -> Iterator[Task]:
    """The runs of a point at a rate, one per seed."""
    scenario = point.planned.scenario
    assert scenario is not None
    point.tried[rate] = {}
    for seed in range(scenario.seed, scenario.seed + sweep.seeds):
        one = seeded(scenario, seed)
        one = one if rate is None else at_rate(one, rate)
        yield Task(point.planned.point.number, rate, one, key_of(one), origin())


def simulate_task(task: Task) -> Result:
    """
    Simulate a run in a worker, and return what the journal keeps.

    Raises:
        RuntimeError: the worker has other versions of packages than the process that made the task.
        ValueError: the run exceeds a limit of the simulator.
    """
    if task.origin != origin():
        raise RuntimeError(f"a worker with other versions: {origin()} instead of {task.origin}")
    try:
        summary = measure(task.scenario)
    except TooManyEvents as error:
        raise ValueError(f"{error}; use fewer random events, longer intervals between them, or a horizon") from None
    except OverflowError:
        raise ValueError("a run of more than 106 days; use fewer requests, a horizon, or shorter steps") from None
    return {
        "metrics": metrics(summary),
        **{name: summary[name] for name in ("trace_digest", "notes", "assumptions")},
    }


def search_result(sweep: SweepFile, point: PointResults) -> Bracket | None:
    """The bracket that a capacity search found; None without a search."""
    return None if sweep.capacity is None else bracket(sweep.capacity, point.attained())
