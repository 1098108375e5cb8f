"""
Speed of simcluster, as ratios to reference loops of this machine in the same run.

    python benchmarks/speed.py [--runs 3] [--only 1k] [--only 10k]

Every figure is the median over the runs. The simulation proper is timed inside its process, without imports,
resolving and writing; the whole command is the CPU time of `simcluster replay` from start to end, token Parquet
included. Ratios: to bare SimPy timeouts (the number that fits into the time of one simulated token), and to writing
the token rows with numpy alone (the minimum for any simulator with this trace).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

CASES: dict[str, tuple[str, list[str]]] = {
    "1k": ("benchmark/llama-2-70b-tp8-1k", ["noise=none"]),
    "1k, noise": ("benchmark/llama-2-70b-tp8-1k", ["noise=datacenter"]),
    "10k": ("benchmark/llama-2-70b-tp8-10k", ["noise=none"]),
    "10k, noise": ("benchmark/llama-2-70b-tp8-10k", ["noise=datacenter"]),
    "100k": ("benchmark/llama-2-70b-tp8-10k", ["noise=none", "workload.requests=100000"]),
    "100k, queue": (
        "benchmark/llama-2-70b-tp8-10k",
        ["noise=none", "workload.requests=100000", "workload.arrivals.rate=50 req/s"],
    ),
    "50 replicas": ("benchmark/llama-3.1-8b-50xh100", ["noise=none"]),
    "120 wafers": ("gpt4-1.8t-120xwse3", ["noise=none", "workload.output_tokens.value=5000"]),
}
"""Scenario and settings."""

PROPER = """
import json, sys, time
import simcluster
from simcluster.kernel import engine
from simcluster.kernel.simulate import run_scenario
scenario = simcluster.load(sys.argv[1], sys.argv[2:])
environments = []
make = engine.simpy.Environment
engine.simpy.Environment = lambda: environments.append(make()) or environments[-1]
n_tokens = 0
def count(block):
    global n_tokens
    n_tokens += block.shape[1]
started = time.process_time()
run_scenario(scenario, [count])
cpu_s = time.process_time() - started
print(json.dumps({"tokens": n_tokens, "cpu_s": cpu_s, "events": next(environments[0]._eid)}))
"""


def proper(name: str, settings: list[str]) -> dict[str, float]:
    """The simulation alone, in a separate process."""
    command = [sys.executable, "-c", PROPER, name, *settings]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def whole(name: str, settings: list[str]) -> tuple[float, float]:
    """CPU seconds and peak MB of the whole command."""
    with tempfile.TemporaryDirectory() as folder:
        changes = [part for setting in settings for part in ("--set", setting)]
        command = [sys.executable, "-m", "simcluster", "replay", name, *changes, "-o", folder]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def simpy_timeouts_per_s(n: int = 200_000) -> float:
    """Bare timeouts of one process per CPU second."""
    import simpy

    def wait(env):
        for _ in range(n):
            yield env.timeout(1)

    env = simpy.Environment()
    env.process(wait(env))
    started = time.process_time()
    env.run()
    return n / (time.process_time() - started)


def numpy_rows_per_s(n: int = 2_000_000) -> float:
    """Token rows of 16 integers filled from step constants, 24 at a time, per CPU second."""
    import numpy as np

    rows = np.empty((2**15, 16), np.int64)
    step = np.arange(16)
    started = time.process_time()
    for start in range(0, n, 24):
        at = start % (len(rows) - 24)
        rows[at : at + 24] = step
    return n / (time.process_time() - started)


def this_machine(runs: int) -> tuple[float, float]:
    """Bare SimPy timeouts and bare numpy rows per CPU second, medians over the runs; prints them."""
    timeouts = statistics.median(simpy_timeouts_per_s() for _ in range(runs))
    rows = statistics.median(numpy_rows_per_s() for _ in range(runs))
    print(f"bare SimPy {timeouts:,.0f} timeouts/s, bare numpy {rows:,.0f} rows/s (CPU)\n", flush=True)
    return timeouts, rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", choices=list(CASES), action="append")
    options = parser.parse_args()
    timeouts, rows = this_machine(options.runs)
    header = ("case", "tokens", "tokens/CPU s", "events/token", "timeouts/token", "of numpy", "command s", "peak MB")
    print("{:12}{:>12}{:>14}{:>14}{:>16}{:>10}{:>11}{:>9}".format(*header))
    for title in options.only or CASES:
        runs = [proper(*CASES[title]) for _ in range(options.runs)]
        commands = [whole(*CASES[title]) for _ in range(options.runs)]
        tokens = runs[0]["tokens"]
        rate = statistics.median(tokens / run["cpu_s"] for run in runs)
        cpu_s = statistics.median(command[0] for command in commands)
        print(
            f"{title:12}{tokens:>12,}{rate:>14,.0f}{runs[0]['events'] / tokens:>14.4f}{timeouts / rate:>16.2f}"
            f"{rate / rows:>10.1%}{cpu_s:>11.2f}{max(command[1] for command in commands):>9.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
