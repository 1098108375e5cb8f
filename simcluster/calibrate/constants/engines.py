"""
Fit constants that are in no kernel table to half of the served runs: host times, the skew of ranks, clocks under
load.

The hosts of the three engines take the same time for every step, and each its own time for every request in it.

Time per output token is very nearly linear in these constants: a few simulations of every case, one for each
changed constant, give the slopes; the constants with the least mean error are found with these, and simulated
again. Time to first token then determines, in whole steps, how late an engine admits a request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from simcluster.calibrate.constants.points import is_fitted
from simcluster.calibrate.constants.search import rounded
from simcluster.calibrate.runs import deploy
from simcluster.calibrate.runs.cases import Case
from simcluster.calibrate.runs.simulated import Outcome, not_skipped, simulate_all
from simcluster.catalog.calibration.collectives import Fabric
from simcluster.catalog.calibration.engines import skew_s
from simcluster.catalog.calibration.gpu import GpuCalibration
from simcluster.numerics.arrays import Floats
from simcluster.scenario.resolved import Scenario

ENGINES = ("vllm", "trtllm", "sglang")
COMMON = ("host_fixed_s", "collective_skew_s", "sustained_slowdown")
SUSTAINED_FROM = 0.67
"""Share of arithmetic in a layer from which a device slows down: fixed, as runs hardly determine it."""
HOST = ("host_per_sequence_s",)
START = {"host_fixed_s": 5e-4, "host_per_sequence_s": 5e-6, "collective_skew_s": 1e-6, "sustained_slowdown": 0.2}
STEP = {"host_fixed_s": 2e-4, "host_per_sequence_s": 1e-5, "collective_skew_s": 1e-6, "sustained_slowdown": 0.1}
UPPER_BOUNDS = {
    "sustained_slowdown": 0.5, "host_fixed_s": 5e-3, "host_per_sequence_s": 1e-4, "collective_skew_s": 2e-5,
}  # fmt: skip
MAX_CHANGE = {"sustained_slowdown": 0.2}
"""Bound on the change of a constant that is not linear, in one round."""
N_ITERATIONS = 3
WAVES = 3


@dataclass(frozen=True)
class Base:
    """Kernels and collectives that have just been fitted, in place of the shipped ones."""

    gpu: GpuCalibration
    inside: Fabric


@dataclass(frozen=True)
class Constants:
    """Constants of all engines: the host time of each for a request, and the common ones."""

    host: Mapping[str, Mapping[str, float]]
    common: Mapping[str, float]
    lag: Mapping[str, int]
    base: Base | None = None


@dataclass(frozen=True)
class With:
    """Replaces the constants of a scenario; it can be sent to another process."""

    constants: Constants

    def __call__(self, scenario: Scenario) -> Scenario:
        (pool,) = scenario.pools
        engine = pool.engine
        assert engine.calibration is not None and pool.gpu is not None
        name, n_ranks = engine.calibration.name, pool.n_ranks
        common = self.constants.common
        changed = {**self.constants.host[name], "host_fixed_s": common["host_fixed_s"],
                   "admission_lag": self.constants.lag[name],
                   "collective_skew_s": skew_s(common["collective_skew_s"], n_ranks)}  # fmt: skip
        load = {"sustained_slowdown": common["sustained_slowdown"], "sustained_from": SUSTAINED_FROM}
        base, group, gpu = self.constants.base, pool.group, pool.gpu
        if base is not None:
            gpu = base.gpu
            group = None if group is None else group.model_copy(update={"inside": base.inside})
        update = {"engine": engine.model_copy(update=changed), "gpu": gpu.model_copy(update=load), "group": group}
        return scenario.model_copy(update={"pools": (pool.model_copy(update=update),)})


def start(lag: Mapping[str, int], base: Base | None = None) -> Constants:
    """Make the start of the search, independent of the shipped constants."""
    host = {name: {key: START[key] for key in HOST} for name in ENGINES}
    return Constants(host, {key: START[key] for key in COMMON}, lag, base)


def fitted_half(cases: Sequence[Case], fitted: bool = True) -> list[Case]:
    """Select the cases to fit, or the others."""
    chosen = is_fitted([case.id for case in cases]) == fitted
    return [case for case, here in zip(cases, chosen, strict=True) if here]


def usable(cases: Sequence[Case]) -> list[Case]:
    """Select cases with a usable time per token: not runs that queued for an unpublished number of sequences."""
    return [case for case in cases if not case.queueing or case.backend == "sglang"]


@dataclass(frozen=True, eq=False)
class Slopes:
    """Derivatives of every case's logarithm of time per output token, which is nearly linear in the constants."""

    at: Constants
    cases: Sequence[Case]
    engines: npt.NDArray[np.str_]
    measured: Floats
    here: Floats
    of: Mapping[str, Floats]

    def solved(self, kept: npt.NDArray[np.bool_] | None = None) -> Constants:
        """Find the constants with the least mean error on these cases, or on some of them."""
        from scipy.optimize import minimize

        kept = np.ones(len(self.cases), dtype=bool) if kept is None else kept
        columns = self._columns()
        x0 = _scaled(self.at, columns)

        def loss(x: Floats) -> float:
            return float(np.abs(self._predicted(columns, x) - self.measured)[kept].mean())

        best = None
        for index in range(4):
            around = np.random.Generator(np.random.PCG64(index)).normal(0.0, 0.02, len(x0)) if index else 0.0
            options = {"maxiter": 20_000, "maxfev": 20_000, "xatol": 1e-5, "fatol": 1e-7, "adaptive": True}
            found = minimize(loss, x0 + around, method="Nelder-Mead", options=options)
            if best is None or found.fun < best.fun:
                best = found
        assert best is not None
        values = {column: round(rounded(self._allowed(float(value), *column), 2), 8)
                  for column, value in zip(columns, best.x, strict=True)}  # fmt: skip
        host = {name: {key: values.get((name, key), self.at.host[name][key]) for key in HOST} for name in ENGINES}
        return replace(self.at, host=host, common={key: values["", key] for key in COMMON})

    def errors(self, constants: Constants) -> Floats:
        """Predict the relative errors of all cases with other constants."""
        columns = self._columns()
        predicted = self._predicted(columns, _scaled(constants, columns), bounded=False)
        return np.asarray(np.expm1(predicted - self.measured))

    def _columns(self) -> list[tuple[str, str]]:
        return [(name, key) for name in sorted(set(self.engines)) for key in HOST] + [("", key) for key in COMMON]

    def _allowed(self, value: float, name: str, key: str) -> float:
        here, reach = _value(self.at, name, key), MAX_CHANGE.get(key, UPPER_BOUNDS[key])
        return min(max(value * UPPER_BOUNDS[key], 0.0, here - reach), UPPER_BOUNDS[key], here + reach)

    def _predicted(self, columns: Sequence[tuple[str, str]], x: Floats, bounded: bool = True) -> Floats:
        total = self.here.copy()
        for (name, key), value in zip(columns, x, strict=True):
            to = self._allowed(value, name, key) if bounded else value * UPPER_BOUNDS[key]
            own = (self.engines == name) | (name == "")
            total = total + np.where(own, self.of[key] * (to - _value(self.at, name, key)), 0.0)
        return total


def slopes(cases: Sequence[Case], at: Constants, jobs: int = 1) -> Slopes:
    """Simulate all cases, and once more for each constant changed."""
    base = simulate_all(cases, jobs, With(at), max_waves=WAVES)
    kept = not_skipped(base)
    chosen = [outcome.case for outcome in kept]
    here = np.log([outcome.tpot_ms for outcome in kept])
    of: dict[str, Floats] = {}
    for key in (*HOST, *COMMON):
        moved = simulate_all(chosen, jobs, With(_moved(at, key)), max_waves=WAVES)
        of[key] = (np.log([outcome.tpot_ms for outcome in moved]) - here) / STEP[key]
    engines = np.array([engine_of(case) for case in chosen])
    return Slopes(at, chosen, engines, np.log([case.tpot_ms for case in chosen]), here, of)


def fit(
    cases: Sequence[Case], lag: Mapping[str, int], base: Base | None = None, jobs: int = 1
) -> tuple[Constants, Slopes]:
    """
    Find the constants with the least mean error of time per output token on these cases.

    Args:
        cases: the half to fit; those are used that can be simulated and did not wait for admission.
        lag: steps of every engine, see `fit_lag`.
        base: kernels and collectives instead of the shipped ones.
        jobs: processes.

    Returns:
        The constants, and the slopes of the last round.
    """
    chosen, found = usable(cases), start(lag, base)
    for _ in range(N_ITERATIONS):
        last = slopes(chosen, found, jobs)
        found = last.solved()
    return found, last


def left_out(last: Slopes) -> dict[str, tuple[int, float]]:
    """Find for every model the number of its cases, and the median error on them of a fit to all others."""
    result = {}
    for name in sorted({case.model for case in last.cases}):
        own = np.array([case.model == name for case in last.cases])
        errors = last.errors(last.solved(~own))[own]
        result[name] = (int(own.sum()), float(np.median(np.abs(errors))))
    return result


def engine_of(case: Case) -> str:
    """Find the family of a case's serving engine."""
    return deploy.ENGINES[case.backend.lower()]


def _value(at: Constants, name: str, key: str) -> float:
    return at.common[key] if key in at.common else at.host[name][key]


def _scaled(at: Constants, columns: Sequence[tuple[str, str]]) -> Floats:
    """Express constants as shares of their upper bounds."""
    return np.array([_value(at, *column) / UPPER_BOUNDS[column[1]] for column in columns])


def _moved(at: Constants, key: str) -> Constants:
    """Increase one constant by its step, for all engines at once, as every case has only one engine."""
    if key in at.common:
        return replace(at, common={**at.common, key: at.common[key] + STEP[key]})
    host = {name: {**own, key: own[key] + STEP[key]} for name, own in at.host.items()}
    return replace(at, host=host)


def fit_lag(cases: Sequence[Case], found: Constants, jobs: int = 1, most: int = 3) -> Constants:
    """Find the admission lag of every engine with the least mean square of logarithmic errors of first tokens."""
    chosen, lag = usable(cases), dict(found.lag)
    scores: dict[str, list[tuple[float, int]]] = {}
    for steps in range(most + 1):
        trial = replace(found, lag=dict.fromkeys(ENGINES, steps))
        for name, errors in by_engine(simulate_all(chosen, jobs, With(trial)), "ttft_error").items():
            scores.setdefault(name, []).append((float((np.log1p(errors) ** 2).mean()), steps))
    lag.update({name: min(scored)[1] for name, scored in scores.items()})
    return replace(found, lag=lag)


def by_engine(outcomes: Sequence[Outcome], error: str) -> dict[str, Floats]:
    """Collect the relative errors of the simulated cases, by engine."""
    found: dict[str, list[float]] = {}
    for outcome in not_skipped(outcomes):
        found.setdefault(engine_of(outcome.case), []).append(getattr(outcome, error))
    return {name: np.array(errors) for name, errors in found.items()}
