"""Write the timeline of a run folder."""

from __future__ import annotations

from pathlib import Path

from simcluster import __version__
from simcluster.files.atomic_write import atomic_write
from simcluster.files.problems import InputError, Problem
from simcluster.numerics.ticks import TICKS_PER_S, to_ticks
from simcluster.results.read_run import read
from simcluster.timeline.chrome import write
from simcluster.timeline.lanes import events_of
from simcluster.timeline.window import window


def write_timeline(folder: Path, file: Path, from_s: float, to_s: float | None, limit: int) -> str | None:
    """
    Write a run's timeline, replacing an existing file.

    Args:
        folder: of the run.
        file: the file to write.
        from_s: begin of the timeline.
        to_s: end of the timeline; None for the end of the run.
        limit: largest number of slices, about; a longer timeline is cut.

    Returns:
        A notice if the timeline was cut, else None.

    Raises:
        InputError: it is not a run folder, the run ends before `from_s`, its scenario cannot be simulated, or the
            simulation differs from the recorded run.
        OSError: the place cannot be written.
    """
    run = read(folder)
    if from_s > 0 and to_ticks(from_s) >= run.end_ticks:
        expected = f"expected a time before {run.end_ticks / TICKS_PER_S:.6g} s, where the run ends"
        raise InputError([Problem(str(folder), 0, "", f"nothing from {from_s:g} s on", expected)])
    scenario = run.scenario()
    shown = window(run, scenario, to_ticks(from_s), None if to_s is None else to_ticks(to_s), limit)
    events = events_of(run, scenario, shown)
    about = {
        "run": str(run.summary["scenario"]), "seed": run.summary["seed"], "simcluster": __version__,
        "trace_digest": run.summary["trace_digest"], "from_s": from_s, "until_s": shown.until_ticks / TICKS_PER_S,
        "order": "parts of a step lie in the order of the trace's columns, not of time",
    }  # fmt: skip
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(file) as written:
        write(events, written, about)
    if not shown.is_cut:
        return None
    return f"cut at {shown.until_ticks / TICKS_PER_S:.6g} s, after {limit:,} slices"
