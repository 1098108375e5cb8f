"""
Simulated figures without noise beside published ones, and the range in which each must lie.

    python docs/examples/plausibility.py
"""
# ruff: noqa: T201

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from simcluster import load, simulate


@cache
def summary(scenario: str) -> dict[str, Any]:
    """The summary of a scenario that comes with simcluster, simulated without noise."""
    return simulate(load(scenario, ["noise=none"])).summary


def tokens_per_s(summary: dict[str, Any]) -> float:
    """Speed that one user sees while tokens come."""
    return 1000 / float(summary["mean_tpot_ms"])


def first_token_ms(summary: dict[str, Any]) -> float:
    """Time to first token."""
    return float(summary["median_ttft_ms"])


class Case(NamedTuple):
    """One figure and the range that published ones leave it."""

    what: str
    scenario: str
    measure: Callable[[dict[str, Any]], float]
    low: float
    high: float
    published: str

    def simulated(self) -> float:
        """What simcluster makes of it."""
        return self.measure(summary(self.scenario))


CASES = (
    Case("GPT-3 175B, 8 x H100, tokens/s", "gpt3-175b-8xh100", tokens_per_s, 45, 57, "51-57 from measured kernels"),
    Case("GPT-3 175B, 8 x H100, TTFT ms", "gpt3-175b-8xh100", first_token_ms, 85, 140, "27 at 128, 205 at 2,048"),
    Case("Llama-3.1-70B, 4 x WSE-3, tokens/s", "llama-3.1-70b-4xwse3", tokens_per_s, 300, 700, "450"),
    Case("Llama-3.1-8B, 1 x WSE-3, tokens/s", "llama-3.1-8b-1xwse3", tokens_per_s, 1200, 2700, "1,800"),
    Case("GPT-3 175B, streamed, tokens/s", "gpt3-175b-memoryx-streaming", tokens_per_s, 0, 0.43, "150 GB/s / 349 GB"),
)


def main() -> None:
    """Print the table."""
    print(f"{'':36}{'simulated':>10}  {'range':>13}  published")
    for case in CASES:
        print(f"{case.what:36}{case.simulated():10.4g}  {case.low:>6g}-{case.high:<6g}  {case.published}")


if __name__ == "__main__":
    main()
