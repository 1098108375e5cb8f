"""The workload for every simulator and the report of its costs, shared by the `run_*.py` scripts."""

from __future__ import annotations

import json
import random
import resource
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple


class Work(NamedTuple):
    """Equal requests that arrive as a Poisson process, and an empty folder for output."""

    requests: int
    prompt_tokens: int
    output_tokens: int
    rate_req_per_s: float
    folder: Path


def given() -> Work:
    """The workload on the command line: requests, prompt tokens, output tokens, requests per second, folder."""
    requests, prompt_tokens, output_tokens, rate_req_per_s, folder = sys.argv[1:6]
    return Work(int(requests), int(prompt_tokens), int(output_tokens), float(rate_req_per_s), Path(folder))


def arrivals_s(work: Work) -> list[float]:
    """Poisson arrivals for simulators that accept arrivals; the others draw their own."""
    draw = random.Random(0)
    now_s, arrivals = 0.0, []
    for _ in range(work.requests):
        now_s += draw.expovariate(work.rate_req_per_s)
        arrivals.append(now_s)
    return arrivals


def peak_mb() -> float:
    """Peak memory of this process, from /proc, because `ru_maxrss` may be that of the parent."""
    status = Path("/proc/self/status")
    if status.exists():
        kib = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM")).split()[1]
        return float(kib) / 1024
    kib_or_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kib_or_bytes / (2**20 if sys.platform == "darwin" else 1024)


class Clock:
    """CPU seconds of this process (user and system, all threads) between marks."""

    def __init__(self) -> None:
        self.last_s = time.process_time()

    def lap_s(self) -> float:
        """CPU seconds since the last lap."""
        former_s, self.last_s = self.last_s, time.process_time()
        return self.last_s - former_s


def report(
    name: str, *, output_tokens: int, laps_s: tuple[float, float, float], events: int | None, what: str
) -> None:
    """
    Print the line that the driver reads.

    Args:
        name: of the distribution on PyPI.
        output_tokens: as reported by the simulator, not as requested.
        laps_s: CPU seconds of importing, of simulating (including workload and configuration), of writing.
        events: of the simulator's own queue; None if it has none.
        what: model, devices and differences from the requested workload.
    """
    import_s, simulate_s, write_s = laps_s
    line = {
        "name": name,
        "version": version(name),
        "requests": given().requests,
        "output_tokens": output_tokens,
        "import_s": import_s,
        "simulate_s": simulate_s,
        "write_s": write_s,
        "peak_mb": peak_mb(),
        "events": events,
        "what": what,
    }
    print(json.dumps(line), flush=True)
