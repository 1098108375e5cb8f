"""Data for the figures of runs, read in one pass over the tokens of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np

from simcluster.numerics.arrays import Floats, Integers
from simcluster.numerics.ticks import TICKS_PER_S
from simcluster.plots.tally import MAX_POINTS, Series, Tally
from simcluster.results.metrics import TICKS_PER_MS, are_finished, latencies_ms
from simcluster.results.read_run import RunFolder
from simcluster.trace.columns import COMPONENT_COLUMNS

MAX_LABEL_LENGTH = 96
_READ = ("token", "replica", "step", "batch_size", "emitted_at_ticks", *COMPONENT_COLUMNS)


@dataclass(frozen=True, eq=False)
class PlotData:
    """The data of a run for its figures; latencies in ms."""

    label: str
    summary: dict[str, Any]
    n_requests: int
    latencies: dict[str, Tally]
    """Distributions of ttft, tpot and itl."""
    itl_over_time: Series
    ttft_over_time: Series
    batch_over_time: Series
    """One value for every step that made a token."""
    batch_extent: tuple[int, int]
    """Smallest and largest batch; (0, 0) without tokens."""
    waiting: tuple[Floats, Integers]
    """Times in seconds at which the number of waiting requests changes, and the number from then on."""
    end_s: float
    """End of the longest run drawn."""


def plot_data(runs: Sequence[RunFolder]) -> list[PlotData]:
    """Read the data of each run; all series are binned alike, depending on the total number of points."""
    names = labels(runs)
    n_gaps = sum(run.n_tokens for run in runs)
    n_requests = sum(len(run.requests["request"]) for run in runs)
    end_s = max((_end_s(run) for run in runs), default=0.0)
    return [
        _of_run(run, name, end_s, many_tokens=n_gaps > MAX_POINTS, many_requests=n_requests > MAX_POINTS)
        for run, name in zip(runs, names, strict=True)
    ]


def _end_s(run: RunFolder) -> float:
    return max(float(run.summary["duration"]), run.end_ticks / TICKS_PER_S)


def _of_run(run: RunFolder, label: str, end_s: float, *, many_tokens: bool, many_requests: bool) -> PlotData:
    itl_over_time, batch_over_time = Series(end_s, is_binned=many_tokens), Series(end_s, is_binned=many_tokens)
    itl = Tally()
    least, most = 0, 0
    step_before = (-1, -1)
    for block in run.tokens(_READ):
        times_s = block["emitted_at_ticks"] / TICKS_PER_S
        gaps_ms = sum((block[name] for name in COMPONENT_COLUMNS), np.zeros(len(times_s), np.int64)) / TICKS_PER_MS
        later = block["token"] > 0
        itl.add(gaps_ms[later])
        itl_over_time.add(times_s[later], gaps_ms[later])
        batch = block["batch_size"]
        least = min(least or int(batch.min()), int(batch.min()))
        most = max(most, int(batch.max()))
        steps = np.stack([block["replica"], block["step"]], axis=1)
        is_new = np.any(np.diff(steps, axis=0, prepend=[step_before]) != 0, axis=1)
        step_before = tuple(steps[-1])
        batch_over_time.add(times_s[is_new], batch[is_new].astype(np.float64))
    values = latencies_ms(run.requests)
    finished = are_finished(run.requests)
    ttft_over_time = Series(end_s, is_binned=many_requests)
    ttft_over_time.add(run.requests["arrived_at_ticks"][finished] / TICKS_PER_S, values["ttft"])
    latencies = {"ttft": Tally(values["ttft"]), "tpot": Tally(values["tpot"]), "itl": itl}
    return PlotData(
        label, run.summary, len(finished), latencies, itl_over_time, ttft_over_time, batch_over_time, (least, most),
        waiting(run.requests, _end_s(run)), end_s,
    )  # fmt: skip


def waiting(requests: dict[str, Any], end_s: float) -> tuple[Floats, Integers]:
    """
    The number of requests that have arrived and are not scheduled yet, over time.

    Refused requests never wait. A request that was preempted counts as scheduled.

    Returns:
        Times in seconds, ascending from 0 to `end_s`, and the number from each time on.
    """
    accepted = np.array([status != "failed" for status in requests["status"]], dtype=bool)
    arrived, scheduled = (requests[name][accepted] for name in ("arrived_at_ticks", "scheduled_at_ticks"))
    arrived = arrived[(arrived >= 0) & (arrived <= end_s * TICKS_PER_S)]
    scheduled = scheduled[scheduled >= 0]
    ticks = np.concatenate([[0], arrived, scheduled])
    changes = np.concatenate([[0], np.ones(len(arrived), np.int64), np.full(len(scheduled), -1)])
    times, places = np.unique(ticks, return_inverse=True)
    steps = np.zeros(len(times), np.int64)
    np.add.at(steps, places, changes)
    lengths = steps.cumsum()
    return np.append(times / TICKS_PER_S, end_s), np.append(lengths, lengths[-1])


def labels(runs: Sequence[RunFolder]) -> list[str]:
    """A distinct label for each run: its scenario's name, with seed or the end of its path where names repeat."""
    names = [printable(run.summary["scenario"]) for run in runs]
    for distinction in (_seeds, _ends_of_paths):
        often = Counter(names)
        repeated = {name for name, count in often.items() if count > 1}
        for name in repeated:
            places = [place for place, other in enumerate(names) if other == name]
            suffixes = distinction([runs[place] for place in places])
            if len(set(suffixes)) == len(places):
                for place, suffix in zip(places, suffixes, strict=True):
                    names[place] = f"{name} ({suffix})"
    counted: Counter[str] = Counter()
    for place, name in enumerate(names):
        counted[name] += 1
        if counted[name] > 1:
            names[place] = f"{name} (again, {counted[name]})"
    return names


def _seeds(runs: Sequence[RunFolder]) -> list[str]:
    return [f"seed {run.summary['seed']}" for run in runs]


def _ends_of_paths(runs: Sequence[RunFolder]) -> list[str]:
    """The shortest ends of the folders' paths that differ."""
    paths = [run.folder.absolute().parts for run in runs]
    for length in range(1, max(map(len, paths)) + 1):
        ends = [str(PurePath(*path[-length:])) for path in paths]
        if len(set(ends)) == len(ends):
            break
    return [printable(end) for end in ends]


def printable(text: str) -> str:
    """Shorten text to a line of bounded length; the middle of a long one is left out."""
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    half = MAX_LABEL_LENGTH // 2
    return text if len(text) <= MAX_LABEL_LENGTH else f"{text[: half - 1]}…{text[-half:]}"
