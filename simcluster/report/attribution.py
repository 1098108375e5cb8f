"""Where the spread of one run's latencies comes from, as tables, when that has been worked out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simcluster.report.measured import NAMES, text
from simcluster.report.table import Cell, Row, Table
from simcluster.trace import COMPONENTS

Explained = Mapping[str, Any]
"""By latency: `variance_shares` by component, `tail_shares` by percentile and component, `levels` by level; None
where nothing varies. Besides, `notes`: what a reader should know before believing the figures."""

_NOTES = (
    "A share is what a component adds to the variance of the whole: the shares of a column sum to 100 %. One below "
    "zero makes up for others: it is small when the latency is large.",
    "The tail columns say what makes the slowest tokens or requests slower than the mean.",
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
    columns: dict[str, Mapping[str, float]] = {}
    levels: dict[str, Mapping[str, float | None]] = {}
    for name, shown in NAMES.items():
        said = explained.get(name) or {}
        columns |= {f"{shown} variance": shares} if (shares := said.get("variance_shares")) else {}
        for percentile, shares in (said.get("tail_shares") or {}).items():
            columns |= {f"{shown} beyond {percentile}": shares} if shares else {}
        levels |= {shown: shares} if (shares := said.get("levels")) else {}
    tables = []
    if columns:
        components = [name for name in COMPONENTS if any(shares.get(name) for shares in columns.values())]
        rows = [
            Row(name.replace("_", " "), [_share(shares.get(name)) for shares in columns.values()], name)
            for name in components
        ]
        notes = [*_NOTES, *explained.get("notes", ())]
        tables.append(Table("Where the spread comes from", list(columns), rows, notes, assumed))
    if levels:
        names = dict.fromkeys(
            level for shares in levels.values() for level, share in shares.items() if share is not None
        )
        rows = [
            Row(level.replace("_", " "), [_share(shares.get(level)) for shares in levels.values()]) for level in names
        ]
        tables.append(Table("At which level it varies", list(levels), rows, assumed=assumed))
    return tables


def _share(share: float | None) -> Cell:
    return Cell("-") if share is None else Cell(f"{text(round(share * 100, 1))} %", share=max(share, 0.0))
