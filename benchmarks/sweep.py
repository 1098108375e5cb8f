"""
Overhead of a sweep beyond its simulations, and speed-up by a second worker.

    python benchmarks/sweep.py [--points N] [--requests N]

Simulates N points of a small scenario with different rates: in this process, with one worker, and with two, which are
started before. Each sweep has a separate folder, so that nothing is resumed. It includes everything: reading,
resolving, simulating and storing every point, and writing the table.

Reported are the wall time and the CPU time of all processes, workers and scheduler included, minus the time of the
simulations themselves, which is measured where they run, so that other load on the machine affects both alike. The
first import of a worker is included.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from distributed import Client

from simcluster.scenario.resolved import Scenario
from simcluster.sweeps.plan import read
from simcluster.sweeps.record import record
from simcluster.workers.pool import cluster

SWEEP = """
scenario: base.yaml
set: {{workload.requests: {n_requests}}}
design:
  random:
    points: {n_points}
    ranges: {{workload.arrivals.rate: {{low: 2 req/s, high: 20 req/s}}}}
"""
BASE = """
model: llama-3.1-8b
topology: h100-8
workload:
  requests: 40
  arrivals: {kind: poisson, rate: 8 req/s}
  prompt_tokens: {kind: lognormal, median: 500, p99: 3000}
  output_tokens: {kind: lognormal, median: 120, p99: 600}
noise: datacenter
"""


class Took(NamedTuple):
    """Wall seconds, and CPU seconds of all processes, of the command's process, and within simulations."""

    wall_s: float
    all_s: float
    asking_s: float
    simulating_s: float


def simulated_s() -> float:
    """CPU seconds that a process has spent in simulations of sweeps since the first call."""
    from simcluster.sweeps import execute

    if not hasattr(execute, "spent_s"):
        spent_s, simulate = [0.0], execute.measure

        def timed(scenario: Scenario) -> dict[str, Any]:
            began_s = time.process_time()
            try:
                return simulate(scenario)
            finally:
                spent_s[0] += time.process_time() - began_s

        execute.spent_s, execute.measure = spent_s, timed  # type: ignore[attr-defined]
    return float(execute.spent_s[0])


def here(file: Path) -> Took:
    """A sweep in this process."""
    simulated_before_s = simulated_s()
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    require_all(*record(read(str(file)), file.parent / "here", 1))
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    return Took(wall_s, cpu_s, cpu_s, simulated_s() - simulated_before_s)


def with_workers(file: Path, n_workers: int) -> Took:
    """A sweep with running workers."""
    with cluster(n_workers) as own, Client(own, set_as_default=False) as client:
        simulated_before_s = sum(client.run(simulated_s).values())
        workers_before_s = sum(client.run(time.process_time).values())
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        require_all(*record(read(str(file)), file.parent / f"by-{n_workers}", None, own.scheduler_address))
        wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
        all_s = cpu_s + sum(client.run(time.process_time).values()) - workers_before_s
        return Took(wall_s, all_s, cpu_s, sum(client.run(simulated_s).values()) - simulated_before_s)


def require_all(summary: dict[str, dict[str, int]], rows: list[object]) -> None:
    """Check that every point was simulated."""
    assert summary["points"]["ok"] == summary["points"]["all"] == len(rows)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=1000)
    parser.add_argument("--requests", type=int, default=40)
    asked = parser.parse_args()
    n = asked.points
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "all.yaml"
        (file.parent / "base.yaml").write_text(BASE)
        file.write_text(SWEEP.format(n_points=n, n_requests=asked.requests))
        print(f"{n} points of {asked.requests} requests, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        print(f"{'':22}{'wall s':>8}{'points/s':>10}   CPU ms per point: simulating, overhead, of which command")
        one = here(file)
        show("sweep in one process", one._replace(asking_s=one.all_s - one.simulating_s), n)
        took = [with_workers(file, n_workers) for n_workers in (1, 2)]
        for n_workers, one in zip((1, 2), took, strict=True):
            show(f"sweep, {n_workers} worker{'s' if n_workers > 1 else ''}", one, n)
        print(f"two workers: {took[0].wall_s / took[1].wall_s:.2f} times as many points per second as one")
        print(f"load {os.getloadavg()[0]:.1f} at the end")


def show(name: str, took: Took, n_points: int) -> None:
    """Print a line of the table."""
    _, all_ms, asking_ms, simulating_ms = (seconds / n_points * 1e3 for seconds in took)
    print(
        f"{name:22}{took.wall_s:8.1f}{n_points / took.wall_s:10.1f}"
        f"{simulating_ms:29.1f}{all_ms - simulating_ms:8.1f}{asking_ms:10.1f}"
    )


if __name__ == "__main__":
    main()
