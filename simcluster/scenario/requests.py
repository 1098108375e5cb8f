"""The requests of a workload: made once for a scenario, and checked before anything is simulated."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path as FilePath
from typing import Any

import numpy as np

from simcluster.files.problems import InputError
from simcluster.files.source import Document
from simcluster.numerics.streams import Seeds
from simcluster.numerics.ticks import TICKS_PER_S
from simcluster.scenario.resolved import Scenario
from simcluster.scenario.spec import OF_WORKLOAD
from simcluster.workload import Requests, WorkloadSpec, materialise

MAX_TIME_S = 1e7
"""Largest single time: a third of a year."""
MAX_KEPT = 4
"""Workloads whose requests are kept: few, as one of a million requests takes 24 MB."""


def requests_of(scenario: Scenario) -> Requests:
    """
    The requests of a scenario; made when the scenario is loaded, and kept for the simulation.

    Raises:
        InputError: a file of the workload is not usable.
    """
    return _made_once(scenario.workload, scenario.workload_sha256, scenario.seeds)


def require_requests(document: Document, workload: Mapping[str, Any], workload_sha256: str, seeds: Seeds) -> None:
    """
    Check that the requests can be made, files included.

    Args:
        document: for the lines of problems that are of no other file.
        workload: the section, well-formed, with files by absolute path.
        workload_sha256: of these files.
        seeds: of the scenario.

    Raises:
        InputError: with every fault, each at its place.
    """
    horizon_s = WorkloadSpec.model_validate(workload).horizon_s
    if horizon_s is not None and not 1 / TICKS_PER_S <= horizon_s <= MAX_TIME_S:
        expected = f"expected from 1 ps to {MAX_TIME_S:g} s"
        raise InputError([document.problem(("workload", "horizon"), f"{horizon_s:g} s", expected)])
    try:
        with np.errstate(over="ignore", divide="ignore"):  # infinite arrivals have a message of their own
            _made_once(workload, workload_sha256, seeds)
    except InputError as error:
        raise InputError(
            document.problem(("workload", problem.path), problem.found, problem.expected)
            if problem.file == "workload"
            else problem
            for problem in error.problems
        ) from None


def _made_once(workload: Mapping[str, Any], workload_sha256: str, seeds: Seeds) -> Requests:
    """The requests of a workload, keyed by all that they depend on."""
    drawn_from = tuple((source, seeds.of(source)) for source in OF_WORKLOAD)
    return _made(json.dumps(workload), workload_sha256, drawn_from)


@lru_cache(maxsize=MAX_KEPT)
def _made(workload: str, workload_sha256: str, seeds: tuple[tuple[str, int], ...]) -> Requests:
    """Read files again when their digest has changed."""
    spec = WorkloadSpec.model_validate(json.loads(workload))
    return materialise(spec, Seeds(0, dict(seeds)), FilePath())
