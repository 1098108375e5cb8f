"""Print the links, stages and standstills that matter most, and the slowest requests, as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simcluster.cli.printing import percent, plain_table
from simcluster.files.units import number
from simcluster.results.metrics import LATENCIES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from simcluster.variance.entities import Entities, Standstill
    from simcluster.variance.slowest import SlowRequest

MAX_ROWS = 5


def print_entities(console: Console, found: Entities) -> None:
    """Print the result of `variance.entities`; empty tables are left out."""
    if found.stages:
        console.print()
        _stages(console, found)
    if found.links:
        console.print()
        _links(console, found)
    if found.standstills:
        console.print()
        _standstills(console, found.standstills)


def _stages(console: Console, found: Entities) -> None:
    columns = ("replica, stage", "slowest of a step", "serves a step for", "after waiting", "busy", "mostly")
    table = plain_table("stage", *columns)
    for one in found.stages[:MAX_ROWS]:
        first, *others = one.devices
        table.add_row(
            f"{first} …" if others else first, f"{one.replica}, {one.stage}", percent(one.slowest_share),
            number(one.mean_ms, "ms"), number(one.wait_ms, "ms"), percent(one.busy_share), one.component,
        )  # fmt: skip
    console.print(table)
    _more(console, len(found.stages), MAX_ROWS)
    console.print(f"the first {found.n_steps:,} steps analysed", markup=False)


def _links(console: Console, found: Entities) -> None:
    has_changed = any(one.changed_share for one in found.links)
    table = plain_table("link", "use of its bandwidth", *(["slow or cut, of the time"] if has_changed else []))
    for one in found.links[:MAX_ROWS]:
        cells = [one.use, *([one.changed_share] if has_changed else [])]
        table.add_row(one.label, *(_fine(share) for share in cells))
    console.print(table)
    _more(console, found.n_links or 0, sum(one.alike for one in found.links[:MAX_ROWS]))


def _standstills(console: Console, found: Sequence[Standstill]) -> None:
    table = plain_table("standing still", "times", "in all", "of the time")
    for one in found[:MAX_ROWS]:
        table.add_row(one.label, f"{one.number:,}", number(one.total_s, "s"), _fine(one.share))
    console.print(table)
    _more(console, len(found), MAX_ROWS)


def _fine(share: float) -> str:
    """A share to a tenth of a percent, or to two digits if it is less than one percent."""
    return percent(share) if share >= 0.01 or not share else f"{100 * share:.2g} %"


def _more(console: Console, n: int, n_shown: int) -> None:
    if n > n_shown:
        console.print(f"and {n - n_shown:,} more", markup=False)


def print_slowest(console: Console, found: Mapping[str, Sequence[SlowRequest]], *, several: bool) -> None:
    """Print the slowest requests by each latency, with their seeds if there are several."""
    for kind, requests in found.items():
        if not requests:
            continue
        console.print()
        table = plain_table(
            f"slowest {LATENCIES[kind]}", "arrived", "tokens in, out", "TTFT", "E2E", "most of the excess", "cause"
        )
        table.columns[-1].justify = "left"
        table.columns[-1].no_wrap = False
        for one in requests:
            seed = f"seed {one.seed}, " if several else ""
            excess = f"{one.component} +{number(one.component_excess_ms, 'ms')}"
            table.add_row(
                f"{seed}request {one.request}", number(one.arrived_s, "s"),
                f"{one.prompt_tokens:,}, {one.output_tokens:,}", number(one.ttft_ms, "ms"),
                number(one.e2el_ms, "ms"), excess, one.cause,
            )  # fmt: skip
        console.print(table)
