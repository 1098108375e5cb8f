"""
What a sweep costs besides its simulations, and what a second worker brings.

    python benchmarks/sweep.py [--points N]

Plays N points of a small scenario, each another rate, and takes the time of: the simulations alone, one after the
other in this process; the sweep in this process; the sweep with one worker and with two. Each sweep has a folder of
its own, so that nothing is taken up. Times are from the first line of the sweep file read to the table written; what
it takes to start the workers is measured with a sweep of one point and told apart.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from simcluster.run import measure
from simcluster.sweep.plan import read
from simcluster.sweep.record import record

SWEEP = """
scenario: base.yaml
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


def timed_s(folder: Path, name: str, jobs: int) -> tuple[float, float]:
    """Seconds on the wall, and of this process on a CPU, for a sweep into a fresh folder."""
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    summary, _ = record(read(str(folder / f"{name}.yaml")), folder / f"{name}-{jobs}", jobs)
    assert summary["points"]["ok"] == summary["points"]["all"]
    return time.perf_counter() - wall_s, time.process_time() - cpu_s


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=1000)
    n_points = parser.parse_args().points
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "base.yaml").write_text(BASE)
        (folder / "all.yaml").write_text(SWEEP.format(n_points=n_points))
        (folder / "one.yaml").write_text(SWEEP.format(n_points=1))
        scenarios = [planned.scenario for planned in read(str(folder / "all.yaml")).points]
        began = time.perf_counter()
        for scenario in scenarios:
            assert scenario is not None
            measure(scenario)
        alone_s = time.perf_counter() - began
        print(f"load of the machine before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        print(f"{n_points} simulations alone: {alone_s:.1f} s, {alone_s / n_points * 1e3:.1f} ms each")
        here_s, _ = timed_s(folder, "all", 1)
        print(f"sweep in one process: {here_s:.1f} s, {(here_s - alone_s) / n_points * 1e3:.1f} ms a point more")
        for n_workers in (1, 2):
            wall_s, cpu_s = with_workers(folder, n_workers)
            each_ms = (wall_s * n_workers - alone_s) / n_points * 1e3
            print(f"sweep with {n_workers} workers: {wall_s:.1f} s, {n_points / wall_s:.1f} points/s; "
                  f"{each_ms:.1f} ms of a worker's time a point more; "
                  f"{cpu_s / n_points * 1e3:.1f} ms a point of CPU in the process that asks")  # fmt: skip


def with_workers(folder: Path, n_workers: int) -> tuple[float, float]:
    """A sweep in a local cluster of so many workers, without the time that the cluster takes to start and end."""
    import logging

    from distributed import Client, LocalCluster

    with LocalCluster(n_workers=n_workers, threads_per_worker=1, dashboard_address="127.0.0.1:0",
                      silence_logs=logging.CRITICAL) as cluster:  # fmt: skip
        with Client(cluster, set_as_default=False) as client:
            client.gather(client.map(_ready, range(8 * n_workers), pure=False))
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        plan = read(str(folder / "all.yaml"))
        record(plan, folder / f"workers-{n_workers}", None, cluster.scheduler_address)
        return time.perf_counter() - wall_s, time.process_time() - cpu_s


def _ready(number: int) -> int:
    """Import in a worker what runs need."""
    import simcluster.sweep.execute

    time.sleep(0.2)
    return number + len(simcluster.sweep.execute.__name__)


if __name__ == "__main__":
    main()
