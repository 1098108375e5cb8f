"""
Where the spread of a run's latencies comes from, and of several replications together.

Of every latency: the mean path, which is the mean of each component; the exact share of each component in the
variance; its share in what makes the worst one percent and one per mille so slow; and how much of the variance lies
between replications, requests, steps and within steps. Only finished requests count, as in the metrics.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import fsum
from typing import Any

from simcluster.files.problems import InputError
from simcluster.results.metrics import LATENCIES, TICKS_PER_MS
from simcluster.results.read_run import RunFolder
from simcluster.results.replications import interval
from simcluster.trace.columns import COMPONENTS
from simcluster.variance import slowest
from simcluster.variance.critical import critical_path
from simcluster.variance.entities import entities
from simcluster.variance.gather import Gathered, Later, gather, look_again
from simcluster.variance.levels import grouped_squares, levels
from simcluster.variance.moments import Moments, pooled
from simcluster.variance.tail import FEW, LEVELS, Tail, Worst

EXPLAIN_FORMAT = "simcluster-explain-1"
MANY_TOKENS = 10**6


def explain(runs: Sequence[RunFolder]) -> dict[str, Any]:
    """
    Explain a run, or replications of one scenario.

    Returns:
        By latency (`ttft`, `tpot`, `itl`, `e2el`): `n`, `mean_ms`, `std_ms`, `mean_path_ms`, `variance_shares`,
        `variance_share_intervals` over replications, `tail_shares` by percentile, `levels`. Besides, `replicas`,
        `critical_path`, `slowest_requests` by `ttft` and `e2el`, and `entities`: links, stages, and what stood still.
        Shares are None where nothing varies, and where a tail would be less than a single value; so are
        `critical_path` and `entities` where they cannot be told.

    Raises:
        InputError: the token table of a run is damaged.
        ValueError: no run.
    """
    if not runs:
        raise ValueError("no run to explain")
    most_tokens = sum(run.n_tokens for run in runs)
    gathered = [gather(run, most_tokens) for run in runs]
    found: dict[str, Any] = {
        "format": EXPLAIN_FORMAT,
        "scenario": runs[0].summary["scenario"],
        "noise": runs[0].summary["noise"],
        "seeds": [run.summary["seed"] for run in runs],
    }
    tails = {name: _tails(name, gathered) for name in LATENCIES}
    later = [look_again(one, tails["itl"]) for one in gathered]
    for name in LATENCIES:
        found[name] = _latency(name, gathered, tails[name])
        found[name]["levels"] = _levels(name, gathered, later)
    found["replicas"] = _replicas(gathered, later, tails["itl"])
    found["critical_path"], untold = _critical_path(runs)
    found["slowest_requests"] = _slowest(gathered)
    found["entities"] = _entities(runs)
    found["notes"] = _notes(found) + untold
    found["assumptions"] = list(dict.fromkeys(text for run in runs for text in run.summary["assumptions"]))
    return found


def _tails(name: str, gathered: Sequence[Gathered]) -> dict[str, Tail]:
    """The worst values of all runs together, by percentile; none of less than a single value."""
    n = sum(one.moments[name].n for one in gathered)
    whole = Worst(sum(one.run.n_tokens for one in gathered) // 100 + 1)
    for one in gathered:
        whole.merge(one.worst[name])
    return {level: whole.tail(n * part) for level, part in LEVELS.items() if n * part >= 1}


def _latency(name: str, gathered: Sequence[Gathered], tails: dict[str, Tail]) -> dict[str, Any]:
    """Mean path and shares of one latency."""
    moments = pooled(one.moments[name] for one in gathered)
    if not moments.n:
        return {"n": 0}
    found: dict[str, Any] = {
        "n": moments.n,
        "mean_ms": moments.total / moments.n / TICKS_PER_MS,
        "std_ms": moments.std() / TICKS_PER_MS,
        "mean_path_ms": _by_name([ticks / TICKS_PER_MS for ticks in moments.mean()]),
        "variance_shares": _shares(moments.shares()),
    }
    if len(gathered) > 1:
        found["variance_share_intervals"] = _share_intervals([one.moments[name] for one in gathered])
    found["tail_shares"] = {
        level: _shares(tails[level].shares(moments)) if level in tails else None for level in LEVELS
    }
    return found


def _shares(shares: Sequence[Fraction] | None) -> dict[str, float] | None:
    return None if shares is None else _by_name([float(share) for share in shares])


def _by_name(values: Sequence[float]) -> dict[str, float]:
    return dict(zip(COMPONENTS, values, strict=True))


def _share_intervals(several: Sequence[Moments]) -> dict[str, list[float]] | None:
    """Student's 95 % interval of each component's share within a replication; None with fewer than two that vary."""
    rows = [shares for moments in several if moments.n and (shares := moments.shares()) is not None]
    if len(rows) < 2:
        return None
    intervals = [interval([float(share) for share in column]) for column in zip(*rows, strict=True)]
    return {
        name: [one.low, one.high]
        for name, one in zip(COMPONENTS, intervals, strict=True)
        if one.low is not None and one.high is not None
    }


def _levels(name: str, gathered: Sequence[Gathered], later: Sequence[Later]) -> dict[str, float | None] | None:
    """The variance by level; None where nothing varies."""
    moments = [one.moments[name] for one in gathered]
    whole = pooled(moments)
    if not whole.n:
        return None
    is_itl = name == "itl"
    of_requests = Fraction(whole.squares)
    if is_itl:
        parts = [grouped_squares(one.requests.counts, one.requests.sums) for one in gathered]
        of_requests = sum(parts, Fraction(0))
    found = levels(whole.n, whole.total, whole.squares, [(m.n, m.total) for m in moments], of_requests)
    if found is None:
        return None
    split: dict[str, float | None] = {
        "replication": found[0] if len(gathered) > 1 else None,
        "request": found[1],
    }
    if is_itl:
        variance = whole.deviation / whole.n
        split["step"] = fsum(one.between_steps for one in later) / variance
        split["within_step"] = fsum(one.within_steps for one in later) / variance
    return split


def _replicas(gathered: Sequence[Gathered], later: Sequence[Later], tails: dict[str, Tail]) -> list[dict[str, Any]]:
    """Each replica's part in the gaps, in their variance about the mean of all, and in the tail."""
    whole = pooled(one.moments["itl"] for one in gathered)
    if not whole.n or not whole.deviation:
        return []
    mean = Fraction(whole.total, whole.n)
    found = []
    for replica in range(max(len(one.replicas.counts) for one in gathered)):
        there = [number for number, one in enumerate(gathered) if replica < len(one.replicas.counts)]
        n = sum(int(gathered[number].replicas.counts[replica]) for number in there)
        if not n:
            continue
        total = sum(gathered[number].replicas.sums[replica] for number in there)
        squares = sum(gathered[number].replicas.squares[replica] for number in there)
        deviation = squares - 2 * mean * total + n * mean**2
        tail = {
            level: float(sum(later[number].tail_of_replicas[level][replica] for number in there) / one.n)
            for level, one in tails.items()
        }
        found.append(
            {
                "replica": replica,
                "mean_itl_ms": total / n / TICKS_PER_MS,
                "token_share": n / whole.n,
                "variance_share": float(deviation * whole.n / whole.deviation),
                "tail_shares": tail,
            }
        )
    return sorted(found, key=lambda one: (-one["variance_share"], one["replica"]))


def _critical_path(runs: Sequence[RunFolder]) -> tuple[dict[str, Any] | None, list[str]]:
    """Who is last in each group of ranks; or why that cannot be told, which is no fault of the trace."""
    try:
        found = critical_path(runs)
    except InputError as error:
        return None, [f"critical path: {error.problems[0]}"]
    return found, [] if found else ["critical path: every stage is on one device, so no rank waits for another"]


def _slowest(gathered: Sequence[Gathered]) -> dict[str, list[dict[str, Any]]]:
    """The slowest requests of all runs by latency, and why they are."""
    ttft, itl = (pooled(one.moments[name] for one in gathered) for name in ("ttft", "itl"))
    if not ttft.n:
        return {kind: [] for kind in slowest.KINDS}
    mean = slowest.mean_of(ttft, itl)
    runs = [one.run for one in gathered]
    return {kind: slowest.told(kind, runs, [one.slowest[kind] for one in gathered], mean) for kind in slowest.KINDS}


def _entities(runs: Sequence[RunFolder]) -> dict[str, Any] | None:
    """Links, stages and hosts; None without the scenario of a run, which is said of the critical path."""
    try:
        return entities(runs)
    except InputError:
        return None


def _notes(found: dict[str, Any]) -> list[str]:
    """What a reader should know before believing the figures."""
    notes = []
    if len(found["seeds"]) == 1:
        notes.append("one run: what differs between replications is not seen; `replay --seeds` makes them")
    for name in LATENCIES:
        n = found[name]["n"]
        few = [level for level, part in LEVELS.items() if 1 <= n * part < FEW]
        if few:
            notes.append(f"{name}: fewer than {FEW} values beyond {' and '.join(few)}, an anecdote")
    return notes
