"""The results of `explain`, as values and as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from simcluster.variance.critical_path import CriticalPath
from simcluster.variance.entities import Entities
from simcluster.variance.slowest import SlowRequest

EXPLAIN_FORMAT = "simcluster-explain-1"

Shares = dict[str, float]
"""Shares of a whole by component; they sum to one."""


@dataclass(frozen=True)
class LatencyExplanation:
    """Where the mean and the spread of one latency come from."""

    n: int
    """Values."""
    mean_ms: float
    std_ms: float
    mean_path_ms: dict[str, float]
    """Mean of each component; they sum to the mean."""
    variance_shares: Shares | None
    """Covariance of each component with the latency over its variance; None where nothing varies."""
    variance_share_intervals: dict[str, tuple[float, float]] | None
    """95 % intervals of these shares over replications; None with fewer than two that vary."""
    tail_shares: dict[str, Shares | None]
    """Shares in the excess over the mean of the values beyond each percentile; None without such values."""
    levels: dict[str, float | None] | None
    """Shares of the variance by level; None where nothing varies; a level that was not seen has None."""


@dataclass(frozen=True)
class ReplicaExplanation:
    """The part of one replica in the gaps between tokens."""

    replica: int
    mean_itl_ms: float
    token_share: float
    variance_share: float
    """Share in the variance about the mean of all replicas."""
    tail_shares: dict[str, float]
    """Share of the gaps beyond each percentile."""


@dataclass(frozen=True)
class Explanation:
    """Where the spread of latencies comes from, in one run or in replications of one scenario together."""

    scenario: str
    noise: str
    seeds: list[int]
    latencies: dict[str, LatencyExplanation | None]
    """Keyed by the names in `metrics.LATENCIES`; None for a latency without values."""
    replicas: list[ReplicaExplanation]
    """The one with most of the variance first."""
    critical_path: CriticalPath | None
    """None where no rank waits for another, or where the scenario of a run cannot be read."""
    slowest_requests: dict[str, list[SlowRequest]]
    """Keyed by `ttft` and `e2el`."""
    entities: Entities | None
    """None where the scenario of a run cannot be read."""
    notes: list[str]
    """What a reader should know before believing the figures."""
    assumptions: list[str]


def explanation_as_json(found: Explanation) -> dict[str, Any]:
    """
    An explanation as plain data: latencies at the top by name, all else under the names of its fields.

    A latency without a value has `n` and `levels` only; intervals over replications are left out for a single run.
    """
    data = asdict(found)
    latencies = data.pop("latencies")
    seeds = data.pop("seeds")
    for name, latency in latencies.items():
        if latency is None:
            latencies[name] = {"n": 0, "levels": None}
        elif len(seeds) == 1:
            del latency["variance_share_intervals"]
    head = {"format": EXPLAIN_FORMAT, "scenario": data.pop("scenario"), "noise": data.pop("noise"), "seeds": seeds}
    return {**head, **latencies, **data}
