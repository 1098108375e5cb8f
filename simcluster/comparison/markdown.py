"""A comparison as GitHub Markdown, for a pull request or a step summary."""

from __future__ import annotations

import re
from collections.abc import Iterator

from simcluster.comparison.comparison import Compared, Comparison, Row
from simcluster.comparison.differences import summarised
from simcluster.comparison.judge import Verdict
from simcluster.comparison.words import allowed, bounds, counted, judged, listed, percent, shown, where
from simcluster.scenario.gates import METRICS

WORDS: dict[Verdict | None, str] = {"PASS": "ok", "FAIL": "**FAIL**", "INCONCLUSIVE": "inconclusive", None: ""}
_ORDER: dict[Verdict | None, int] = {"FAIL": 0, "INCONCLUSIVE": 1, "PASS": 2, None: 3}
_SPECIAL = re.compile(r"([\\`*_\[\]<>#|~&@])")


def markdown(found: Comparison) -> str:
    """For each candidate a heading, a table of gates that fail or are inconclusive, and the rest folded."""
    return "\n".join(line for candidate in found.candidates for line in _candidate(found, candidate)) + "\n"


def _candidate(found: Comparison, candidate: Compared) -> Iterator[str]:
    base = found.base
    word = "identical" if candidate.status == "identical" and not candidate.rows else candidate.verdict.lower()
    yield f"### {escaped(base.name)} → {escaped(candidate.side.name)}: {word}"
    yield ""
    yield escaped(f"{where(base.world)}; {summarised(base, candidate.side)}") + "."
    if candidate.status == "identical":
        yield "Every trace is the same, to the picosecond."
    yield ""
    rows = sorted(candidate.rows, key=lambda row: _ORDER[row.verdict])
    gated = [row for row in rows if row.gate is not None]
    open_ones = [row for row in gated if row.verdict != "PASS"]
    rest = [row for row in rows if row not in open_ones]
    if open_ones:
        yield from _table(open_ones)
    if rest:
        passed = sum(row.verdict == "PASS" for row in rest)
        yield f"<details><summary>{passed} ok, {len(rest) - passed} not judged</summary>"
        yield ""
        yield from _table(rest)
        yield "</details>"
        yield ""
    if gated:
        total = counted(found.n_gates, "gate")
        yield f"False alarms: at most {percent(found.alpha, False)} over {total} of this comparison together."
        yield ""


def _table(rows: list[Row]) -> Iterator[str]:
    yield "| metric | base | candidate | change | bounds | fails at | verdict | components |"
    yield "|---|--:|--:|--:|--:|--:|---|---|"
    for row in rows:
        yield f"| {' | '.join(_cells(row))} |"
    yield ""


def _cells(row: Row) -> list[str]:
    threshold = "" if row.gate is None else allowed(row.gate)
    return [
        METRICS[row.metric].title, shown(row.metric, row.base), shown(row.metric, row.candidate),
        percent(row.change), "" if row.low is None else bounds(row), threshold,
        judged(row, WORDS[row.verdict]),
        listed(row.causes) if row.causes.parts and row.change else "",
    ]  # fmt: skip


def escaped(text: str) -> str:
    """Escape untrusted text, so that none of it is markup."""
    return _SPECIAL.sub(r"\\\1", text.replace("\n", " "))
