"""
Error rates of `simcluster compare`: false alarms without a change, and misses with one.

    python benchmarks/verdicts.py unchanged    400 comparisons of a scenario with itself, in other worlds
    python benchmarks/verdicts.py straggler    100 comparisons each with a device that is 5 % and 0.1 % slower

Both exit with 1 if a property promised in docs/compare.md does not hold.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from simcluster.comparison.comparison import Comparison, compare_sides
from simcluster.comparison.judge import log_ratios
from simcluster.comparison.side import Side
from simcluster.comparison.worlds import scenario_side, simulate_worlds
from simcluster.scenario.gates import Gate, default_gates
from simcluster.scenario.load import load
from simcluster.scenario.resolved import Scenario
from simcluster.workers.pool import each

SCENARIO = """
title: A small chat
model: llama-3.1-8b
topology: h100-8
deployment: {tensor_parallel_size: RANKS}
workload:
  arrivals: {kind: poisson, rate: 20 req/s}
  prompt_tokens: {kind: lognormal, median: 64, p99: 256}
  output_tokens: {kind: uniform, low: 4, high: 12}
  requests: 10
noise: {preset: datacenter, without: [op_jitter, small_messages], rare_stalls: {every: 1 s, exponent: 1.2, shortest: 1 ms, longest: 50 ms}}
"""  # noqa: E501
N_WORLDS = 20
LEVEL = 0.01
FAMILY = 0.05
STEP = 10_000
"""Distance between the first seeds of comparisons, so that no worlds are shared."""


class Unchanged(NamedTuple):
    """One comparison of a scenario with itself in other worlds."""

    p_values: dict[str, float]
    """One-sided p values by metric, of no change for the worse."""
    fails: bool
    """Whether any of twelve gates with threshold 0 fails at the level of the family."""
    fails_with_margins: bool
    """Whether any gate with its default threshold fails."""


def scenario(ranks: int, *settings: str) -> Scenario:
    """The scenario with tensor parallelism over `ranks`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "small-chat.yaml"
        path.write_text(SCENARIO.replace("RANKS", str(ranks)), encoding="utf-8")
        return load(path, settings)


def played(one: Scenario, first_seed: int) -> Side:
    """A side in twenty worlds."""
    return simulate_worlds([scenario_side(one.model_copy(update={"seed": first_seed}), "")], N_WORLDS, jobs=1)[0]


def unchanged(task: tuple[Scenario, int]) -> Unchanged:
    """Compare a scenario with itself in other worlds, treated as the same worlds."""
    from scipy.stats import ttest_1samp

    one, number = task
    base = played(one, number * STEP)
    other = replace(played(one, number * STEP + STEP // 2), world=base.world)
    gates = [replace(gate, threshold=math.copysign(0.0, gate.threshold)) for gate in default_gates()]
    p_values = {}
    for gate in gates:
        ratios = log_ratios(base.values(gate.metric), other.values(gate.metric))
        assert ratios is not None
        worse = "greater" if gate.fails == ">" else "less"
        p_values[gate.metric] = float(ttest_1samp(ratios, 0.0, alternative=worse).pvalue)
    return Unchanged(p_values, _fails(base, other, gates), _fails(base, other, default_gates()))


def _fails(base: Side, other: Side, gates: Sequence[Gate]) -> bool:
    return compare_sides(base, [other], gates, FAMILY).verdict == "FAIL"


def straggler(task: tuple[Sequence[Scenario], int]) -> list[Comparison]:
    """Compare the first scenario with each of the others in the same worlds."""
    scenarios, number = task
    base, *others = [played(one, number * STEP) for one in scenarios]
    return [compare_sides(base, [other], default_gates(), FAMILY) for other in others]


def report_unchanged(n: int, jobs: int | None) -> bool:
    """Print the rate of false alarms; returns whether all promises hold."""
    from scipy.stats import binom, kstest

    found = each(unchanged, [(scenario(1), number) for number in range(n)], jobs)
    most = int(binom.ppf(0.999, n, LEVEL))
    print(f"{n} comparisons of unchanged code in other worlds, {N_WORLDS} worlds a side, no threshold")
    print(f"{'metric':<20}{f'rejected at {LEVEL:g}':>18}{'uniform p (KS)':>18}")
    holds = True
    for metric in found[0].p_values:
        values = [one.p_values[metric] for one in found]
        rejected = sum(value < LEVEL for value in values)
        uniform = float(kstest(values, "uniform").pvalue)
        holds &= rejected <= most and uniform > 0.001
        print(f"{metric:<20}{rejected:>18}{uniform:>18.3f}")
    alarms, with_margins = sum(one.fails for one in found), sum(one.fails_with_margins for one in found)
    allowed = int(binom.ppf(0.999, n, FAMILY))
    print(f"at most {most} rejections are expected of each, 999 times in 1,000")
    print(f"any of the twelve fails, alpha {FAMILY:g}: {alarms} of {n} ({100 * alarms / n:.1f} %)")
    print(f"with the default thresholds: {with_margins} of {n} ({100 * with_margins / n:.1f} %)")
    return holds and alarms <= allowed and with_margins <= alarms


CASES: tuple[tuple[str, str, float, str, str], ...] = (
    ("gpu1, 5 % slower", "gpu1", 1.05, "FAIL", "wait_for_peers"),
    ("gpu0, 5 % slower", "gpu0", 1.05, "FAIL", "weight_fetch"),
    ("gpu1, 0.1 % slower", "gpu1", 1.001, "PASS", "wait_for_peers"),
)
"""Planted slowdowns: the device, the factor, the correct verdict on ITL p50, and the cause."""


def report_straggler(n: int, jobs: int | None) -> bool:
    """Print how often a slow device is detected with its cause; returns whether all promises hold."""
    slow = [
        scenario(2, f"events=[{{kind: device_slow, device: {device}, times_slower: {factor}, at: 0 s}}]")
        for _, device, factor, _, _ in CASES
    ]
    # The base has an event without effect, so that both are simulated in the same way.
    same = scenario(2, "events=[{kind: device_slow, device: gpu7, times_slower: 2, at: 0 s}]")
    found = each(straggler, [([same, *slow], number) for number in range(n)], jobs)
    print(f"{n} comparisons each of two ranks, one of them slower, {N_WORLDS} worlds, default gates")
    print(
        f"{'planted':<20}{'ITL p50':>10}{'right verdict':>15}{'right cause':>21}{'surely':>8}{'any gate fails':>16}"
    )
    holds = True
    for case, (what, _, _, verdict, cause) in enumerate(CASES):
        rows = [next(row for row in one[case].candidates[0].rows if row.metric == "median_itl_ms") for one in found]
        mean = sum(row.change or 0.0 for row in rows) / n
        right = sum(row.verdict == verdict for row in rows)
        right_rows = [row for row in rows if next(iter(row.causes.parts), "") == cause]
        named, surely = len(right_rows), sum(not row.causes.rivals for row in right_rows)
        fails = sum(one[case].verdict == "FAIL" for one in found)
        holds &= right >= (0.95 if verdict == "FAIL" else 0.9) * n and named == n
        print(
            f"{what:<20}{100 * mean:>+9.2f}%{f'{right} {verdict}':>15}{f'{named} {cause}':>21}{surely:>8}{fails:>16}"
        )
    return holds


def main(arguments: Sequence[str]) -> int:
    """Run the chosen benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["unchanged", "straggler"])
    parser.add_argument("-n", type=int, help="comparisons")
    parser.add_argument("--jobs", type=int)
    given = parser.parse_args(arguments)
    report, n = (report_unchanged, 400) if given.what == "unchanged" else (report_straggler, 100)
    return 0 if report(given.n or n, given.jobs) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
