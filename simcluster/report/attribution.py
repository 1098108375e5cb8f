"""Where the spread of one run's latencies comes from, as tables, when that has been worked out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from simcluster.files.units import number
from simcluster.report.table import Cell, Row, Table
from simcluster.results.metrics import LATENCIES
from simcluster.trace.columns import COMPONENTS

Explained = Mapping[str, Any]
"""By latency: `variance_shares` by component, `tail_shares` by percentile and component, `levels` by level; None
where nothing varies. Besides, `notes`: what a reader should know before believing the figures; and `replicas`,
`critical_path`, `entities` and `slowest_requests`, as `variance.explain` has them."""

_NOTES = (
    "Variance: what a component adds to the variance of the whole; the shares sum to 100 %. One below zero makes up "
    "for others: it is small when the latency is large.",
    "Beyond a percentile: what makes the slowest so much slower than the mean.",
)


def attribution(explained: Explained | None, zero_is_assumed: bool) -> list[Table]:
    """
    Tables of variance and tail shares of one run, and of the levels at which its latencies vary.

    Args:
        explained: as above; without it there are no tables.
        zero_is_assumed: whether its spread lacks a noise that nobody measured, which is said beside the tables.
    """
    if explained is None:
        return []
    assumed = (0,) if zero_is_assumed else ()
    tables = []
    levels: dict[str, Mapping[str, float | None]] = {}
    for name, shown in LATENCIES.items():
        said = explained.get(name) or {}
        columns = {"variance": said.get("variance_shares")}
        columns |= {f"beyond {percentile}": shares for percentile, shares in (said.get("tail_shares") or {}).items()}
        found = {column: shares for column, shares in columns.items() if shares}
        components = [
            component for component in COMPONENTS if any(shares.get(component) for shares in found.values())
        ]
        rows = [
            Row(component.replace("_", " "), [_share(shares.get(component)) for shares in found.values()], component)
            for component in components
        ]
        if rows:
            tables.append(Table(f"Where the spread of {shown} comes from", list(found), rows, assumed=assumed))
        levels |= {shown: shares} if (shares := said.get("levels")) else {}
    names = dict.fromkeys(level for shares in levels.values() for level, share in shares.items() if share is not None)
    if names:
        rows = [
            Row(level.replace("_", " "), [_share(shares.get(level)) for shares in levels.values()]) for level in names
        ]
        tables.append(Table("At which level it varies", list(levels), rows, assumed=assumed))
    if tables:
        tables[-1] = replace(tables[-1], notes=[*_NOTES, *explained.get("notes", ())])
    return tables


def _share(share: float | None) -> Cell:
    return Cell("-") if share is None else Cell(f"{number(round(share * 100, 1) + 0.0)} %", share=max(share, 0.0))
