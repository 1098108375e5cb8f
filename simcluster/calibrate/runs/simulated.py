"""Simulate measured runs, in several processes, and compare them with the measurement."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import yaml

from simcluster.calibrate.runs.cases import Case
from simcluster.calibrate.runs.deploy import SIMULATED_WAVES, WAVES, Skipped, settings
from simcluster.files import source
from simcluster.files.problems import InputError
from simcluster.kernel.simulate import run_scenario
from simcluster.results.intervals import is_inside
from simcluster.results.metrics import latencies_ms
from simcluster.scenario.resolved import Scenario
from simcluster.scenario.resolver import Resolver


@dataclass(frozen=True)
class Outcome:
    """A case and its simulated times, or the reason why it was skipped."""

    case: Case
    ttft_ms: float
    tpot_ms: float
    skipped: str = ""
    in_range: bool = True
    """Whether the run is in the range of those that the engine's constants were fitted to."""

    @property
    def ttft_error(self) -> float:
        """Relative error, with sign."""
        return self.ttft_ms / self.case.ttft_ms - 1

    @property
    def tpot_error(self) -> float:
        """Relative error, with sign."""
        return self.tpot_ms / self.case.tpot_ms - 1


Change = Callable[[Scenario], Scenario]


def simulate(case: Case, change: Change | None = None, max_waves: int = SIMULATED_WAVES) -> Outcome:
    """
    Simulate one case.

    Args:
        case: the measured run.
        change: applied to the resolved scenario, such as other constants.
        max_waves: most waves of requests that are simulated.
    """
    try:
        data, n_waves = settings(case, max_waves)
        scenario = resolved(data, case.id)
    except Skipped as reason:
        return Outcome(case, np.nan, np.nan, str(reason))
    except InputError as error:
        problem = error.problems[0]
        return Outcome(case, np.nan, np.nan, f"{problem.found}; {problem.expected}")
    scenario = change(scenario) if change else scenario
    outcome = run_scenario(scenario, [])
    latencies = latencies_ms(outcome.requests)
    concurrency = case.concurrency or 1
    ttft_ms = _mean_of_waves(latencies["ttft"], concurrency, n_waves)
    tpot_ms = _mean_of_waves(latencies["tpot"], concurrency, n_waves) if case.osl > 1 else np.nan
    return Outcome(case, ttft_ms, tpot_ms, in_range=is_inside(scenario))


def resolved(data: Mapping[str, Any], name: str) -> Scenario:
    """Resolve the scenario of some data as if they were in a file."""
    document = source.parse(yaml.safe_dump(dict(data), sort_keys=False), name)
    return Resolver(document, Path(name)).scenario()


def simulate_all(
    cases: Sequence[Case],
    jobs: int = 1,
    change: Change | None = None,
    progress: Callable[[], None] | None = None,
    max_waves: int = SIMULATED_WAVES,
) -> list[Outcome]:
    """Simulate all cases, in order, in `jobs` processes."""
    # Long cases start first, so that none runs alone at the end.
    order = sorted(range(len(cases)), key=lambda index: -(cases[index].concurrency or 0) * cases[index].osl)
    one = partial(simulate, change=change, max_waves=max_waves)
    found = dict(zip(order, in_parallel(one, [cases[index] for index in order], jobs, progress), strict=True))
    return [found[index] for index in range(len(cases))]


Given = TypeVar("Given")
Found = TypeVar("Found")


def in_parallel(
    do: Callable[[Given], Found], given: Sequence[Given], jobs: int, progress: Callable[[], None] | None = None
) -> list[Found]:
    """Apply a function to each item, in order, in `jobs` processes."""
    if jobs <= 1 or len(given) < 2:
        return [_counted(do(one), progress) for one in given]
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        return [_counted(found, progress) for found in pool.map(do, given)]


def _counted(found: Found, progress: Callable[[], None] | None) -> Found:
    if progress is not None:
        progress()
    return found


def _mean_of_waves(values: Any, concurrency: int, n_waves: int) -> float:
    """Average over all waves of the measured run; all middle ones count like those that were simulated."""
    n = len(values)
    if n < concurrency * n_waves or n_waves >= WAVES or n_waves < 3:
        return float(np.mean(values))
    first, last = values[:concurrency], values[-concurrency:]
    middle = values[concurrency:-concurrency]
    return float((first.mean() + (WAVES - 2) * middle.mean() + last.mean()) / WAVES)


def not_skipped(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Select the outcomes of simulated cases."""
    return [outcome for outcome in outcomes if not outcome.skipped]
