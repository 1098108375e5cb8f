"""Arrival processes against renewal theory."""

from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter
from scipy import stats

from simcluster.numerics.arrays import Floats
from simcluster.numerics.streams import stream, uniforms
from simcluster.workload.arrivals import ARRIVALS, Arrivals

N = 100_000
ADAPTER: TypeAdapter[Any] = TypeAdapter(Arrivals)


def arrivals(n: int = N, seed: int = 1, **spec: Any) -> Floats:
    """Arrival times in seconds of n requests."""
    read = ADAPTER.validate_python(spec)
    return ARRIVALS[read.kind](read, uniforms(stream(seed, "test"), n))


def test_every_kind_has_a_function() -> None:
    """Each kind a scenario may name can be drawn."""
    kinds = {member.model_fields["kind"].annotation.__args__[0] for member in Arrivals.__args__[0].__args__}
    assert set(ARRIVALS) == kinds


def test_deterministic_is_exact() -> None:
    """At 4 req/s the k-th request arrives at exactly k/4 s."""
    assert [0.25, 0.5, 0.75, 1.0] == arrivals(4, kind="deterministic", rate="4 req/s").tolist()


def test_closed_and_single_start_at_once() -> None:
    """Closed loops and single requests all arrive at 0."""
    assert [0.0] == arrivals(1, kind="single").tolist()
    assert [0.0] * 5 == arrivals(5, kind="closed", concurrency=2).tolist()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_poisson_gaps_are_exponential(seed: int) -> None:
    """Poisson gaps have mean 1/rate within 4 standard errors and pass KS for the exponential at p > 0.001."""
    gaps = np.diff(arrivals(seed=seed, kind="poisson", rate="4 req/s"), prepend=0.0)
    assert abs(gaps.mean() - 0.25) < 4 * 0.25 / np.sqrt(N)
    assert stats.kstest(gaps, stats.expon(scale=0.25).cdf).pvalue > 0.001


def test_poisson_counts() -> None:
    """Numbers of Poisson arrivals in windows of 1 s have variance equal to their mean, within 4 standard errors."""
    times = arrivals(kind="poisson", rate="10 req/s")
    counts = np.histogram(times, bins=np.arange(0, np.floor(times[-1])))[0]
    dispersion = counts.var(ddof=1) / counts.mean()
    assert abs(dispersion - 1) < 4 * np.sqrt(2 / (len(counts) - 1))


def test_poisson_gaps_do_not_remember() -> None:
    """Successive Poisson gaps correlate by less than 4 standard errors."""
    gaps = np.diff(arrivals(kind="poisson", rate="4 req/s"))
    assert abs(np.corrcoef(gaps[1:], gaps[:-1])[0, 1]) < 4 / np.sqrt(N)


def test_poisson_is_not_stretched() -> None:
    """Over 400 seeds the time of the 100th Poisson request has the variance n/rate², within 4 standard errors."""
    last = np.array([arrivals(100, seed, kind="poisson", rate="1 req/s")[-1] for seed in range(400)])
    # The last arrival is Erlang(100): its variance estimate has relative error sqrt((2 + 6/100) / 400).
    assert abs(last.var(ddof=1) / 100 - 1) < 4 * np.sqrt((2 + 6 / 100) / 400)


@pytest.mark.parametrize("burstiness", [0.1, 0.5, 1.0, 4.0])
def test_gamma_gaps(burstiness: float) -> None:
    """
    Gamma gaps have shape `burstiness` and mean 1/rate: KS at p > 0.001, CV² within 4 standard errors of 1/shape.

    KS looks at gaps above 10 ns: those of bursts can be shorter than what differences of times of hours resolve.
    """
    gaps = np.diff(arrivals(kind="gamma", rate="4 req/s", burstiness=burstiness), prepend=0.0)
    theory = stats.gamma(burstiness, scale=0.25 / burstiness)
    n_short = np.count_nonzero(gaps <= 1e-8)
    share = theory.cdf(1e-8)
    assert abs(n_short - N * share) <= 4 * np.sqrt(N * share * (1 - share))
    above = stats.kstest(gaps[gaps > 1e-8], lambda gap: (theory.cdf(gap) - share) / (1 - share))
    assert above.pvalue > 0.001
    # Delta method for the squared CV of a gamma of shape a: n·variance = 2(1 + 1/a)/a².
    error = np.sqrt(2 * (1 + 1 / burstiness) / N) / burstiness
    assert abs((gaps.std() / gaps.mean()) ** 2 - 1 / burstiness) < 4 * error


@pytest.mark.parametrize("burstiness", [0.001, 0.006, 0.5, 1.0, 1e6])
@pytest.mark.parametrize("n", [1, 2, 7, 1000])
def test_gamma_ends_at_n_over_rate(burstiness: float, n: int) -> None:
    """However bursty, the last gamma request arrives at exactly n/rate and none goes back in time."""
    times = arrivals(n, kind="gamma", rate="8 req/s", burstiness=burstiness)
    assert n / 8 == times[-1]
    assert np.all(np.diff(times, prepend=0.0) >= 0)


def test_gamma_of_burstiness_1_is_poisson_stretched() -> None:
    """With burstiness 1 and the same uniforms, gamma arrivals are the Poisson ones times one factor."""
    poisson = arrivals(1000, kind="poisson", rate="8 req/s")
    gamma = arrivals(1000, kind="gamma", rate="8 req/s", burstiness=1)
    np.testing.assert_allclose(gamma, poisson / poisson[-1] * 125.0, rtol=1e-9)
