"""
Where the spread of a run's latencies comes from, and of several replications together.

For every latency: the mean path, which is the mean of each component; the exact share of each component in the
variance; its share in the excess of the worst one percent and one per mille; and how much of the variance lies
between replications, requests, steps and within steps. Only finished requests count, as in the metrics.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import fsum

from simcluster.files.problems import InputError
from simcluster.results.metrics import LATENCIES, TICKS_PER_MS
from simcluster.results.read_run import RunFolder
from simcluster.results.replications import interval
from simcluster.trace.columns import COMPONENTS
from simcluster.variance.critical_path import CriticalPath, critical_path
from simcluster.variance.entities import Entities, entities
from simcluster.variance.explanation import Explanation, LatencyExplanation, ReplicaExplanation, Shares
from simcluster.variance.levels import grouped_squares, levels
from simcluster.variance.moments import Moments, pooled
from simcluster.variance.slowest import KINDS, SlowRequest, mean_times, slowest_requests
from simcluster.variance.tail import FEW, LEVELS, Tail, Worst
from simcluster.variance.token_statistics import GapStatistics, TokenStatistics, gap_statistics, token_statistics

Statistics = Sequence[TokenStatistics]


def explain(runs: Sequence[RunFolder]) -> Explanation:
    """
    Explain a run, or replications of one scenario.

    Args:
        runs: at least one.

    Returns:
        Shares are None where nothing varies, and where a tail would be less than a single value.

    Raises:
        InputError: the token table of a run is damaged.
        ValueError: no run.
    """
    if not runs:
        raise ValueError("no run to explain")
    n_tokens = sum(run.n_tokens for run in runs)
    statistics = [token_statistics(run, n_tokens) for run in runs]
    tails = {name: _tails(name, statistics) for name in LATENCIES}
    gaps = [gap_statistics(one, tails["itl"]) for one in statistics]
    latencies = {name: _latency(name, statistics, gaps, tails[name]) for name in LATENCIES}
    path, path_notes = _critical_path(runs)
    return Explanation(
        scenario=runs[0].summary["scenario"],
        noise=runs[0].summary["noise"],
        seeds=[run.summary["seed"] for run in runs],
        latencies=latencies,
        replicas=_replicas(statistics, gaps, tails["itl"]),
        critical_path=path,
        slowest_requests=_slowest(statistics),
        entities=_entities(runs),
        notes=_notes(len(runs), latencies) + path_notes,
        assumptions=list(dict.fromkeys(text for run in runs for text in run.summary["assumptions"])),
    )


def _tails(name: str, statistics: Statistics) -> dict[str, Tail]:
    """The worst values of all runs together, by percentile; none of less than a single value."""
    n = sum(one.moments[name].n for one in statistics)
    worst = Worst(sum(one.run.n_tokens for one in statistics) // 100 + 1)
    for one in statistics:
        worst.merge(one.worst[name])
    return {level: worst.tail(n * part) for level, part in LEVELS.items() if n * part >= 1}


def _latency(
    name: str, statistics: Statistics, gaps: Sequence[GapStatistics], tails: dict[str, Tail]
) -> LatencyExplanation | None:
    """Mean path, shares and levels of one latency; None without a value."""
    moments = pooled(one.moments[name] for one in statistics)
    if not moments.n:
        return None
    return LatencyExplanation(
        n=moments.n,
        mean_ms=moments.total / moments.n / TICKS_PER_MS,
        std_ms=moments.std() / TICKS_PER_MS,
        mean_path_ms=_by_name([ticks / TICKS_PER_MS for ticks in moments.mean()]),
        variance_shares=_shares(moments.shares()),
        variance_share_intervals=_share_intervals([one.moments[name] for one in statistics]),
        tail_shares={level: _shares(tails[level].shares(moments)) if level in tails else None for level in LEVELS},
        levels=_levels(name, moments, statistics, gaps),
    )


def _shares(shares: Sequence[Fraction] | None) -> Shares | None:
    return None if shares is None else _by_name([float(share) for share in shares])


def _by_name(values: Sequence[float]) -> dict[str, float]:
    return dict(zip(COMPONENTS, values, strict=True))


def _share_intervals(several: Sequence[Moments]) -> dict[str, tuple[float, float]] | None:
    """Student's 95 % interval of each component's share within a replication; None with fewer than two that vary."""
    rows = [shares for moments in several if moments.n and (shares := moments.shares()) is not None]
    if len(rows) < 2:
        return None
    intervals = [interval([float(share) for share in column]) for column in zip(*rows, strict=True)]
    return {
        name: (one.low, one.high)
        for name, one in zip(COMPONENTS, intervals, strict=True)
        if one.low is not None and one.high is not None
    }


def _levels(
    name: str, whole: Moments, statistics: Statistics, gaps: Sequence[GapStatistics]
) -> dict[str, float | None] | None:
    """The variance by level; None where nothing varies."""
    of_requests = Fraction(whole.squares)
    if name == "itl":
        parts = [grouped_squares(one.requests.counts, one.requests.sums) for one in statistics]
        of_requests = sum(parts, Fraction(0))
    replications = [(one.moments[name].n, one.moments[name].total) for one in statistics]
    found = levels(whole.n, whole.total, whole.squares, replications, of_requests)
    if found is None:
        return None
    split: dict[str, float | None] = {
        "replication": found[0] if len(statistics) > 1 else None,
        "request": found[1],
    }
    if name == "itl":
        variance = whole.deviation / whole.n
        split["step"] = fsum(one.between_steps for one in gaps) / variance
        split["within_step"] = fsum(one.within_steps for one in gaps) / variance
    return split


def _replicas(
    statistics: Statistics, gaps: Sequence[GapStatistics], tails: dict[str, Tail]
) -> list[ReplicaExplanation]:
    """Each replica's part in the gaps, in their variance about the mean of all, and in the tail."""
    whole = pooled(one.moments["itl"] for one in statistics)
    if not whole.n or not whole.deviation:
        return []
    mean = Fraction(whole.total, whole.n)
    found = []
    for replica in range(max(len(one.replicas.counts) for one in statistics)):
        places = [place for place, one in enumerate(statistics) if replica < len(one.replicas.counts)]
        n = sum(int(statistics[place].replicas.counts[replica]) for place in places)
        if not n:
            continue
        total = sum(statistics[place].replicas.sums[replica] for place in places)
        squares = sum(statistics[place].replicas.squares[replica] for place in places)
        deviation = squares - 2 * mean * total + n * mean**2
        tail = {
            level: float(sum(gaps[place].tail_of_replicas[level][replica] for place in places) / one.n)
            for level, one in tails.items()
        }
        variance_share = float(deviation * whole.n / whole.deviation)
        found.append(ReplicaExplanation(replica, total / n / TICKS_PER_MS, n / whole.n, variance_share, tail))
    return sorted(found, key=lambda one: (-one.variance_share, one.replica))


def _critical_path(runs: Sequence[RunFolder]) -> tuple[CriticalPath | None, list[str]]:
    """Which rank is last in each group; or None, with a note that gives the reason."""
    try:
        found = critical_path(runs)
    except InputError as error:
        return None, [f"critical path: {error.problems[0]}"]
    return found, [] if found else ["critical path: every stage is on one device, so no rank waits for another"]


def _slowest(statistics: Statistics) -> dict[str, list[SlowRequest]]:
    """The slowest requests of all runs by latency."""
    ttft, itl = (pooled(one.moments[name] for one in statistics) for name in ("ttft", "itl"))
    if not ttft.n:
        return {kind: [] for kind in KINDS}
    mean, runs = mean_times(ttft, itl), [one.run for one in statistics]
    return {kind: slowest_requests(kind, runs, [one.slowest[kind] for one in statistics], mean) for kind in KINDS}


def _entities(runs: Sequence[RunFolder]) -> Entities | None:
    """Links, stages and hosts; None without the scenario of a run, for which the critical path has a note."""
    try:
        return entities(runs)
    except InputError:
        return None


def _notes(n_runs: int, latencies: dict[str, LatencyExplanation | None]) -> list[str]:
    """What a reader should know before believing the figures."""
    notes = []
    if n_runs == 1:
        notes.append("one run: differences between replications are not seen; `replay --seeds` makes them")
    for name, latency in latencies.items():
        n = 0 if latency is None else latency.n
        few = [level for level, part in LEVELS.items() if 1 <= n * part < FEW]
        if few:
            notes.append(f"{name}: fewer than {FEW} values beyond {' and '.join(few)}, an anecdote")
    return notes
