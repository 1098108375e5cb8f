"""Print an explanation as tables: a block per latency with a row per component, then levels, entities and remarks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simcluster.cli.entities import print_entities, print_slowest
from simcluster.cli.printing import percent, plain_table, print_remarks, wide_console
from simcluster.files.units import number
from simcluster.results.metrics import LATENCIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from simcluster.variance.critical_path import CriticalPath
    from simcluster.variance.explanation import Explanation, LatencyExplanation, ReplicaExplanation

LEVELS = {
    "replication": "between replications",
    "request": "between requests",
    "step": "between steps, beyond the requests'",
    "within_step": "within steps",
}
MAX_REPLICAS = 5
MAX_RANKS = 8


def print_explanation(found: Explanation) -> None:
    """Print the result of `variance.explain`."""
    console = wide_console()
    seeds = found.seeds
    which = f"seed {seeds[0]}" if len(seeds) == 1 else f"{len(seeds)} seeds from {seeds[0]}"
    console.print(f"{found.scenario}, {which}, noise {found.noise}", markup=False, style="bold", soft_wrap=True)
    for name, title in LATENCIES.items():
        console.print()
        _latency(console, title, found.latencies[name])
    if len(found.replicas) > 1:
        console.print()
        _replicas(console, found.replicas)
    if found.critical_path:
        console.print()
        _ranks(console, found.critical_path, found.latencies["itl"])
    if found.entities:
        print_entities(console, found.entities)
    print_slowest(console, found.slowest_requests, several=len(seeds) > 1)
    console.print()
    print_remarks(console, (*found.notes, *found.assumptions))


def _latency(console: Console, title: str, found: LatencyExplanation | None) -> None:
    """Print the components of one latency, without those that are zero, and its levels."""
    if found is None:
        console.print(f"{title}: no value", markup=False)
        return
    intervals = found.variance_share_intervals
    tails = found.tail_shares
    columns = [f"{title}, n = {found.n:,}", "mean", "of variance"]
    columns += ["95 % over seeds"] if intervals else []
    columns += [f"of the tail beyond {level}" for level in tails]
    table = plain_table(*columns)
    shares = found.variance_shares or {}
    for name, mean_ms in found.mean_path_ms.items():
        if not mean_ms:
            continue
        cells = [number(mean_ms, "ms"), percent(shares.get(name))]
        if intervals:
            cells.append(" to ".join(percent(end) for end in intervals[name]))
        cells += [percent(tail[name] if tail else None) for tail in tails.values()]
        table.add_row(name, *cells)
    total = [number(found.mean_ms, "ms"), percent(sum(shares.values()) if shares else None)]
    total += [""] if intervals else []
    total += [percent(sum(tail.values()) if tail else None) for tail in tails.values()]
    table.add_row("sum", *total, style="bold")
    console.print(table)
    line = f"std {number(found.std_ms, 'ms')}"
    levels = {LEVELS[key]: share for key, share in (found.levels or {}).items() if share is not None}
    if levels:
        line += ", its variance: " + ", ".join(f"{percent(share)} {level}" for level, share in levels.items())
    console.print(line, markup=False, soft_wrap=True)


def _replicas(console: Console, replicas: Sequence[ReplicaExplanation]) -> None:
    """Print the replicas that contribute most to the spread of the gaps."""
    levels = list(replicas[0].tail_shares)
    table = plain_table("replica", "of tokens", "mean ITL", "of variance", *(f"beyond {level}" for level in levels))
    for one in replicas[:MAX_REPLICAS]:
        table.add_row(
            str(one.replica), percent(one.token_share), number(one.mean_itl_ms, "ms"),
            percent(one.variance_share), *(percent(one.tail_shares[level]) for level in levels),
        )  # fmt: skip
    console.print(table)
    if len(replicas) > MAX_REPLICAS:
        console.print(f"and {len(replicas) - MAX_REPLICAS} more replicas", markup=False)


def _ranks(console: Console, found: CriticalPath, itl: LatencyExplanation | None) -> None:
    """Print the ranks that others wait for most, and the time that faster ones would save at most."""
    ranks = found.ranks
    paces = [what for what in ("compute", "fetch") if any(rank.paces[what].slowest_share for _, rank in ranks)]
    ranks.sort(key=lambda pair: (-sum(pair[1].paces[what].saves_share for what in paces), -pair[1].last_share))
    columns = ["rank", "replica, stage", "last at collectives", "saves at most, a step"]
    columns += [text for what in paces for text in (f"slowest in {what}", "saves of it at most")]
    table = plain_table(*columns)
    for group, rank in ranks[:MAX_RANKS]:
        cells = [f"{group.replica}, {group.stage}", percent(rank.last_share)]
        cells.append(number(1000 * rank.saves_ms_per_step, "us"))
        for what in paces:
            cells += [percent(rank.paces[what].slowest_share), percent(rank.paces[what].saves_share)]
        table.add_row(rank.device, *cells)
    console.print(table)
    if len(ranks) > MAX_RANKS:
        console.print(f"and {len(ranks) - MAX_RANKS} more ranks", markup=False)
    path = itl.mean_path_ms if itl is not None else {}
    wait, transfer = (number(path.get(name), "ms") for name in ("wait_for_peers", "interconnect"))
    analysed = f"{found.steps:,} of {found.of_steps:,} steps analysed"
    console.print(f"a token waits {wait} for peers, apart from {transfer} of transfer; {analysed}", markup=False,
                  soft_wrap=True)  # fmt: skip
