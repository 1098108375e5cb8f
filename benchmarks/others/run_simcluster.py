"""Run the workload with simcluster: Llama-2-70B on eight H100, writing a row per token."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from work import Clock, given, report

clock = Clock()
import simcluster  # noqa: E402
from simcluster.kernel import engine  # noqa: E402
from simcluster.results import run, tables  # noqa: E402, F401

SCENARIO = "benchmark/llama-2-70b-tp8-10k"

work = given()
import_s = clock.lap_s()
in_sinks_s = 0.0
environments: list[Any] = []
play, make = run.play, engine.simpy.Environment


def timed(sink: Callable[[Any], None]) -> Callable[[Any], None]:
    """A sink whose CPU time counts as writing."""

    def call(block: Any) -> None:
        global in_sinks_s
        lap = Clock()
        sink(block)
        in_sinks_s += lap.lap_s()

    return call


def timed_simulate(scenario: Any, sinks: list[Callable[[Any], None]]) -> Any:
    """Simulate, and store the CPU time without the sinks."""
    global play_s
    lap = Clock()
    outcome = play(scenario, [timed(sink) for sink in sinks])
    play_s = lap.lap_s() - in_sinks_s
    return outcome


def counted_environment() -> Any:
    """A SimPy environment whose events can be counted at the end."""
    environments.append(make())
    return environments[-1]


run.play = timed_simulate
engine.simpy.Environment = counted_environment
scenario = simcluster.load(
    SCENARIO,
    [
        f"workload.requests={work.requests}",
        f"workload.arrivals.rate={work.rate_req_per_s} req/s",
        f"workload.prompt_tokens.value={work.prompt_tokens}",
        f"workload.output_tokens.value={work.output_tokens}",
    ],
)
load_s = clock.lap_s()
summary = run.record(scenario, work.folder / "run")
record_s = clock.lap_s()

report(
    "simcluster",
    output_tokens=summary["total_output_tokens"],
    laps_s=(import_s, load_s + play_s, record_s - play_s),
    events=sum(next(environment._eid) for environment in environments),
    what="Llama-2-70B, 8 x H100, TP8; no noise; writes a row per token with its latency in ten components",
)
