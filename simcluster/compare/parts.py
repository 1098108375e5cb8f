"""
What a latency's mean, median, p95 and p99 are made of: their components, gathered while a run is played.

A percentile is one value, and its components are those of one token or two. So the mean components of the values
about it are taken, a tenth of the way to the nearer end of the distribution on either side, and scaled to its size.
Gaps are counted in bins a thousandth wide, so that memory is bounded however many there are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from simcluster.metrics import are_finished
from simcluster.trace import COMPONENTS, N_KEYS, Block

Floats = npt.NDArray[np.float64]

BIN_WIDTH = 1e-3
"""Of the logarithm of a gap."""
_N_BINS = int(np.log(2.0**63) / BIN_WIDTH) + 2
_N_PARTS = len(COMPONENTS)
STATISTICS: dict[str, float | None] = {"mean": None, "median": 0.5, "p95": 0.95, "p99": 0.99}
"""That are split, and which quantile each is."""

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
        self._bin_counts = np.zeros(_N_BINS)
        self._bins = np.zeros((_N_PARTS, _N_BINS))
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
        used = self._bin_counts > 0
        gaps = gap_counts[several]
        return (
            _split("ttft", np.ones(first.shape[1]), first)
            | _split("tpot", np.ones(len(gaps)), later[:, several] / gaps)
            | _split("itl", self._bin_counts[used], self._bins[:, used])
            | _split("e2el", np.ones(first.shape[1]), first + later)
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
        bins = (np.log(np.maximum(gaps.sum(axis=0), 1)) / BIN_WIDTH).astype(np.int64)
        low, high = int(bins.min()), int(bins.max()) + 1
        self._bin_counts[low:high] += np.bincount(bins - low, minlength=high - low)
        for part, ticks in enumerate(gaps):
            if ticks.any():
                self._later[part] += np.bincount(of, weights=ticks, minlength=n)
                self._bins[part, low:high] += np.bincount(bins - low, weights=ticks, minlength=high - low)

    def _grow(self, n_requests: int) -> None:
        """Make room for requests up to a number."""
        more = n_requests - len(self._gap_counts)
        if more > 0:
            more = max(more, len(self._gap_counts))
            self._gap_counts = np.pad(self._gap_counts, (0, more))
            self._first, self._later = (np.pad(a, ((0, 0), (0, more))) for a in (self._first, self._later))


def _split(latency: str, counts: Floats, sums: Floats) -> Parts:
    """Shares of the components in each statistic; values of which so many have these sums, shape (parts, values)."""
    if not len(counts):
        return {}
    order = np.argsort(sums.sum(axis=0) / counts, kind="stable")
    counts, sums = counts[order], sums[:, order]
    ends = np.cumsum(counts)
    found = {}
    for statistic, quantile in STATISTICS.items():
        about = slice(None) if quantile is None else _about(ends, quantile)
        parts = sums[:, about].sum(axis=1)
        total = float(parts.sum())
        if total > 0:
            found[f"{statistic}_{latency}_ms"] = {
                name: float(part) / total for name, part in zip(COMPONENTS, parts, strict=True) if part
            }
    return found


def _about(ends: Floats, quantile: float) -> slice:
    """The values about a quantile, at least the two that numpy's percentile lies between."""
    n = float(ends[-1])
    half = min(quantile, 1 - quantile) / 10 * n
    place = quantile * (n - 1)
    low, high = min(np.floor(place), quantile * n - half), max(np.ceil(place), quantile * n + half - 1)
    first, last = np.searchsorted(ends, [max(low, 0), min(high, n - 1)], side="right")
    return slice(int(first), min(int(last), len(ends) - 1) + 1)


def split(base: dict[str, float], candidate: dict[str, float], base_value: float, value: float) -> dict[str, float]:
    """
    The change of a metric by component, relative to the base's value, the largest first; it sums to the change.

    Args:
        base: shares of the components in the base's value.
        candidate: shares in the candidate's.
        base_value: the base's, more than 0.
        value: the candidate's.
    """
    ratio = value / base_value
    changes = {
        name: candidate.get(name, 0.0) * ratio - base.get(name, 0.0)
        for name in COMPONENTS
        if name in base or name in candidate
    }
    return dict(sorted(changes.items(), key=lambda item: -abs(item[1])))
