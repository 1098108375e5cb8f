"""A run as the report needs it: its folder and its scenario, held against each other."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simcluster.files.problems import InputError, Problem, all_or_problems, shown
from simcluster.results.metrics import LATENCIES, PERCENTILES
from simcluster.results.read_run import RunFolder, assumes_zero_spread, read
from simcluster.scenario.resolved import Scenario

STATISTICS = ("mean", "median", "std", *(f"p{percentile:g}" for percentile in PERCENTILES if percentile != 50))
"""What a summary has of each latency."""

_LATENCIES = tuple(f"{statistic}_{name}_ms" for name in LATENCIES for statistic in STATISTICS)
_NUMBERS = (
    "devices", "total_input_tokens", "total_output_tokens", "request_throughput", "output_throughput",
    "total_token_throughput", "preemptions", "power_w", "kv_blocks",
)  # fmt: skip
_NUMBERS_OR_NONE = ("request_goodput", "joules_per_output_token", *_LATENCIES)
_COUNTS = ("failures", "dropped_trace_rows")
_SAME = "expected a run of this version of simcluster; run the scenario again"


@dataclass(frozen=True, eq=False)
class Told:
    """One run and its scenario."""

    run: RunFolder
    scenario: Scenario

    @property
    def summary(self) -> dict[str, Any]:
        """As the run folder has it."""
        return self.run.summary

    @property
    def zero_is_assumed(self) -> bool:
        """Whether its spread is of devices whose noise is assumed to be zero."""
        return assumes_zero_spread(self.summary)


def read_all(folders: Iterable[str | Path]) -> list[Told]:
    """
    Read run folders with their scenarios.

    Raises:
        InputError: with what is wrong with any of them: no run, not finished, damaged, files of different runs.
    """
    return all_or_problems(_read, map(Path, folders))


def _read(folder: Path) -> Told:
    run = read(folder)
    problems = [Problem(str(folder / "summary.json"), 0, *fault, _SAME) for fault in _faults(run.summary)]
    if problems:
        raise InputError(problems)
    return Told(run, run.recorded_scenario())


def _faults(summary: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What the report shows and a summary lacks or has of another kind: its key, and what was found."""
    for name in (*_NUMBERS, *_NUMBERS_OR_NONE, *_COUNTS, "notes"):
        value = summary.get(name)
        if name == "kv_blocks" and "pools" in summary:
            continue  # a text, with those of each pool
        if name not in summary:
            yield name, "missing"
        elif not (
            _are_counts(value)
            if name in _COUNTS
            else _are_texts(value)
            if name == "notes"
            else _is_number(value) or (value is None and name in _NUMBERS_OR_NONE)
        ):
            yield name, shown(value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _are_counts(value: object) -> bool:
    return isinstance(value, dict) and all(_is_number(count) for count in value.values())


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def assumed_places(runs: Sequence[Told]) -> tuple[int, ...]:
    """Places of the runs whose spread lacks an unmeasured noise."""
    return tuple(place for place, run in enumerate(runs) if run.zero_is_assumed)
