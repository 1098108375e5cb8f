"""
Variance reduction by common noise worlds: pairs of runs compared with independent runs.

    python docs/examples/pairing.py [SEEDS]

Simulates chat-70b-8xh100 unchanged and with devices that take 2 % longer, once with the same seeds and once with
others, and prints the variance of the difference of logarithms of independent runs over that of pairs.
"""
# ruff: noqa: T201

from __future__ import annotations

import sys

import numpy as np

from simcluster import load, simulate

SLOWER = "events=[{kind: device_slow, node: node0, times_slower: 1.02, at: 0 s}]"


def metrics(seed: int, *changes: str) -> list[float]:
    """Logarithms of the mean ITL and of the p99 TTFT of one run."""
    run = simulate(load("chat-70b-8xh100", ["workload.requests=300", *changes], seed=seed))
    tokens = run.tokens()
    latency_ticks = sum(
        column for name, column in tokens.items() if name.endswith("_ticks") and name != "emitted_at_ticks"
    )
    is_first = tokens["token"] == 0
    return np.log([latency_ticks[~is_first].mean(), np.quantile(latency_ticks[is_first], 0.99)]).tolist()


def gains(n_seeds: int) -> list[float]:
    """Variance between strangers over variance between pairs, of mean ITL and of p99 TTFT."""
    base, slower, strangers = (
        np.array([metrics(seed, *changes) for seed in seeds])
        for seeds, changes in (
            (range(n_seeds), ()),
            (range(n_seeds), (SLOWER,)),
            (range(n_seeds, 2 * n_seeds), (SLOWER,)),
        )
    )
    paired, independent = ((other - base).var(axis=0, ddof=1) for other in (slower, strangers))
    return (independent / paired).tolist()


if __name__ == "__main__":
    for name, gain in zip(
        ("mean ITL", "p99 TTFT"), gains(int(sys.argv[1]) if len(sys.argv) > 1 else 20), strict=True
    ):
        print(f"{name}: pairs are worth {gain:,.0f} times as many runs")
