"""
Fit the straight lines of each collective on each NVLink generation, and judge them on the sizes left out.

Which lines there are (algorithm, library, ranks, whether rounds can be told from the start) is said by the shipped
files, as are the rows that are scaled or assumed; this replaces the constants of rows fitted to the tables, and what
is scaled from them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from simcluster.calibration.collectives import Collective, CollectiveFit, Fabric, Launch
from simcluster.costs.collectives import COLLECTIVES, time_s
from simcluster.costs.gpu import Floats
from simcluster.fitting.collective_tables import Exchanges, exchanges
from simcluster.fitting.points import errors, judged, median_and_p90
from simcluster.fitting.search import rounded, search
from simcluster.fitting.text import percent

START: dict[str, tuple[dict[str, float], ...]] = {
    "one_shot": ({"fixed": 3e-6, "step": 1e-7, "bandwidth": 0.6},),
    "two_shot": ({"fixed": 9e-6, "step": 1e-7, "bandwidth": 0.65},),
    "nvls": ({"fixed": 7e-5, "step": 1e-7, "bandwidth": 0.65},),
    "": ({"fixed": 5e-6, "step": 8e-7, "bandwidth": 0.35}, {"fixed": 2e-5, "step": 5e-7, "bandwidth": 0.7}),
}
"""First guesses by algorithm, or for all others those of their first line and their second; bandwidths as a share of
the link's."""

RINGS: tuple[Collective, ...] = ("all_reduce", "all_gather", "reduce_scatter")
"""An all-reduce around a ring is a reduce-scatter and an all-gather: all three have the same lines."""

GROUPS: tuple[tuple[tuple[Collective, ...], str, Launch], ...] = (
    (RINGS, "nccl", "graph"),
    (("all_to_all",), "nccl", "graph"),
    (("all_reduce",), "custom", "graph"),
    (("all_reduce",), "custom", "eager"),
)
"""In this order: custom kernels hand large arrays on to NCCL."""

Rows = list[dict[str, Any]]


def fit_link(file: dict[str, Any], link_bytes_per_s: float, folder: Path) -> dict[str, Any]:
    """
    The file of a link with its fitted constants found anew.

    Args:
        file: the shipped file as data; it is not changed.
        link_bytes_per_s: rated, of a device in one direction.
        folder: with the collective tables.
    """
    rows: dict[str, Rows] = {name: [dict(row) for row in file[name]] for name in COLLECTIVES}
    residuals: Rows = []
    for names, library, launch in GROUPS:
        own = [row for row in rows[names[0]] if _is_of(row, library, launch)]
        if not own:
            continue
        points = {name: exchanges(folder, file["link"], name, library, launch) for name in names}
        others = [_line(row) for row in rows[names[0]] if library == "custom" and _is_of(row, "nccl", launch)]
        _fit_rows(own, others, {name: some.half(True) for name, some in points.items()}, link_bytes_per_s)
        for name, some in points.items():
            alike = own if name == names[0] else _alike(own, rows[name], library, launch)
            lines = [_line(row) for row in alike] + others
            residuals.append(_residual(lines, name, library, launch, some, alike[0]["source"]))
    for collective in COLLECTIVES:
        _rescale(rows[collective], file[collective])
        _cap(rows[collective])
    kept = [r for r in file.get("residuals", []) if not any(_same(r, found) for found in residuals)
            and r["algorithm"] != "auto" and r.get("n_ranks") is None]  # fmt: skip
    return {**file, **rows, "residuals": residuals + kept}


def judge(fabric: Fabric, folder: Path) -> Iterator[dict[str, Any]]:
    """The shipped lines on the sizes that were not fitted: a row for each collective, library and mode."""
    for collective, library, launch in ((name, *group[1:]) for group in GROUPS for name in group[0]):
        lines = [fit for fit in getattr(fabric, collective) if launch in fit.launch
                 and (fit.library == library or library == "custom")]  # fmt: skip
        points = exchanges(folder, fabric.name, collective, library, launch).half(False)
        if not lines or not len(points.seconds):
            continue
        yield {
            "link": fabric.name, "collective": collective, "library": library, "launch": launch,
            **judged(errors(_fastest_s(lines, collective, points), points.seconds)),
        }  # fmt: skip


def _alike(own: Rows, rows: Rows, library: str, launch: str) -> Rows:
    """The rows of a collective that have the constants of another, by their order; written down there."""
    rings = [row for row in own if row["algorithm"] == "ring"]
    alike = [row for row in rows if _is_of(row, library, launch)]
    for row, ring in zip(alike, rings, strict=True):
        row.update({key: ring[key] for key in ("fixed", "step", "bandwidth", "points", "median_error", "p90_error")})
    return alike


def _fit_rows(
    own: Rows, others: Sequence[CollectiveFit], points: Mapping[Collective, Exchanges], link_bytes_per_s: float
) -> None:
    """Find the constants of these rows, for all the collectives that have them, and write them down."""
    kinds: dict[str, int] = {}
    start: dict[str, float] = {}
    for index, row in enumerate(own):
        guesses = START.get(row["algorithm"], START[""])
        guess = guesses[min(kinds.get(row["algorithm"], 0), len(guesses) - 1)]
        kinds[row["algorithm"]] = kinds.get(row["algorithm"], 0) + 1
        start[f"fixed{index}"] = guess["fixed"]
        if not row["step"].startswith("0 "):
            start[f"step{index}"] = guess["step"]
        start[f"bandwidth{index}"] = guess["bandwidth"] * link_bytes_per_s

    def lines(found: dict[str, float]) -> list[CollectiveFit]:
        return [
            _line(row).model_copy(update={
                "fixed_s": found[f"fixed{i}"], "step_s": found.get(f"step{i}", 0.0),
                "bytes_per_s": found[f"bandwidth{i}"],
            })
            for i, row in enumerate(own)
        ]  # fmt: skip

    most = {name: link_bytes_per_s for name in start if name.startswith("bandwidth")}
    measured_s = np.concatenate([some.seconds for some in points.values()])

    def times_s(some_lines: Sequence[CollectiveFit]) -> Floats:
        columns = [
            [_times_s(line, name, some) if line.algorithm in COLLECTIVES[name] else np.full(len(some.seconds), np.inf)
             for name, some in points.items()]
            for line in some_lines
        ]  # fmt: skip
        return np.array([np.concatenate(column) for column in columns])

    found = search(lambda x: times_s([*lines(x), *others]).min(axis=0), measured_s, start, most, n_starts=8)
    fitted = lines(found)
    times = times_s([*fitted, *others])
    relative = errors(times.min(axis=0), measured_s)
    for index, (row, line) in enumerate(zip(own, fitted, strict=True)):
        used = relative[times.argmin(axis=0) == index]
        row["fixed"], row["step"] = f"{line.fixed_s * 1e6:.4g} us", f"{line.step_s * 1e6:.4g} us"
        row["bandwidth"] = f"{line.bytes_per_s / 1e9:.4g} GB/s"
        median, p90 = median_and_p90(used) if len(used) else (0.0, 0.0)
        row["points"], row["median_error"], row["p90_error"] = max(len(used), 1), percent(median), percent(p90)


def _residual(
    lines: Sequence[CollectiveFit], collective: Collective, library: str, launch: Launch, points: Exchanges,
    source: str,
) -> dict[str, Any]:  # fmt: skip
    """What is left on the sizes that were not fitted."""
    other = points.half(False)
    median, p90 = median_and_p90(errors(_fastest_s(lines, collective, other), other.seconds))
    return {"collective": collective, "algorithm": library, "launch": launch, "points": len(other.seconds),
            "median_error": percent(median), "p90_error": percent(p90), "source": source}  # fmt: skip


def _rescale(rows: Rows, before: Rows) -> None:
    """Eager rows that are the graph's plus an extra: the same extra on what was found now."""
    for row, old in zip(rows, before, strict=True):
        if row["status"] != "scaled" or not row["note"].startswith("graph mode plus"):
            continue
        pairs = [(new, was) for new, was in zip(rows, before, strict=True)
                 if was["status"] == "fitted" and was["algorithm"] == old["algorithm"]
                 and was["library"] == old["library"] and was["bandwidth"] == old["bandwidth"]
                 and was is not old]  # fmt: skip
        for new, was in pairs[:1]:
            extra_us = _us(old["fixed"]) - _us(was["fixed"])
            row["fixed"] = f"{rounded(_us(new['fixed']) + extra_us, 4):.4g} us"
            row["step"], row["bandwidth"] = new["step"], new["bandwidth"]


def _cap(rows: Rows) -> None:
    """Launching one by one gives no bandwidth: eager lines that were fitted apart get at most that of the graph's."""
    for row in rows:
        graph = [_line(other) for other in rows if "graph" in other["launch"] and other["library"] == row["library"]
                 and other["algorithm"] == row["algorithm"] and other["status"] == "fitted"]  # fmt: skip
        if row["launch"] == ["eager"] and graph:
            own = _line(row)
            least_us = max(own.fixed_s, min(line.fixed_s for line in graph)) * 1e6
            most = min(own.bytes_per_s, max(line.bytes_per_s for line in graph)) / 1e9
            row["fixed"], row["bandwidth"] = f"{least_us:.4g} us", f"{most:.4g} GB/s"


def _us(text: str) -> float:
    return float(text.removesuffix(" us"))


def _is_of(row: dict[str, Any], library: str, launch: str) -> bool:
    """A row that this group's table is for: up to eight ranks of one node."""
    return (row["library"] == library and launch in row["launch"] and row["status"] == "fitted"
            and row["source"] == "aic" and row.get("min_ranks", 2) <= 8)  # fmt: skip


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(one[key] == other[key] for key in ("collective", "algorithm", "launch"))


def _line(row: dict[str, Any]) -> CollectiveFit:
    """A row of a file in SI."""
    return CollectiveFit(
        algorithm=row["algorithm"], library=row["library"], launch=tuple(row["launch"]),
        fixed_s=_us(row["fixed"]) * 1e-6, step_s=_us(row["step"]) * 1e-6,
        bytes_per_s=float(row["bandwidth"].removesuffix(" GB/s")) * 1e9, min_ranks=row.get("min_ranks", 2),
        max_ranks=row.get("max_ranks"), status="fitted", points=0, median_error=None, p90_error=None, source="",
        date="", note="",
    )  # fmt: skip


def _fastest_s(lines: Sequence[CollectiveFit], collective: Collective, points: Exchanges) -> Floats:
    return np.asarray(np.min([_times_s(line, collective, points) for line in lines], axis=0))


def _times_s(line: CollectiveFit, collective: Collective, points: Exchanges) -> Floats:
    """One line at all points; beyond its ranks it is never the fastest."""
    found = np.full(len(points.seconds), np.inf)
    for n_ranks in np.unique(points.n_ranks):
        if line.min_ranks <= n_ranks <= (line.max_ranks or n_ranks):
            here = points.n_ranks == n_ranks
            found[here] = time_s(COLLECTIVES[collective][line.algorithm], line, int(n_ranks), points.n_bytes[here])
    return found
