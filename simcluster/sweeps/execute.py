"""Play what a plan asks for and the store has not: points under all seeds, rates of a search one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from simcluster.kernel.events import TooManyEvents
from simcluster.results.replications import metrics
from simcluster.results.run import measure
from simcluster.scenario.resolved import Scenario
from simcluster.sweeps.capacity import Bracket, bracket, most_rates, n_met, next_rate
from simcluster.sweeps.plan import Plan, Planned, at_rate, seeded
from simcluster.sweeps.spec import SweepFile
from simcluster.sweeps.store import Result, Store, key_of, origin
from simcluster.workers.pool import Failure, flow

Tell = Callable[[int, int], None]
"""Told how many runs are there, and how many there will be at most."""


class Task(NamedTuple):
    """One run to be made."""

    point: int
    rate: float | None
    scenario: Scenario
    key: str
    origin: str


@dataclass(frozen=True)
class Failed:
    """A run that could not be made."""

    seed: int
    rate: float | None
    reason: str


@dataclass
class Progress:
    """What is known of one point."""

    planned: Planned
    tried: dict[float | None, dict[int, Result]] = field(default_factory=dict)
    """Results by rate and seed; without a search the rate is None."""
    failed: list[Failed] = field(default_factory=list)

    @property
    def status(self) -> str:
        """`impossible`, `failed` or `ok`."""
        return "impossible" if self.planned.scenario is None else "failed" if self.failed else "ok"

    def attained(self) -> dict[float, float]:
        """Shares of requests that meet their limits, under all seeds together, by rate."""
        return {rate: attainment(runs.values()) or 0.0 for rate, runs in self.tried.items() if rate is not None}


def attainment(runs: Iterable[Result]) -> float | None:
    """Share of the requests of some runs that meet every limit; None without limits or without requests."""
    counts = [met for run in runs if (met := n_met(run["metrics"])) is not None]
    n_arrived = sum(arrived for _, arrived in counts)
    return sum(met for met, _ in counts) / n_arrived if n_arrived else None


def execute(
    plan: Plan, store: Store, jobs: int | None = None, scheduler: str | None = None, tell: Tell = lambda *_: None
) -> list[Progress]:
    """
    Play a plan; results that the store has are taken from it, and new ones are put there as they come.

    Args:
        plan: as read.
        store: of former results.
        jobs: as in `workers.each`.
        scheduler: as in `workers.each`.
        tell: called whenever a run is there.

    Raises:
        InputError: there is no scheduler at the address, or it went away.
    """
    points = [Progress(planned) for planned in plan.points]
    sweep = plan.file
    most_each = sweep.seeds * (1 if sweep.capacity is None else most_rates(sweep.capacity))
    n_most, n_done = plan.n_possible * most_each, 0
    on_their_way: dict[str, list[Task]] = {}
    """By key, the runs that wait for the same result: equal scenarios are played once."""

    def then(task: Task, outcome: Result | Failure) -> list[Task]:
        if not isinstance(outcome, Failure):
            store.put(task.key, outcome)
        following = [one for same in on_their_way.pop(task.key) for one in told(same, outcome)]
        tell(n_done, n_most)
        return following

    def told(task: Task, outcome: Result | Failure) -> list[Task]:
        """Tell a point what came of one of its runs; gives the runs that it asks for next."""
        nonlocal n_done
        progress = points[task.point]
        if isinstance(outcome, Failure):
            progress.failed.append(Failed(task.scenario.seed, task.rate, outcome.reason))
        else:
            progress.tried[task.rate][task.scenario.seed] = outcome
        n_done += 1
        return [] if waits(progress, task.rate) else tasks(progress)

    def waits(progress: Progress, rate: float | None) -> bool:
        """Whether other seeds of this rate are still on their way."""
        n_failed = sum(failed.rate == rate for failed in progress.failed)
        return len(progress.tried[rate]) + n_failed < sweep.seeds

    def tasks(progress: Progress) -> list[Task]:
        """The runs of the next rate of which some are missing; those before it are in the store."""
        nonlocal n_done, n_most
        for rate in _rates(sweep, progress):
            missing = []
            for task in _runs(sweep, progress, rate):
                if (known := store.get(task.key)) is None:
                    missing.append(task)
                else:
                    progress.tried[rate][task.scenario.seed] = known
                    n_done += 1
            if missing:
                new = [task for task in missing if task.key not in on_their_way]
                for task in missing:
                    on_their_way.setdefault(task.key, []).append(task)
                return new
        n_most -= max(0, most_each - sweep.seeds * len(progress.tried))
        return []

    first = [task for progress in points if progress.planned.scenario is not None for task in tasks(progress)]
    tell(n_done, n_most)
    flow(played, first, then, jobs, scheduler)
    return points


def _rates(sweep: SweepFile, progress: Progress) -> Iterator[float | None]:
    """The rates of a point that are tried next, each once those before it are known; one None without a search."""
    if sweep.capacity is None:
        if not progress.tried:
            yield None
        return
    while not progress.failed and (rate := next_rate(sweep.capacity, progress.attained())) is not None:
        yield rate


def _runs(sweep: SweepFile, progress: Progress, rate: float | None) -> Iterator[Task]:
    """The runs of a point at a rate, one a seed."""
    scenario = progress.planned.scenario
    assert scenario is not None
    progress.tried[rate] = {}
    for seed in range(scenario.seed, scenario.seed + sweep.seeds):
        one = seeded(scenario, seed)
        one = one if rate is None else at_rate(one, rate)
        yield Task(progress.planned.point.number, rate, one, key_of(one), origin())


def played(task: Task) -> Result:
    """
    A run, for what is kept of it. In a worker, which must have the same versions as whoever asks.

    Raises:
        RuntimeError: it has others.
        ValueError: the run would be beyond all bounds.
    """
    if task.origin != origin():
        raise RuntimeError(f"a worker with other versions: {origin()}, where {task.origin} were asked for")
    try:
        summary = measure(task.scenario)
    except TooManyEvents as error:
        raise ValueError(f"{error}; fewer events at random, longer apart, or a horizon") from None
    except OverflowError:
        raise ValueError("a run of more than 106 days; fewer requests, a horizon, or less time a step") from None
    return {
        "metrics": metrics(summary),
        **{name: summary[name] for name in ("trace_digest", "notes", "assumptions")},
    }


def found(sweep: SweepFile, progress: Progress) -> Bracket | None:
    """What a search found; None without one."""
    return None if sweep.capacity is None else bracket(sweep.capacity, progress.attained())
