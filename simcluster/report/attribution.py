"""Where the spread of one run's latencies comes from, as tables."""

from __future__ import annotations

from dataclasses import replace

from simcluster.files.units import number
from simcluster.report.table import Cell, Row, Table
from simcluster.results.metrics import LATENCIES
from simcluster.trace.columns import COMPONENTS
from simcluster.variance.explanation import Explanation, LatencyExplanation

_NOTES = (
    "Variance: what a component adds to the variance of the whole; the shares sum to 100 %. One below zero offsets "
    "others: it is small when the latency is large.",
    "Beyond a percentile: what makes the slowest so much slower than the mean.",
)


def attribution(explained: Explanation | None, zero_is_assumed: bool) -> list[Table]:
    """
    Tables of variance and tail shares of one run, and of the levels at which its latencies vary.

    Args:
        explained: without it there are no tables.
        zero_is_assumed: whether its devices are assumed to have no noise, which the tables then say.
    """
    if explained is None:
        return []
    assumed = (0,) if zero_is_assumed else ()
    found = {LATENCIES[name]: one for name, one in explained.latencies.items() if one is not None}
    tables = [table for name, one in found.items() if (table := _components(name, one, assumed)).rows]
    levels = {name: one.levels for name, one in found.items() if one.levels}
    names = dict.fromkeys(level for shares in levels.values() for level, share in shares.items() if share is not None)
    if names:
        rows = [
            Row(level.replace("_", " "), [_share(shares.get(level)) for shares in levels.values()]) for level in names
        ]
        tables.append(Table("At which level it varies", list(levels), rows, assumed=assumed))
    if tables:
        tables[-1] = replace(tables[-1], notes=[*_NOTES, *explained.notes])
    return tables


def _components(name: str, latency: LatencyExplanation, assumed: tuple[int, ...]) -> Table:
    """A row for each component with a share in the variance or in a tail."""
    columns = {"variance": latency.variance_shares}
    columns |= {f"beyond {percentile}": shares for percentile, shares in latency.tail_shares.items()}
    found = {column: shares for column, shares in columns.items() if shares}
    rows = [
        Row(component.replace("_", " "), [_share(shares.get(component)) for shares in found.values()], component)
        for component in COMPONENTS
        if any(shares.get(component) for shares in found.values())
    ]
    return Table(f"Where the spread of {name} comes from", list(found), rows, assumed=assumed)


def _share(share: float | None) -> Cell:
    return Cell("-") if share is None else Cell(f"{number(round(share * 100, 1) + 0.0)} %", share=max(share, 0.0))
