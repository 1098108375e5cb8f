"""MLPerf's load: its times of arrival, its samples, and how fast an Offline run is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from simcluster.calibrate.runs.loadgen import MIN_DURATION_S, N_SAMPLES, arrivals_s, passes, write
from simcluster.calibrate.runs.mlperf import MAX_TOKENS, samples, steady_tokens_per_s
from simcluster.numerics.ticks import TICKS_PER_S
from simcluster.workload.traces import read_trace


def test_times_are_those_of_the_published_log() -> None:
    """NVIDIA's mlperf_log_detail.txt: 196,608 queries, and the next would have come at 2618.053073638 s."""
    times_s = arrivals_s(75.0)

    assert len(times_s) == 196_608
    assert times_s[0] == 0.0
    assert 2618.053073638 - 5 / 75 < times_s[-1] < 2618.053073638


@pytest.mark.parametrize(("rate", "scheduled"), [(75.0, 75.10), (82.24, 82.37)])
def test_scheduled_rates_are_those_of_the_published_logs(rate: float, scheduled: float) -> None:
    """'Scheduled samples per second' of Google's and of Supermicro's mlperf_log_summary.txt."""
    times_s = arrivals_s(rate)

    assert times_s[-1] >= MIN_DURATION_S
    assert len(times_s) % N_SAMPLES == 0
    assert round(len(times_s) / times_s[-1], 2) == scheduled


def test_every_pass_has_every_sample_once() -> None:
    """In an order of its own."""
    lengths = np.arange(12, dtype=np.int64).reshape(6, 2)
    first, second = np.split(passes(lengths, 12), 2)

    assert sorted(first.tolist()) == sorted(second.tolist()) == lengths.tolist()
    assert first.tolist() != second.tolist()


@pytest.mark.parametrize("mean", [290.1, 292.1])
def test_answers_have_the_mean_of_the_submission(mean: float) -> None:
    """To half a token, none longer than the benchmark allows."""
    lengths = samples(mean)

    assert lengths.shape == (N_SAMPLES, 2)
    assert lengths[:, 1].mean() == pytest.approx(mean, abs=0.5)
    assert lengths.min() >= 1
    assert lengths.max() == MAX_TOKENS


def test_the_end_of_an_offline_run_does_not_count() -> None:
    """80 samples a second until all but the last tenth are done, and then 20."""
    n, rate = 72_000, 80.0
    until_s = 0.9 * n / rate
    whole_s = until_s + 0.1 * n / 20
    row = {
        "completed_samples_per_s": str(n / whole_s), "completed_tokens_per_s": str(300 * n / whole_s),
        "lat_max_ms": str(whole_s * 1e3), "lat_p50_ms": str(0.5 * n / rate * 1e3), "lat_p90_ms": str(until_s * 1e3),
    }  # fmt: skip

    assert steady_tokens_per_s(row) == pytest.approx(rate * 300)


def test_a_load_is_read_back(tmp_path: Path) -> None:
    """The trace holds what was written, to a nanosecond."""
    times_s, lengths = np.array([0.0, 0.25, 0.250000001]), np.array([[3, 5], [1, 1], [1024, 7]], dtype=np.int64)
    write(tmp_path / "requests.csv", times_s, lengths)
    trace = read_trace(tmp_path / "requests.csv", "lengths")

    assert np.column_stack([trace.prompt_tokens, trace.output_tokens]).tolist() == lengths.tolist()
    assert (trace.arrival_ticks / TICKS_PER_S).tolist() == pytest.approx(times_s.tolist(), abs=1e-12)
