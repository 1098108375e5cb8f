"""Fit the collectives of three NVLink generations together, and judge them on the sizes that were not fitted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from simcluster.calibrate.constants.collective_lines import FREE, SHARES, lines
from simcluster.calibrate.constants.collective_tables import SYSTEMS, Exchanges, exchanges, sends
from simcluster.calibrate.constants.points import errors, judged, median_and_p90
from simcluster.calibrate.constants.search import Constants, search
from simcluster.calibrate.constants.yaml_text import percent
from simcluster.catalog.calibration.collectives import Collective, CollectiveFit, Fabric, Launch
from simcluster.costs.collectives import COLLECTIVES, line_of
from simcluster.numerics.arrays import Floats

Group = tuple[Collective, str, Launch]
GROUPS: tuple[Group, ...] = (
    ("all_reduce", "nccl", "graph"), ("all_gather", "nccl", "graph"), ("reduce_scatter", "nccl", "graph"),
    ("all_to_all", "nccl", "graph"), ("all_reduce", "custom", "graph"), ("all_reduce", "custom", "eager"),
    ("send", "nccl", "graph"),
)  # fmt: skip
"""Measured combinations of collective, library and mode."""

TITLES = {
    "nvlink3": "NVLink 3 through NVSwitch, HGX A100",
    "nvlink4": "NVLink 4 through NVSwitch, HGX H100 and H200",
    "nvlink5": "NVLink 5 through NVSwitch, HGX B200 and GB200 NVL72",
}
SOURCES = {
    "aic": {"title": "NVIDIA aiconfigurator-core 0.12.0, measured collective tables (Apache-2.0)",
            "url": "https://github.com/ai-dynamo/aiconfigurator", "read": "2026-11-23"},
    "vidur": {"title": "microsoft/vidur profiling data, NCCL on DGX H100 and A100 (MIT)",
              "url": "https://github.com/microsoft/vidur", "read": "2026-11-23"},
}  # fmt: skip

Lines = Mapping[Collective, Sequence[CollectiveFit]]
Points = Mapping[tuple[str, Group], Exchanges]


def measured(folder: Path) -> dict[tuple[str, Group], Exchanges]:
    """Read all tables, by link and group."""
    found = {}
    for link in SYSTEMS:
        for group in GROUPS:
            points = sends(folder, link) if group[0] == "send" else exchanges(folder, link, *group)
            if points is not None:
                found[link, group] = points
    return found


def fit(points: Points) -> Constants:
    """Find the free constants with the least error on the fitted half of the points; all tables weigh the same."""
    half = {key: some.half(True) for key, some in points.items()}
    weights = np.concatenate([np.full(len(some.seconds), 1 / len(some.seconds)) for some in half.values()])
    measured_s = np.concatenate([some.seconds for some in half.values()])

    def durations_s(found: Constants) -> Floats:
        by_link = {link: lines(link, found) for link in SYSTEMS}
        return np.concatenate([_fastest_s(by_link[link], group, some) for (link, group), some in half.items()])

    return search(durations_s, measured_s, FREE, dict.fromkeys(SHARES, 1.0), weights=weights)


def file(link: str, found: Constants, points: Points) -> dict[str, Any]:
    """Make the calibration file of a link as data: its lines, their errors where they were fitted, and residuals."""
    by_collective = lines(link, found)
    own = {group: some for (of, group), some in points.items() if of == link}
    rows: dict[str, Any] = {
        collective: [_row(line, *_used(by_collective, collective, line, own)) for line in some]
        for collective, some in by_collective.items()
    }
    residuals = []
    for group, some in own.items():
        other = some.half(False)
        median, p90 = median_and_p90(errors(_fastest_s(by_collective, group, other), other.seconds))
        residuals.append({
            "collective": group[0], "algorithm": group[1], "launch": group[2], "points": len(other.seconds),
            "median_error": percent(median), "p90_error": percent(p90), "source": _source(group[0], link),
        })  # fmt: skip
    for row in rows["send"]:
        row["source"] = _source("send", link)
    sources = {name: of for name, of in SOURCES.items() if name == "aic" or link != "nvlink5"}
    return {"link": link, "title": TITLES[link], "sources": sources, **rows, "residuals": residuals}


def judge(fabric: Fabric, points: Points) -> Iterator[dict[str, Any]]:
    """Judge the shipped lines on the sizes that were not fitted: a row for each collective, library and mode."""
    by_collective: Lines = {collective: getattr(fabric, collective) for collective in COLLECTIVES}
    for (link, group), some in points.items():
        if link == fabric.name:
            other = some.half(False)
            relative = errors(_fastest_s(by_collective, group, other), other.seconds)
            yield {"link": link, **dict(zip(("collective", "library", "launch"), group, strict=True)),
                   **judged(relative)}  # fmt: skip


def _source(collective: Collective, link: str) -> str:
    return "vidur" if collective == "send" and link != "nvlink5" else "aic"


def _used(by_collective: Lines, collective: Collective, line: CollectiveFit, own: Mapping[Group, Exchanges]) -> Any:
    """Find the errors on those fitted points of a line's own table for which it is the fastest."""
    for group, some in own.items():
        if group[:2] == (collective, line.library) and group[2] in line.launch and line.status == "fitted":
            half = some.half(True)
            usable = _usable(by_collective, group)
            times = np.array([_times_s(other, collective, half) for other in usable])
            mine = times.argmin(axis=0) == usable.index(line)
            return errors(times.min(axis=0), half.seconds)[mine], True
    return np.array([]), False


def _row(line: CollectiveFit, relative: Floats, is_measured: bool) -> dict[str, Any]:
    """Write a line with units; one that is not the fastest for any measured size follows from the others."""
    row: dict[str, Any] = {
        "algorithm": line.algorithm, "library": line.library, "launch": list(line.launch),
        "fixed": f"{line.fixed_s * 1e6:.4g} us", "step": f"{line.step_s * 1e6:.4g} us",
        "bandwidth": f"{line.bytes_per_s / 1e9:.4g} GB/s",
    }  # fmt: skip
    if line.min_ranks > 2:
        row["min_ranks"] = line.min_ranks
    if line.max_ranks is not None:
        row["max_ranks"] = line.max_ranks
    if len(relative):
        median, p90 = median_and_p90(relative)
        row |= {"status": "fitted", "points": len(relative), "median_error": percent(median),
                "p90_error": percent(p90)}  # fmt: skip
        return row | {"source": line.source, "date": line.date, "note": line.note}
    missing = "no measured size takes it" if is_measured else "constants of the other links; not measured here"
    return row | {"status": "scaled", "source": line.source, "date": line.date, "note": line.note or missing}


def _usable(by_collective: Lines, group: Group) -> list[CollectiveFit]:
    """List the lines of a library in a mode, within one node; custom kernels leave large arrays to NCCL."""
    collective, library, launch = group
    return [line for line in by_collective[collective] if launch in line.launch and line.min_ranks <= 8
            and (line.library == library or library == "custom")]  # fmt: skip


def _fastest_s(by_collective: Lines, group: Group, points: Exchanges) -> Floats:
    times = [_times_s(line, group[0], points) for line in _usable(by_collective, group)]
    return np.asarray(np.min(times, axis=0))


def _times_s(fit: CollectiveFit, collective: Collective, points: Exchanges) -> Floats:
    """Time one line at all points; beyond its numbers of ranks it is infinite."""
    found = np.full(len(points.seconds), np.inf)
    for n_ranks in np.unique(points.n_ranks):
        if fit.min_ranks <= n_ranks <= (fit.max_ranks or n_ranks):
            here = points.n_ranks == n_ranks
            found[here] = line_of(COLLECTIVES[collective][fit.algorithm], fit, int(n_ranks)).at(points.n_bytes[here])
    return found
