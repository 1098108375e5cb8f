"""What makes latencies long, as tables: replicas, ranks, stages, links, standstills, and the slowest requests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from simcluster.files.units import number
from simcluster.report.table import Cell, Row, Table, cells
from simcluster.results.metrics import LATENCIES
from simcluster.variance.critical_path import PACES, CriticalPath
from simcluster.variance.entities import Entities, LinkLoad, StageLoad, Standstill
from simcluster.variance.explanation import Explanation, LatencyExplanation, ReplicaExplanation
from simcluster.variance.slowest import SlowRequest

MAX_ROWS = 8

_CRITICAL = (
    "Last: of all collectives, how often the others wait for this rank. A rank that is earlier saves at most the gap "
    "to the second last, because then that one is last; the same holds for the slowest in compute, and in fetching.",
)


def bottlenecks(explained: Explanation | None) -> list[Table]:
    """Tables of entities and of single requests; none without an explanation."""
    if explained is None:
        return []
    made = [_replicas(explained.replicas)]
    if explained.critical_path is not None:
        made.append(_ranks(explained.critical_path, explained.latencies["itl"]))
    if (found := explained.entities) is not None:
        made += [_stages(found.stages, found.n_steps), _links(found), _standstills(found.standstills)]
    made += _slowest(explained.slowest_requests)
    return [table for table in made if table.rows]


def map_text(explained: Explanation | None) -> str:
    """What the map of a topology shows, for screen readers; empty where nothing is known."""
    if explained is None:
        return ""
    parts = []
    ranks = explained.critical_path.ranks if explained.critical_path is not None else []
    shares = {
        "last at a collective": [rank.last_share for _, rank in ranks],
        "slowest to fetch": [rank.fetch.slowest_share for _, rank in ranks],
    }
    for what, of_ranks in shares.items():
        if most := max(of_ranks, default=0.0):
            parts.append(f"{ranks[of_ranks.index(most)][1].device} is most often {what}, {_percent(most)}")
    links = explained.entities.links if explained.entities is not None else []
    if links:
        parts.append(f"the busiest link is {links[0].label}, {_fine_part(links[0].use).text} of its bandwidth")
    return f"Map of the topology: {'; '.join(parts)}." if parts else ""


def _replicas(replicas: Sequence[ReplicaExplanation]) -> Table:
    """Shares of the replicas in the gaps and in their spread; no rows for a single replica."""
    levels = list(replicas[0].tail_shares) if replicas else []
    rows = [
        Row(
            f"replica {one.replica}",
            [
                _part(one.token_share), Cell(number(one.mean_itl_ms, "ms")), _part(one.variance_share),
                *(_part(one.tail_shares[level]) for level in levels),
            ],
        )
        for one in (replicas[:MAX_ROWS] if len(replicas) > 1 else ())
    ]  # fmt: skip
    columns = ["of the tokens", "mean ITL", "of the variance", *(f"beyond {level}" for level in levels)]
    return Table("Replicas in the spread of ITL", columns, rows, _more(len(replicas)))


def _ranks(critical: CriticalPath, itl: LatencyExplanation | None) -> Table:
    """The critical path: which rank is last, and what it would save."""
    ranks = critical.ranks
    paces = [name for name in PACES if any(rank.paces[name].slowest_share for _, rank in ranks)]
    ranks.sort(key=lambda pair: (-sum(pair[1].paces[name].saves_share for name in paces), -pair[1].last_share))
    columns = ["replica, stage", "last at collectives", "saves at most, a step"]
    columns += [text for name in paces for text in (f"slowest in {name}", "saves of it at most")]
    rows = [
        Row(
            rank.device,
            [
                Cell(f"{group.replica}, {group.stage}"), _part(rank.last_share),
                Cell(number(1000 * rank.saves_ms_per_step, "us")),
                *(
                    cell
                    for name in paces
                    for cell in (_part(rank.paces[name].slowest_share), Cell(_percent(rank.paces[name].saves_share)))
                ),
            ],
        )
        for group, rank in ranks[:MAX_ROWS]
    ]  # fmt: skip
    path = itl.mean_path_ms if itl is not None else {}
    wait, transfer = (number(path.get(name), "ms") for name in ("wait_for_peers", "interconnect"))
    waits = (
        f"A token waits {wait} for peers, apart from {transfer} of transfer; "
        f"{critical.steps:,} of {critical.of_steps:,} steps analysed."
    )
    return Table("Critical path: which rank is last", columns, rows, [*_CRITICAL, waits, *_more(len(ranks))])


def _stages(stages: Sequence[StageLoad], n_steps: int) -> Table:
    rows = [
        Row(
            f"{one.devices[0]}{' …' if len(one.devices) > 1 else ''}",
            [
                Cell(f"{one.replica}, {one.stage}"), _part(one.slowest_share), Cell(number(one.mean_ms, "ms")),
                Cell(number(one.wait_ms, "ms")), _part(one.busy_share), Cell(one.component.replace("_", " ")),
            ],
        )
        for one in stages[:MAX_ROWS]
    ]  # fmt: skip
    columns = ["replica, stage", "slowest of a step", "serves a step for", "after waiting", "busy", "mostly"]
    return Table(
        "Stages of the pipeline", columns, rows, [f"The first {n_steps:,} steps analysed.", *_more(len(stages))]
    )


def _links(found: Entities) -> Table:
    links = found.links[:MAX_ROWS]
    has_changed = any(one.changed_share for one in links)

    def row(one: LinkLoad) -> Row:
        return Row(one.label, [_fine_part(one.use), *([_fine_part(one.changed_share)] if has_changed else [])])

    columns = ["use of its bandwidth", *(["slow or cut, of the time"] if has_changed else [])]
    n_more = (found.n_links or 0) - sum(one.alike for one in links)
    return Table("Busiest links", columns, [row(one) for one in links], _more(n_more + MAX_ROWS))


def _standstills(found: Sequence[Standstill]) -> Table:
    rows = [
        Row(one.label, [Cell(f"{one.number:,}"), Cell(number(one.total_s, "s")), _fine_part(one.share)])
        for one in found[:MAX_ROWS]
    ]
    return Table("Standstills", ["times", "in all", "of the time"], rows, _more(len(found)))


def _slowest(found: Mapping[str, Sequence[SlowRequest]]) -> Iterator[Table]:
    """Tables of the slowest requests by each latency: that latency, the reason, and the other latency."""
    for kind, requests in found.items():
        (other,) = (name for name in found if name != kind)
        rows = [
            Row(
                f"request {one.request}",
                cells([
                    _latency(one, kind), one.cause,
                    f"{one.component.replace('_', ' ')} +{number(one.component_excess_ms, 'ms')}",
                    number(one.excess_ms, "ms"), number(one.arrived_s, "s"), f"{one.prompt_tokens:,}",
                    f"{one.output_tokens:,}", _latency(one, other),
                ]),
            )
            for one in requests
        ]  # fmt: skip
        columns = [LATENCIES[kind], "cause", "most over the mean", "all over the mean", "arrived at", "tokens in",
                   "tokens out", LATENCIES[other]]  # fmt: skip
        yield Table(f"Slowest requests by {LATENCIES[kind]}", columns, rows, is_prose=True)


def _latency(request: SlowRequest, kind: str) -> str:
    return number(request.ttft_ms if kind == "ttft" else request.e2el_ms, "ms")


def _part(share: float) -> Cell:
    return Cell(_percent(share), share=min(max(share, 0.0), 1.0))


def _fine_part(share: float) -> Cell:
    return Cell(f"{100 * share:.2g} %" if 0 < share < 0.01 else _percent(share), share=min(share, 1.0))


def _percent(share: float) -> str:
    return f"{number(round(100 * share, 1) + 0.0)} %"


def _more(n: int) -> list[str]:
    return [f"And {n - MAX_ROWS:,} more."] if n > MAX_ROWS else []
