"""Print several explanations side by side: which latency spreads most, from what, and what is assumed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from simcluster.cli.printing import percent, plain_table, print_remarks, wide_console
from simcluster.files.units import number
from simcluster.results.metrics import LATENCIES

MAX_COMPONENTS = 3


def print_spreads(explained: Sequence[dict[str, Any]], latency: str = "itl") -> None:
    """Print the spread of one latency of several runs, the widest first, then the assumptions of each."""
    console = wide_console()
    title = LATENCIES[latency]
    spread = [one for one in explained if one[latency]["n"] and one[latency]["std_ms"] is not None]
    for place, one in enumerate(sorted(spread, key=lambda one: -one[latency]["std_ms"])):
        found = one[latency]
        causes = ", ".join(_largest(found["variance_shares"]))
        word = "widest" if place == 0 else "then"
        console.print(
            f"{word}: {one['scenario']}, {title} std {number(found['std_ms'], 'ms')}: {causes}", markup=False
        )
    console.print()
    table = plain_table(title, *(one["scenario"] for one in explained))
    table.add_row("tokens" if latency == "itl" else "requests", *(f"{one[latency]['n']:,}" for one in explained))
    table.add_row("mean", *(number(one[latency]["mean_ms"], "ms") for one in explained))
    table.add_row("std", *(number(one[latency]["std_ms"], "ms") for one in explained))
    for name in _components(spread, latency):
        shares = [(one[latency]["variance_shares"] or {}).get(name) for one in explained]
        tails = [(one[latency]["tail_shares"]["p99"] or {}).get(name) for one in explained]
        table.add_row(name, *(f"{percent(s)} ({percent(t)})" for s, t in zip(shares, tails, strict=True)))
    console.print(table)
    console.print("components: share of the variance (of the tail beyond p99)", markup=False)
    for one in explained:
        console.print()
        console.print(f"{one['scenario']}, noise {one['noise']}:", markup=False, style="bold", soft_wrap=True)
        print_remarks(console, one["assumptions"])


def _components(explained: Sequence[dict[str, Any]], latency: str) -> list[str]:
    """Components with at least a thousandth of some run's variance, in the order of the trace."""
    shares = [one[latency]["variance_shares"] or {} for one in explained]
    return [name for name in (shares[0] if shares else {}) if any(abs(s.get(name, 0)) >= 1e-3 for s in shares)]


def _largest(shares: dict[str, float] | None) -> list[str]:
    """The components with the largest shares, above one percent."""
    ranked = sorted((shares or {}).items(), key=lambda item: -item[1])[:MAX_COMPONENTS]
    return [f"{name} {share:.0%}" for name, share in ranked if share >= 0.01] or ["nothing"]
