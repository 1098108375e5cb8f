"""
Speed of simcluster and other simulators on the same workload, as ratios in the same run.

    python benchmarks/others.py [--python vidur=PATH ...] [--requests 1000 10000] [--runs 3] [--limit-s 600]

The workload is that of `scenarios/benchmark/llama-2-70b-tp8-10k.yaml`: Llama-2-70B on eight H100, or the nearest
equivalent in each simulator. Simulators are searched in this environment, or in that of the interpreter given. One
that is not installed, fails or takes too long is listed with the reason. `others/run_*.py` run each of them.

All times are CPU seconds, user and system, and medians over the runs. The whole process is measured by the system
from start to end; importing, simulating and writing are measured inside it. A ratio does not mean that two simulators
compute the same: the list below the tables describes what each does and leaves out.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml
from speed import this_machine

HERE = Path(__file__).resolve().parent
SCENARIO = HERE.parent / "scenarios/benchmark/llama-2-70b-tp8-10k.yaml"

NAMES = ("sched-sim", "vidur", "vllm-sr-sim", "kavier", "simcluster")
"""Distributions on PyPI; the script of each is `others/run_NAME.py`."""

VERSION = "import sys, importlib.metadata as metadata; print(metadata.version(sys.argv[1]))"

SPEEDS = (
    *("simulator", "requests", "process, tokens/CPU s", "x simcluster"),
    *("simulating, tokens/CPU s", "x simcluster", "timeouts/token", "of numpy"),
)
COSTS = (
    *("simulator", "requests", "import s", "simulate s", "write s", "process s"),
    *("peak MB", "events", "events/token"),
)


def work_of(scenario: Path) -> list[str]:
    """Prompt tokens, output tokens and requests per second of a scenario, as the scripts take them."""
    workload = yaml.safe_load(scenario.read_text(encoding="utf-8"))["workload"]
    rate, unit = workload["arrivals"]["rate"].split()
    assert unit == "req/s", f"{scenario}: rate in {unit}"
    return [str(workload["prompt_tokens"]["value"]), str(workload["output_tokens"]["value"]), rate]


def installed(python: str, name: str) -> bool:
    """Whether an interpreter finds a distribution."""
    return subprocess.run([python, "-c", VERSION, name], capture_output=True).returncode == 0


def children_cpu_s() -> float:
    """CPU seconds of all finished children, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def once(python: str, name: str, requests: int, limit_s: float) -> dict[str, Any]:
    """The result of one run of a script, with `process_s`; or `failed`, its last line of error."""
    script = HERE / "others" / f"run_{name.replace('-', '_')}.py"
    before_s = children_cpu_s()
    with tempfile.TemporaryDirectory() as folder:
        command = [python, str(script), str(requests), *work_of(SCENARIO), folder]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with subprocess.Popen(command, text=True, cwd=folder, start_new_session=True, **pipes) as process:
            try:
                out, error = process.communicate(timeout=limit_s)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                return {"failed": f"takes more than {limit_s:g} s"}
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                raise
    if process.returncode:
        return {"failed": (error.strip().splitlines() or [f"exit code {process.returncode}"])[-1]}
    return {**json.loads(out.strip().splitlines()[-1]), "process_s": children_cpu_s() - before_s}


def measure(python: str, name: str, requests: int, runs: int, limit_s: float) -> dict[str, Any]:
    """Medians over the runs; the first failure instead, if there is one."""
    result: list[dict[str, Any]] = []
    for _ in range(runs):
        result.append(once(python, name, requests, limit_s))
        if "failed" in result[-1]:
            return result[-1]
    measured = ("import_s", "simulate_s", "write_s", "process_s", "peak_mb")
    return {**result[0], **{key: statistics.median(run[key] for run in result) for key in measured}}


def speeds(result: dict[str, Any], reference: dict[str, Any], timeouts_per_s: float, rows_per_s: float) -> list[str]:
    """A line of the table of ratios; `reference` is simcluster at the same work, or nothing."""

    def tokens_per_s(result: dict[str, Any], key: str) -> float:
        return result["output_tokens"] / result[key]

    def both(key: str) -> list[str]:
        per_s = tokens_per_s(result, key)
        return [f"{per_s:,.0f}", f"{per_s / tokens_per_s(reference, key):.3g}" if reference else "-"]

    per_s = tokens_per_s(result, "simulate_s")
    return [*both("process_s"), *both("simulate_s"), f"{timeouts_per_s / per_s:.3g}", f"{per_s / rows_per_s:.2%}"]


def costs(result: dict[str, Any]) -> list[str]:
    """A line of the table of seconds, memory and events."""
    seconds = (f"{result[key]:.2f}" for key in ("import_s", "simulate_s", "write_s", "process_s"))
    events = result["events"]
    counts = ["-", "-"] if events is None else [f"{events:,}", f"{events / result['output_tokens']:.3f}"]
    return [*seconds, f"{result['peak_mb']:,.0f}", *counts]


def table(columns: tuple[str, ...], rows: list[list[str]]) -> str:
    """Markdown."""
    lines = [list(columns), ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def pythons(given: list[str]) -> dict[str, str]:
    """The interpreter for each simulator."""
    chosen = dict.fromkeys(NAMES, sys.executable)
    for entry in given:
        name, equals, path = entry.partition("=")
        if name not in chosen or not equals:
            raise SystemExit(f"--python {entry}: expected NAME=PATH, with a NAME of {', '.join(NAMES)}")
        # Not resolved: an interpreter of a virtual environment is a link, identified by its path.
        python = Path(path).expanduser().absolute()
        if not python.is_file():
            raise SystemExit(f"--python {entry}: no file; expected the path of an interpreter")
        chosen[name] = str(python)
    return chosen


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument(
        "--python", action="append", default=[], metavar="NAME=PATH", help="interpreter for one of them"
    )
    parser.add_argument("--requests", type=int, nargs="+", default=[1000, 10000])
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--limit-s", type=float, default=600, help="wall seconds for one run")
    options = parser.parse_args()
    chosen = pythons(options.python)
    timeouts_per_s, rows_per_s = this_machine(options.runs)
    measured: list[dict[str, Any]] = []
    remarks: list[str] = []
    for name in (name for name in NAMES if name in options.only):
        if not installed(chosen[name], name):
            remarks.append(f"{name}: not installed")
            continue
        for requests in options.requests:
            print(f"{name}, {requests:,} requests ...", file=sys.stderr, flush=True)
            result = measure(chosen[name], name, requests, options.runs, options.limit_s)
            if "failed" in result:
                remarks.append(f"{name}, {requests:,} requests, failed: {result['failed']}")
            else:
                measured.append(result)
    references = {result["requests"]: result for result in measured if result["name"] == "simcluster"}
    labels = [[f"{result['name']} {result['version']}", f"{result['requests']:,}"] for result in measured]
    ratios = [
        speeds(result, references.get(result["requests"], {}), timeouts_per_s, rows_per_s) for result in measured
    ]
    print(table(SPEEDS, [[*label, *ratio] for label, ratio in zip(labels, ratios, strict=True)]))
    print(table(COSTS, [[*label, *costs(result)] for label, result in zip(labels, measured, strict=True)]))
    whats = {result["name"]: result["what"] for result in measured}
    for remark in [*(f"{name}: {what}" for name, what in whats.items()), *remarks]:
        print(f"* {remark}")


if __name__ == "__main__":
    main()
