"""
Requests of MLPerf's load generator: its exact times of arrival, and every sample equally often.

Times follow from the rate and the seed of the round, which all submissions share: LoadGen 4.1, loadgen/loadgen.cc,
GenerateQueries (mlcommons/inference). At 75 requests a second NVIDIA's mlperf_log_detail.txt has 196,608 queries over
2618.053 s, as this has. The order of the samples is drawn anew, since their lengths are not public.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from simcluster.numerics.arrays import Floats, Integers

SCHEDULE_SEED = 14962580496156340209
"""Seed of round 4.1: schedule_rng_seed of every mlperf_log_summary.txt."""
MIN_DURATION_S = 2400.0
N_SAMPLES = 24_576

Tokens = Integers


def arrivals_s(rate_req_per_s: float) -> Floats:
    """Find arrival times from 0: whole passes over the samples, for at least the minimal duration."""
    n_requests = N_SAMPLES
    while (reached := np.cumsum(_gaps(n_requests)) / rate_req_per_s)[-1] < MIN_DURATION_S:
        n_requests += N_SAMPLES
    return np.concatenate([[0.0], reached[:-1]])


def _gaps(n: int) -> Floats:
    """Draw exponential gaps of mean 1 as libstdc++ does: std::mt19937, two words for a double, -log(1 - u)."""
    words = np.random.MT19937()
    # The seeding of the C++ standard, not NumPy's own; the seed is truncated to a word.
    words._legacy_seeding(SCHEDULE_SEED % 2**32)
    raw = words.random_raw(2 * n).astype(np.float64)
    return np.asarray(-np.log1p(-(raw[0::2] + raw[1::2] * 2.0**32) / 2.0**64))


def passes(lengths: Tokens, n_requests: int) -> Tokens:
    """Repeat every sample once in each pass, each in a new order; lengths (samples, 2) become (requests, 2)."""
    generator = np.random.Generator(np.random.PCG64(0))
    n_passes = n_requests // len(lengths)
    return np.concatenate([generator.permutation(lengths) for _ in range(n_passes)])


def write(file: Path, times_s: Floats, lengths: Tokens) -> None:
    """A trace of requests."""
    rows = zip(np.rint(times_s * 1e9).astype(np.int64).tolist(), lengths.tolist(), strict=True)
    lines = [f"{time_ns},{n_prompt},{n_output}\n" for time_ns, (n_prompt, n_output) in rows]
    file.write_text("arrival_time_ns,input_toks,output_toks\n" + "".join(lines), encoding="utf-8")
