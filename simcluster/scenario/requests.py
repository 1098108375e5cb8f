"""Hold that the requests of a workload can be made, before anything is played."""

from __future__ import annotations

from pathlib import Path as FilePath

import numpy as np

from simcluster.files.problems import InputError
from simcluster.files.source import Document
from simcluster.numerics.ticks import TICKS_PER_S
from simcluster.workload import WorkloadSpec, materialise

_LONGEST_S = 1e7
"""Of any single time: a third of a year."""


def require_requests(document: Document, workload: WorkloadSpec, seed: int) -> None:
    """Hold that the requests can be made, files and all; faults that have no file are told of the document."""
    horizon_s = workload.horizon_s
    if horizon_s is not None and not 1 / TICKS_PER_S <= horizon_s <= _LONGEST_S:
        expected = f"expected from 1 ps to {_LONGEST_S:g} s"
        raise InputError([document.problem(("workload", "horizon"), f"{horizon_s:g} s", expected)])
    try:
        with np.errstate(over="ignore", divide="ignore"):  # infinite arrivals are refused by their own words
            materialise(workload, seed, FilePath())
    except InputError as error:
        raise InputError(
            document.problem(("workload", problem.path), problem.found, problem.expected)
            if problem.file == "workload"
            else problem
            for problem in error.problems
        ) from None
