"""Simulate a sweep in one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from simcluster.sweeps.plan import read
from simcluster.sweeps.record import record
from simcluster.sweeps.table import Row


@dataclass(frozen=True, eq=False)
class SweepResult:
    """A finished sweep."""

    summary: dict[str, Any]
    """What `sweep.json` holds: counts, the Pareto front, infeasible points and failed runs with their reasons."""
    rows: tuple[Row, ...]
    """One for each point: its settings, `status`, and figures; NaN where a point has none."""

    def table(self) -> Any:
        """The rows as a pandas DataFrame, one for each point."""
        import pandas as pd

        return pd.DataFrame(list(self.rows))


def sweep(
    file: str | Path,
    folder: str | Path | None = None,
    settings: Sequence[str] = (),
    *,
    jobs: int | None = 1,
    scheduler: str | None = None,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> SweepResult:
    """
    Simulate a scenario at every point of a sweep file.

    Args:
        file: a sweep file, or the name of a sweep that comes with simcluster.
        folder: keeps the table, the summary and a journal of finished runs, from which an interrupted sweep resumes;
            None keeps nothing.
        settings: changes of the base scenario, `a.b=c`; not of keys that the design sets.
        jobs: processes at once; see `workers.each`. By default no process is started.
        scheduler: address of a Dask scheduler whose workers simulate the runs instead.
        progress: called with the number of finished runs, and the largest number that there can be.

    Raises:
        InputError: with every fault of the sweep and of its base scenario; or the folder holds something else, or is
            in use by another sweep.
    """
    plan = read(str(file), settings)
    with TemporaryDirectory() as scratch:
        summary, rows = record(plan, Path(folder or scratch), jobs, scheduler, progress)
    return SweepResult(summary, tuple(rows))
