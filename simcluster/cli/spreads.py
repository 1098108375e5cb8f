"""Print several explanations side by side: which latency spreads most, from what, and what is assumed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from simcluster.cli.printing import percent, plain_table, print_remarks, wide_console
from simcluster.files.units import number
from simcluster.results.metrics import LATENCIES

if TYPE_CHECKING:
    from simcluster.variance.explanation import Explanation, LatencyExplanation

MAX_COMPONENTS = 3


def print_spreads(explained: Sequence[Explanation], latency: str = "itl") -> None:
    """Print the spread of one latency of several runs, the widest first, then the assumptions of each."""
    console = wide_console()
    title, latencies = LATENCIES[latency], [one.latencies[latency] for one in explained]
    spread = [(one.scenario, found) for one in explained if (found := one.latencies[latency]) is not None]
    for place, (scenario, found) in enumerate(sorted(spread, key=lambda pair: -pair[1].std_ms)):
        causes = ", ".join(_largest(found.variance_shares))
        word = "widest" if place == 0 else "then"
        console.print(f"{word}: {scenario}, {title} std {number(found.std_ms, 'ms')}: {causes}", markup=False)
    console.print()
    table = plain_table(title, *(one.scenario for one in explained))
    table.add_row("tokens" if latency == "itl" else "requests", *(f"{one.n if one else 0:,}" for one in latencies))
    table.add_row("mean", *(number(one.mean_ms if one else None, "ms") for one in latencies))
    table.add_row("std", *(number(one.std_ms if one else None, "ms") for one in latencies))
    for name in _components([found for _, found in spread]):
        shares = [((one and one.variance_shares) or {}).get(name) for one in latencies]
        tails = [((one and one.tail_shares["p99"]) or {}).get(name) for one in latencies]
        table.add_row(name, *(f"{percent(s)} ({percent(t)})" for s, t in zip(shares, tails, strict=True)))
    console.print(table)
    console.print("components: share of the variance (of the tail beyond p99)", markup=False)
    for one in explained:
        console.print()
        console.print(f"{one.scenario}, noise {one.noise}:", markup=False, style="bold", soft_wrap=True)
        print_remarks(console, one.assumptions)


def _components(latencies: Sequence[LatencyExplanation]) -> list[str]:
    """Components with at least a thousandth of some run's variance, in the order of the trace."""
    shares = [one.variance_shares or {} for one in latencies]
    return [name for name in (shares[0] if shares else {}) if any(abs(s.get(name, 0)) >= 1e-3 for s in shares)]


def _largest(shares: dict[str, float] | None) -> list[str]:
    """The components with the largest shares, above one percent."""
    ranked = sorted((shares or {}).items(), key=lambda item: -item[1])[:MAX_COMPONENTS]
    return [f"{name} {share:.0%}" for name, share in ranked if share >= 0.01] or ["nothing"]
