"""
What a latency's mean, median, p95 and p99 are made of: their components, gathered while a run is played.

A percentile is one value, and its components are those of one token or two. So the values about it count as well,
each by its probability of being the percentile of a sample as large as this one (of a thousand, if it is larger):
the weights of Harrell and Davis. They change little where two values change places, so that what differs between two
runs of a world is what has changed. Of each value its shares count, not its time, so that a long one is no more.

Source:
    Harrell and Davis, A new distribution-free quantile estimator, Biometrika 69 (1982), 635.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from simcluster.comparison.length_bins import LengthBins, Sums
from simcluster.results.metrics import are_finished
from simcluster.trace.columns import COMPONENTS, N_KEYS, Block

Floats = npt.NDArray[np.float64]

STATISTICS: dict[str, float | None] = {"mean": None, "median": 0.5, "p95": 0.95, "p99": 0.99}
"""That are split, and which quantile each is."""
LARGEST_SAMPLE = 1000
"""Assumed: the weights of more values would rest on few steps, all tokens of which have one length."""
SHARE_DIGITS = 5
"""Behind the point, that shares are compared with: those of a baseline file."""
_N_PARTS = len(COMPONENTS)

Parts = dict[str, dict[str, float]]
"""By metric the share of each component in it, those that are zero left out."""


class PartSums:
    """
    Sums of components, block by block: of gaps by their length, and of requests by their number.

    Args:
        has_horizon: whether some requests may not be finished, so that rows are kept until it is known which are.
    """

    def __init__(self, has_horizon: bool = False) -> None:
        self._has_horizon = has_horizon
        self._kept: list[Block] = []
        self._gaps = LengthBins(_N_PARTS)
        self._gap_counts = np.zeros(0)
        self._first = np.zeros((_N_PARTS, 0))
        self._later = np.zeros((_N_PARTS, 0))

    def add(self, block: Block) -> None:
        """Add rows of the token table, shape (columns, rows)."""
        if self._has_horizon:
            self._kept.append(block)
        elif block.shape[1]:
            self._count(block)

    def shares(self, requests: dict[str, Any]) -> Parts:
        """What each metric is made of, once the run is over; metrics without values are left out."""
        finished = are_finished(requests)
        for block in self._kept:
            rows = block[:, finished[block[0]]]
            if rows.shape[1]:
                self._count(rows)
        self._kept = []
        self._grow(len(finished))
        counted = np.flatnonzero(finished)
        first, later, gap_counts = self._first[:, counted], self._later[:, counted], self._gap_counts[counted]
        several = gap_counts > 0
        each, some = np.ones(len(counted)), np.ones(int(several.sum()))
        return (
            _split("ttft", Sums(each, first))
            | _split("tpot", Sums(some, later[:, several] / gap_counts[several]))
            | _split("itl", self._gaps.sums())
            | _split("e2el", Sums(each, first + later))
        )

    def _count(self, block: Block) -> None:
        requests, parts = block[0], block[N_KEYS:]
        self._grow(int(requests.max()) + 1)
        is_first = block[1] == 0
        self._first[:, requests[is_first]] = parts[:, is_first]
        gaps, of = parts[:, ~is_first], requests[~is_first]
        if not len(of):
            return
        n = len(self._gap_counts)
        self._gap_counts += np.bincount(of, minlength=n)
        self._gaps.add(gaps)
        for part, ticks in enumerate(gaps):
            if ticks.any():
                self._later[part] += np.bincount(of, weights=ticks, minlength=n)

    def _grow(self, n_requests: int) -> None:
        """Make room for requests up to a number."""
        more = n_requests - len(self._gap_counts)
        if more > 0:
            more = max(more, len(self._gap_counts))
            self._gap_counts = np.pad(self._gap_counts, (0, more))
            self._first, self._later = (np.pad(a, ((0, 0), (0, more))) for a in (self._first, self._later))


def _split(latency: str, values: Sums) -> Parts:
    """Shares of the components in each statistic of some values."""
    totals = values.parts.sum(axis=0)
    if not totals.any():
        return {}
    order = np.argsort(totals / values.counts, kind="stable")
    counts, parts, totals = values.counts[order], values.parts[:, order], totals[order]
    shares = parts / np.where(totals > 0, totals, 1)
    found = {}
    for statistic, quantile in STATISTICS.items():
        of_each = parts if quantile is None else shares * quantile_weights(counts, quantile)
        of_each = of_each.sum(axis=1)  # not `@`, which adds in another order on another processor
        if total := float(of_each.sum()):
            found[f"{statistic}_{latency}_ms"] = {
                name: float(part) / total for name, part in zip(COMPONENTS, of_each, strict=True) if part
            }
    return found


def quantile_weights(counts: Floats, quantile: float) -> Floats:
    """
    Weights of values in ascending order for a quantile; they sum to 1.

    Args:
        counts: how often each value occurs.
        quantile: between 0 and 1.
    """
    from scipy.special import betainc  # slow to import, and only needed here

    ends = np.concatenate([[0.0], np.cumsum(counts)])
    size = min(ends[-1], LARGEST_SAMPLE) + 1
    weights: Floats = np.diff(betainc(size * quantile, size * (1 - quantile), ends / ends[-1]))
    return weights


def rounded(parts: Parts) -> Parts:
    """Shares to as many digits as are compared; those that are zero then are left out."""
    return {
        metric: {name: share for name, part in shares.items() if (share := round(part, SHARE_DIGITS))}
        for metric, shares in parts.items()
    }
