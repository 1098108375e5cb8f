"""Who makes latencies long, as tables: replicas, ranks, stages, links, who stood still, and the slowest requests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from simcluster.files.units import number
from simcluster.report.attribution import Explained
from simcluster.report.table import Cell, Row, Table, cells
from simcluster.results.metrics import LATENCIES
from simcluster.variance.entity_words import link_words, standstill_words

MOST_ROWS = 8

_CRITICAL = (
    "Last: of all collectives, how often the others wait for this rank. A rank that is earlier saves at most the gap "
    "to the second last, because then that one is last; so it is of the slowest in compute, and in fetching.",
)


def waited_for(explained: Explained | None) -> list[Table]:
    """Tables of what an explanation tells of entities and of single requests; none without it."""
    if explained is None:
        return []
    entities: Mapping[str, Any] = explained.get("entities") or {}
    made = [
        _replicas(explained.get("replicas") or []),
        *_ranks(explained.get("critical_path"), explained.get("itl") or {}),
        _stages(entities),
        _links(entities),
        _standstills(entities.get("standstills", [])),
        *_slowest(explained.get("slowest_requests") or {}),
    ]
    return [table for table in made if table.rows]


def in_words(explained: Explained | None) -> str:
    """What the map of a topology shows, for who cannot see it; empty where nothing is known."""
    if explained is None:
        return ""
    parts = []
    ranks = _all_ranks(explained.get("critical_path"))
    shares = {
        "last at a collective": [rank["last_share"] for rank in ranks],
        "slowest to fetch": [rank["fetch"]["slowest_share"] for rank in ranks],
    }
    for what, of_ranks in shares.items():
        if most := max(of_ranks, default=0.0):
            parts.append(f"{ranks[of_ranks.index(most)]['device']} is most often {what}, {_percent(most)}")
    links = (explained.get("entities") or {}).get("links") or []
    if links:
        parts.append(
            f"the busiest link is {link_words(links[0])}, {_fine_part(links[0]['use']).text} of its bandwidth"
        )
    return f"Map of the topology: {'; '.join(parts)}." if parts else ""


def _replicas(replicas: Sequence[Mapping[str, Any]]) -> Table:
    """Their part in the gaps and in their spread, where there are several."""
    levels = list(replicas[0]["tail_shares"]) if replicas else []
    rows = [
        Row(
            f"replica {one['replica']}",
            [
                _part(one["token_share"]), Cell(number(one["mean_itl_ms"], "ms")), _part(one["variance_share"]),
                *(_part(one["tail_shares"][level]) for level in levels),
            ],
        )
        for one in (replicas[:MOST_ROWS] if len(replicas) > 1 else ())
    ]  # fmt: skip
    columns = ["of the tokens", "mean ITL", "of the variance", *(f"beyond {level}" for level in levels)]
    return Table("Replicas in the spread of ITL", columns, rows, _more(len(replicas)))


def _all_ranks(critical: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    return [rank | group for group in (critical or {}).get("groups", ()) for rank in group["ranks"]]


def _ranks(critical: Mapping[str, Any] | None, itl: Mapping[str, Any]) -> Iterator[Table]:
    """The critical path: who is last, and what that one would save."""
    ranks = _all_ranks(critical)
    if critical is None or not ranks:
        return
    paces = [what for what in ("compute", "fetch") if any(rank[what]["slowest_share"] for rank in ranks)]
    ranks.sort(key=lambda rank: (-sum(rank[what]["saves_share"] for what in paces), -rank["last_share"]))
    columns = ["replica, stage", "last at collectives", "saves at most, a step"]
    columns += [text for what in paces for text in (f"slowest in {what}", "saves of it at most")]
    rows = [
        Row(
            rank["device"],
            [
                Cell(f"{rank['replica']}, {rank['stage']}"), _part(rank["last_share"]),
                Cell(number(1000 * rank["saves_ms_per_step"], "us")),
                *(
                    cell
                    for what in paces
                    for cell in (_part(rank[what]["slowest_share"]), Cell(_percent(rank[what]["saves_share"])))
                ),
            ],
        )
        for rank in ranks[:MOST_ROWS]
    ]  # fmt: skip
    path = itl.get("mean_path_ms") or {}
    wait, transfer = (number(path.get(name), "ms") for name in ("wait_for_peers", "interconnect"))
    waits = (
        f"A token waits {wait} for peers, apart from {transfer} of transfer; "
        f"{critical['steps']:,} of {critical['of_steps']:,} steps looked at."
    )
    yield Table("Critical path: which rank is last", columns, rows, [*_CRITICAL, waits, *_more(len(ranks))])


def _stages(found: Mapping[str, Any]) -> Table:
    stages = found.get("stages", [])
    rows = [
        Row(
            f"{one['devices'][0]}{' …' if len(one['devices']) > 1 else ''}",
            [
                Cell(f"{one['replica']}, {one['stage']}"), _part(one["slowest_share"]),
                Cell(number(one["mean_ms"], "ms")), Cell(number(one["wait_ms"], "ms")), _part(one["busy_share"]),
                Cell(one["component"].replace("_", " ")),
            ],
        )
        for one in stages[:MOST_ROWS]
    ]  # fmt: skip
    columns = ["replica, stage", "slowest of a step", "serves a step for", "after waiting", "busy", "mostly"]
    looked_at = [f"The first {found['n_steps']:,} steps looked at."] if rows else []
    return Table("Stages of the pipeline", columns, rows, [*looked_at, *_more(len(stages))])


def _links(found: Mapping[str, Any]) -> Table:
    links = found.get("links", [])[:MOST_ROWS]
    has_changed = any(one["changed_share"] for one in links)
    rows = [
        Row(
            link_words(one),
            [_fine_part(one["use"]), *([_fine_part(one["changed_share"])] if has_changed else [])],
        )
        for one in links
    ]
    columns = ["use of its bandwidth", *(["slow or cut, of the time"] if has_changed else [])]
    n_more = (found.get("n_links") or 0) - sum(one["alike"] for one in links)
    return Table("Busiest links", columns, rows, _more(n_more + MOST_ROWS))


def _standstills(found: Sequence[Mapping[str, Any]]) -> Table:
    rows = [
        Row(
            standstill_words(one),
            [Cell(f"{one['number']:,}"), Cell(number(one["total_s"], "s")), _fine_part(one["share"])],
        )
        for one in found[:MOST_ROWS]
    ]
    return Table("Who stood still", ["times", "in all", "of the time"], rows, _more(len(found)))


def _slowest(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[Table]:
    """Of each latency, that latency first; then why, and what else there is to say."""
    for kind, requests in found.items():
        (other,) = (name for name in found if name != kind)
        rows = [
            Row(
                f"request {one['request']}",
                cells([
                    number(one[f"{kind}_ms"], "ms"), one["cause"],
                    f"{one['component'].replace('_', ' ')} +{number(one['component_excess_ms'], 'ms')}",
                    number(one["excess_ms"], "ms"), number(one["arrived_s"], "s"), f"{one['prompt_tokens']:,}",
                    f"{one['output_tokens']:,}", number(one[f"{other}_ms"], "ms"),
                ]),
            )
            for one in requests
        ]  # fmt: skip
        columns = [LATENCIES[kind], "cause", "most over the mean", "all over the mean", "arrived at", "tokens in",
                   "tokens out", LATENCIES[other]]  # fmt: skip
        yield Table(f"Slowest requests by {LATENCIES[kind]}", columns, rows, is_prose=True)


def _part(share: float) -> Cell:
    return Cell(_percent(share), share=min(max(share, 0.0), 1.0))


def _fine_part(share: float) -> Cell:
    return Cell(f"{100 * share:.2g} %" if 0 < share < 0.01 else _percent(share), share=min(share, 1.0))


def _percent(share: float) -> str:
    return f"{number(round(100 * share, 1) + 0.0)} %"


def _more(n: int) -> list[str]:
    return [f"And {n - MOST_ROWS:,} more."] if n > MOST_ROWS else []
