"""Print comparisons and rankings as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from simcluster.cli.printing import plain_table, print_remarks, wide_console
from simcluster.comparison.comparison import Compared, Comparison, Row
from simcluster.comparison.differences import summarised
from simcluster.comparison.ranking import Ranking
from simcluster.comparison.side import Side
from simcluster.comparison.words import (
    allowed,
    bounds,
    counted,
    figure,
    judged,
    listed,
    percent,
    sentence,
    shown,
    where,
)
from simcluster.scenario.gates import METRICS

if TYPE_CHECKING:
    from rich.console import Console

SHOWN_UNJUDGED = (
    "std_itl_ms",
    "p99.9_itl_ms",
    "p99.9_ttft_ms",
    "request_goodput",
    "slo_attainment",
    "joules_per_output_token",
)
"""Metrics that are shown without a gate."""
WORDS = {"PASS": "ok", "FAIL": "FAIL", "INCONCLUSIVE": "INCONCLUSIVE", None: "(not judged)"}
MAX_REMARKS = 20


def print_comparison(found: Comparison, exit_code: int) -> None:
    """Print a table for each candidate, the components of its changes, and the number of verdicts."""
    console = wide_console()
    for candidate in found.candidates:
        _candidate(console, found, candidate)
        console.print()
    if all(candidate.status == "identical" and not candidate.rows for candidate in found.candidates):
        return
    console.print(f"{sentence(_counts(found))}; exit code {exit_code}", markup=False, soft_wrap=True)
    _remarks(console, (found.base, *(candidate.side for candidate in found.candidates)))


def _candidate(console: Console, found: Comparison, candidate: Compared) -> None:
    base = found.base
    console.print(f"{base.name} → {candidate.side.name}", markup=False, style="bold", soft_wrap=True)
    same = f"{where(base.world)}; {summarised(base, candidate.side)}"
    console.print(same, markup=False, soft_wrap=True)
    if candidate.status == "identical":
        console.print("identical: every trace is the same, to the picosecond", markup=False, soft_wrap=True)
    rows = [row for row in candidate.rows if row.gate is not None or row.metric in SHOWN_UNJUDGED]
    if not rows:
        return
    table = plain_table("", "base", "candidate", "change", "bounds", "fails at", "verdict", "detectable change",
                        "variance reduction")  # fmt: skip
    for row in rows:
        table.add_row(METRICS[row.metric].title, *_cells(row))
    console.print(table)
    for row in rows:
        if row.causes.parts and row.change and (row.verdict in ("FAIL", "INCONCLUSIVE")):
            of = f"{METRICS[row.metric].title} {percent(row.change)} is"
            console.print(f"{of} {listed(row.causes)}", markup=False, soft_wrap=True)


def _cells(row: Row) -> list[str]:
    gate, factor = row.gate, row.variance_reduction
    limit = f"{gate.fails} {allowed(gate)}" if gate is not None else ""
    detectable = figure(row, row.detectable) if gate is not None else ""
    return [
        shown(row.metric, row.base), shown(row.metric, row.candidate), percent(row.change),
        "-" if row.low is None else bounds(row), limit,
        judged(row, WORDS[row.verdict]), detectable,
        "" if factor is None else f"x{factor:.0f}" if factor >= 10 else f"x{factor:.1f}",
    ]  # fmt: skip


def _counts(found: Comparison) -> list[str]:
    """The number of gates with each verdict."""
    totals = {
        verdict: sum(candidate.count(verdict) for candidate in found.candidates)
        for verdict in ("FAIL", "PASS", "INCONCLUSIVE")
    }
    return [
        counted(totals["FAIL"], "regression"), f"{totals['PASS']} ok", f"{totals['INCONCLUSIVE']} inconclusive",
        f"alpha {found.alpha:g} over {counted(found.n_gates, 'gate')}"
        + (f" and {len(found.looks)} looks" if len(found.looks) > 1 else ""),
    ]  # fmt: skip


def print_ranking(found: Ranking, exit_code: int) -> None:
    """Print the systems in order, whether they meet the limits, and how the best compares with the others."""
    console = wide_console()
    metric = METRICS[found.metric]
    heading = f"by {metric.title}, {where(found.sides[0].world)}"
    console.print(heading, markup=False, style="bold", soft_wrap=True)
    limits = [limit.gate for limit in found.limits[0]]
    columns = (f"{METRICS[gate.metric].title}, fails {gate.fails} {allowed(gate)}" for gate in limits)
    table = plain_table("", metric.title, "to the first", "bounds", f"within {100 * found.zone:g} %", *columns)
    best = found.order[0]
    pairs = {(pair.better, pair.other): pair for pair in found.pairs}
    for side in found.order:
        cells = ["", "", "best" if side in found.best else ""]
        if (pair := pairs.get((best, side))) is not None:
            cells = [percent(pair.change), f"{percent(pair.low)} to {percent(pair.high)}", _relation(pair.relation)]
        elif (pair := pairs.get((side, best))) is not None:
            cells = ["", "", "misses a limit"]
        held = [f"{shown(limit.gate.metric, limit.mean)} {WORDS[limit.verdict]}" for limit in found.limits[side]]
        table.add_row(found.sides[side].name, shown(found.metric, found.means[side]), *cells, *held)
    console.print(table)
    console.print()
    names = ", ".join(found.sides[side].name for side in found.best)
    sure = {
        "PASS": f"best: {names}",
        "FAIL": "no system meets the limits",
        "INCONCLUSIVE": f"inconclusive: {names or '-'}",
    }
    text = f"{sure[found.verdict]}; alpha {found.alpha:g} over all pairs and limits; exit code {exit_code}"
    console.print(text, markup=False, soft_wrap=True)
    _remarks(console, found.sides)


def _relation(relation: str) -> str:
    return {"better": "no", "as good": "yes", "inconclusive": "inconclusive"}[relation]


def _remarks(console: Console, sides: Sequence[Side]) -> None:
    """Print the remarks of all sides, each once."""
    remarks = dict.fromkeys(remark for side in sides for remark in side.remarks)
    print_remarks(console, list(remarks)[:MAX_REMARKS])
