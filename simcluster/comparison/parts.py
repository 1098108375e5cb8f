"""
Components of the mean, median, p95 and p99 of latencies, collected while a run is simulated.

A percentile is a single value, whose components are those of one or two tokens. So the values around it count too,
each weighted with the probability that it is the percentile of a sample of this size (at most a thousand): the
weights of Harrell and Davis. These change little when two values change places, so that runs of one world differ only
by what has changed. Shares are averaged, not times, so that long values do not dominate.

Source:
    Harrell and Davis, A new distribution-free quantile estimator, Biometrika 69 (1982), 635.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from simcluster.comparison.length_bins import LengthBins, Sums
from simcluster.numerics.arrays import Floats
from simcluster.results.metrics import are_finished
from simcluster.trace.columns import COMPONENTS, N_KEYS, Block

STATISTICS: dict[str, float | None] = {"mean": None, "median": 0.5, "p95": 0.95, "p99": 0.99}
"""Statistics that are split into components, with their quantiles."""
MAX_SAMPLE = 1000
"""Assumed: with more values, the weights would concentrate on few steps, whose tokens all have one length."""
SHARE_DIGITS = 5
"""Decimals of shares that are compared, as in a baseline file."""
_N_PARTS = len(COMPONENTS)

Parts = dict[str, dict[str, float]]
"""The share of each component by metric, without those that are zero."""


class PartSums:
    """
    Sums of components, added block by block: of gaps by their length, and of requests by their index.

    Args:
        has_horizon: whether some requests may stay unfinished, so that rows are kept until it is known which.
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
        """Shares in each metric after the run; metrics without values are left out."""
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
        """Make room for `n_requests` requests."""
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
        of_each = of_each.sum(axis=1)  # not `@`, whose order of summation depends on the processor
        if total := float(of_each.sum()):
            found[f"{statistic}_{latency}_ms"] = {
                name: float(part) / total for name, part in zip(COMPONENTS, of_each, strict=True) if part
            }
    return found


def quantile_weights(counts: Floats, quantile: float) -> Floats:
    """
    Harrell-Davis weights of values in ascending order for a quantile; they sum to 1.

    Args:
        counts: how often each value occurs.
        quantile: between 0 and 1.
    """
    from scipy.special import betainc  # slow to import

    ends = np.concatenate([[0.0], np.cumsum(counts)])
    size = min(ends[-1], MAX_SAMPLE) + 1
    weights: Floats = np.diff(betainc(size * quantile, size * (1 - quantile), ends / ends[-1]))
    return weights


def rounded(parts: Parts) -> Parts:
    """Shares rounded to the compared digits, without those that become zero."""
    return {
        metric: {name: share for name, part in shares.items() if (share := round(part, SHARE_DIGITS))}
        for metric, shares in parts.items()
    }
