"""Sums and worst values of latencies, from two passes over a run's token table in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from simcluster.numerics.arrays import Integers
from simcluster.numerics.ticks import Ticks
from simcluster.results.metrics import LATENCIES, are_finished
from simcluster.results.read_run import Columns, RunFolder
from simcluster.trace.columns import COMPONENT_COLUMNS
from simcluster.variance.exact import MAX_ROWS, squares_by, sums_by
from simcluster.variance.levels import Residuals
from simcluster.variance.moments import N_PARTS, Moments, whole_of
from simcluster.variance.slowest import SlowTimes, slowest_of
from simcluster.variance.steps import StepCounter, keep
from simcluster.variance.tail import Tail, Worst

Latency = str


@dataclass(frozen=True, eq=False)
class TokenStatistics:
    """A run after the first pass over its tokens."""

    run: RunFolder
    moments: dict[Latency, Moments]
    worst: dict[Latency, Worst]
    requests: GapsByRequest
    replicas: GapsByReplica
    slowest: dict[Latency, list[SlowTimes]]
    """Requests by `ttft` and by `e2el`."""


class GapsByRequest(NamedTuple):
    """Number and sum of the gaps of each request."""

    counts: Integers
    """Shape (requests,)."""
    sums: Ticks
    """Shape (requests,)."""


class GapsByReplica(NamedTuple):
    """Number, sum and sum of squares of the gaps made by each replica."""

    counts: Integers
    """Shape (replicas,)."""
    sums: list[int]
    squares: list[int]


class Gaps(NamedTuple):
    """Tokens of finished requests that follow another."""

    request: Ticks
    replica: Ticks
    step: Ticks
    parts: Ticks
    """Their components, shape (components, n)."""
    whole: Ticks
    """Their latency, shape (n,)."""


def token_statistics(run: RunFolder, n_tokens: int) -> TokenStatistics:
    """
    Make the first pass: moments and worst values of each latency, gaps by request and by replica, slowest requests.

    The steps of the run are counted in the same pass, see `step_summary`.

    Args:
        run: on disk.
        n_tokens: tokens of all runs that are explained together, of which the worst are kept.

    Raises:
        InputError: the token table is damaged.
    """
    sums, steps = _FirstPass(run, n_tokens), StepCounter(run)
    for block in run.tokens((*steps.columns, *COMPONENT_COLUMNS)):
        steps.add(block)
        sums.add(block)
    keep(run, steps)
    return sums.statistics()


class _FirstPass:
    """Sums over the tokens of a run, added block by block."""

    def __init__(self, run: RunFolder, n_tokens: int) -> None:
        self._run, self._finished = run, are_finished(run.requests)
        self._moments = {name: Moments() for name in LATENCIES}
        self._worst = {name: Worst(n_tokens // 100 + 1) for name in LATENCIES}
        n_requests, n_replicas = len(self._finished), int(run.requests["replica"].max(initial=0)) + 1
        self._n_gaps = np.zeros(n_requests, np.int64)
        self._first, self._later = np.zeros((2, N_PARTS, n_requests), np.int64)
        self._replicas = GapsByReplica(np.zeros(n_replicas, np.int64), [0] * n_replicas, [0] * n_replicas)

    def add(self, block: Columns) -> None:
        """Add a block of rows."""
        first, gaps = _split(block, self._finished, COMPONENT_COLUMNS)
        self._add("ttft", first.parts, first.whole)
        self._add("itl", gaps.parts, gaps.whole)
        self._first[:, first.request] = first.parts
        self._n_gaps += np.bincount(gaps.request, minlength=len(self._n_gaps))
        for part, of_requests in zip(gaps.parts, self._later, strict=True):
            if part.any():
                of_requests += sums_by(gaps.request, part, len(of_requests))
        counts, sums, squares = self._replicas
        counts += np.bincount(gaps.replica, minlength=len(counts))
        for replica, ticks in enumerate(sums_by(gaps.replica, gaps.whole, len(counts)).tolist()):
            sums[replica] += ticks
        for replica, square in squares_by(gaps.replica, gaps.whole).items():
            squares[replica] += square

    def _add(self, name: Latency, parts: Ticks, whole: Ticks) -> None:
        self._moments[name].add(parts, whole)
        self._worst[name].add(parts, whole)

    def statistics(self) -> TokenStatistics:
        """All of them, once all blocks are added."""
        several = self._n_gaps > 0
        # A part of a mean gap is rounded to a picosecond, so that the parts are whole and their sum is the mean.
        tpot_parts = np.rint(self._later[:, several] / self._n_gaps[several]).astype(np.int64)
        for name, parts in (("tpot", tpot_parts), ("e2el", (self._first + self._later)[:, self._finished])):
            for start in range(0, parts.shape[1], MAX_ROWS):
                some = parts[:, start : start + MAX_ROWS]
                self._add(name, some, whole_of(some))
        return TokenStatistics(
            self._run, self._moments, self._worst, GapsByRequest(self._n_gaps, whole_of(self._later)), self._replicas,
            slowest_of(self._first, self._later, self._n_gaps, self._finished),
        )  # fmt: skip


class GapStatistics(NamedTuple):
    """The gaps of a run after the second pass."""

    between_steps: float
    """Sum of squares between steps of the gaps minus their requests' means."""
    within_steps: float
    tail_of_replicas: dict[str, list[Fraction]]
    """Gaps of each replica among the worst, by percentile."""


def gap_statistics(first: TokenStatistics, tails: dict[str, Tail]) -> GapStatistics:
    """
    Make the second pass over a run's gaps, which needs the requests' means and the borders of the tails.

    Args:
        first: what the first pass found.
        tails: of the gaps of all runs together, by percentile.

    Raises:
        InputError: the token table is damaged.
    """
    run, (counts, sums), n_replicas = first.run, first.requests, len(first.replicas.counts)
    means = sums / np.maximum(counts, 1)
    residuals = Residuals()
    used = [name for name, ticks in zip(COMPONENT_COLUMNS, first.moments["itl"].sums, strict=True) if ticks]
    above = {name: np.zeros(n_replicas, np.int64) for name in tails}
    at = {name: np.zeros(n_replicas, np.int64) for name in tails}
    finished = are_finished(run.requests)
    for block in run.tokens(("request", "token", "replica", "step", *used)):
        _, gaps = _split(block, finished, used)
        residuals.add(gaps.replica, gaps.step, gaps.whole - means[gaps.request])
        for name, tail in tails.items():
            above[name] += np.bincount(gaps.replica[gaps.whole > tail.border], minlength=n_replicas)
            at[name] += np.bincount(gaps.replica[gaps.whole == tail.border], minlength=n_replicas)
    in_tail = {
        name: [n + tail.fraction * m for n, m in zip(above[name].tolist(), at[name].tolist(), strict=True)]
        for name, tail in tails.items()
    }
    return GapStatistics(*residuals.squares(), in_tail)


def _split(block: Columns, finished: npt.NDArray[np.bool_], names: Sequence[str]) -> tuple[Gaps, Gaps]:
    """First tokens of finished requests, and later ones."""
    is_first = block["token"] == 0
    counts = finished[block["request"]]
    parts = np.stack([block[name] for name in names]) if names else np.empty((0, len(is_first)), np.int64)
    keys = [block[name] for name in ("request", "replica", "step")]
    return _some(keys, parts, is_first & counts), _some(keys, parts, ~is_first & counts)


def _some(keys: Sequence[Ticks], parts: Ticks, which: npt.NDArray[np.bool_]) -> Gaps:
    some = parts if which.all() else parts[:, which]
    request, replica, step = (key[which] for key in keys)
    return Gaps(request, replica, step, some, whole_of(some))
