"""A run as the report needs it: its folder with its scenario, and the fields of its summary that are shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simcluster.files.problems import InputError, Problem, all_or_problems
from simcluster.results.read_run import RunFolder, assumes_zero_spread, read
from simcluster.results.summary_fields import OF_THE_REPORT, summary_faults
from simcluster.scenario.resolved import Scenario

_SAME_VERSION = "expected a run of this version of simcluster; run the scenario again"


@dataclass(frozen=True, eq=False)
class ReportedRun:
    """One run and its scenario."""

    run: RunFolder
    scenario: Scenario

    @property
    def summary(self) -> dict[str, Any]:
        """The summary in the run folder."""
        return self.run.summary

    @property
    def zero_is_assumed(self) -> bool:
        """Whether its devices are assumed to have no noise."""
        return assumes_zero_spread(self.summary)


def read_all(folders: Iterable[str | Path]) -> list[ReportedRun]:
    """
    Read run folders with their scenarios.

    Raises:
        InputError: with the faults of all: not a run folder, unfinished, damaged, files of different runs.
    """
    return all_or_problems(_read, map(Path, folders))


def _read(folder: Path) -> ReportedRun:
    run = read(folder)
    faults = summary_faults(run.summary, OF_THE_REPORT)
    problems = [Problem(str(folder / "summary.json"), 0, *fault, _SAME_VERSION) for fault in faults]
    if problems:
        raise InputError(problems)
    return ReportedRun(run, run.recorded_scenario())


def assumed_places(runs: Sequence[ReportedRun]) -> tuple[int, ...]:
    """Places of the runs whose devices are assumed to have no noise."""
    return tuple(place for place, run in enumerate(runs) if run.zero_is_assumed)
