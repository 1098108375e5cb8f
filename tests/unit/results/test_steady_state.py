"""The long run: a planted warm-up is cut off, its interval covers the truth, and what has not settled says so."""

from __future__ import annotations

import numpy as np
import pytest

from simcluster.numerics.streams import stream, uniforms
from simcluster.results.steady_state import describe, mser5, steady


def noise(n: int, name: str) -> np.ndarray:
    """Uniform numbers with mean 0 and variance 1."""
    return (uniforms(stream(1, "steady", name), n) - 0.5) * 12**0.5


def test_warm_up_is_cut() -> None:
    """Of a series that decays from 100 to 10 within some 60 values, at least 30 and at most 200 are left out."""
    series = 10 + 90 * np.exp(-np.arange(2000) / 15) + noise(2000, "decay")
    warm_up = mser5(series)

    assert warm_up is not None
    assert 30 <= warm_up <= 200


def test_a_ramp_has_not_settled() -> None:
    """A queue that grows to the end has no steady state, and the reader is informed."""
    found, notes = describe({"ttft": np.arange(1000.0)})

    assert found["mean_ttft_ms"] is None
    assert ["ttft has not settled within 1,000 requests, so it has no steady state here"] == notes


def test_few_values_have_not_settled() -> None:
    """Fewer than fifty values say nothing of a long run."""
    assert mser5(np.ones(49)) is None


def test_coverage() -> None:
    """The 95 % interval of independent values covers their mean in 95 % of 400 series, to three standard errors."""
    inside = 0
    for number in range(400):
        found = steady(noise(400, f"cover {number}"))
        if found.mean is not None and found.half_width is not None:
            inside += abs(found.mean) <= found.half_width
        else:
            inside += 1  # no claim, no error
    assert 0.95 - 3 * (0.95 * 0.05 / 400) ** 0.5 <= inside / 400


def test_batches_that_go_together_have_no_interval() -> None:
    """A series that wanders slowly gets a mean and no interval."""
    series = noise(4000, "wander")
    for place in range(1, len(series)):
        series[place] += 0.99 * series[place - 1]
    found = steady(series)

    assert found.warm_up is not None
    assert found.half_width is None
    assert found.lag1 is not None
    assert found.lag1 > 0.37


def test_single_server_queue() -> None:
    """The mean time in an M/M/1 queue at half load, 2 service times, lies within three half-widths."""
    n = 40_000
    arrivals = np.cumsum(-2 * np.log(uniforms(stream(2, "arrivals"), n)))
    services = -np.log(uniforms(stream(2, "services"), n))
    ends = np.empty(n)
    last = 0.0
    for number in range(n):
        last = ends[number] = max(last, arrivals[number]) + services[number]
    found = steady(ends - arrivals)

    assert found.mean == pytest.approx(2.0, abs=3 * (found.half_width or 0.0))
