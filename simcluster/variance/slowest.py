"""
The slowest requests: how much longer they took than the mean, in which component, and why.

The excess of a request's TTFT over the mean is the sum of the excesses of its components. Of E2E, the part after the
first token is split once more: gaps that the request has more than others, each of mean length, and gaps that are
longer than the mean gap. The largest of these terms is the reason; the cause is what was going on at the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from simcluster.numerics.arrays import Floats, Integers
from simcluster.numerics.ticks import TICKS_PER_S, Ticks
from simcluster.results.metrics import TICKS_PER_MS
from simcluster.results.read_run import RunFolder
from simcluster.trace.columns import COMPONENTS
from simcluster.variance.circumstances import Circumstances
from simcluster.variance.moments import Moments, whole_of

MAX_REQUESTS = 5
"""Requests reported for each latency."""
KINDS = ("ttft", "e2el")
OF_LENGTH = "output_tokens"
"""Stands for a component where a request is slow by the number of its tokens."""
_NAMES = tuple(COMPONENTS)


class SlowTimes(NamedTuple):
    """Times of one finished request that may be among the slowest."""

    ticks: int
    """Its latency."""
    request: int
    first: Ticks
    """Components of its first token, shape (components,)."""
    later: Ticks
    """Sums of the components of its gaps, shape (components,)."""
    n_gaps: int


class MeanTimes(NamedTuple):
    """Means over all finished requests."""

    first: Floats
    """Ticks of each component of a first token."""
    gap: Floats
    """Ticks of each component of a gap; zeros if there are no gaps."""
    n_gaps: float
    """Gaps of a request."""


@dataclass(frozen=True)
class SlowRequest:
    """One of the slowest requests, and why it was slow."""

    seed: int
    """Seed of its run."""
    request: int
    arrived_s: float
    prompt_tokens: int
    output_tokens: int
    replica: int
    ttft_ms: float
    e2el_ms: float
    excess_ms: float
    """Over the mean of all requests."""
    component: str
    """The component with most of the excess, or `output_tokens` where their number has most of it."""
    component_excess_ms: float
    cause: str
    """A short text."""


def slowest_of(
    first: Ticks, later: Ticks, counts: Integers, finished: npt.NDArray[np.bool_]
) -> dict[str, list[SlowTimes]]:
    """
    The slowest requests of a run by latency, the slowest first; of equal ones the earlier first.

    Args:
        first: components of every request's first token, shape (components, requests).
        later: sums of those of its gaps, of the same shape.
        counts: gaps of each request, shape (requests,).
        finished: which requests count, shape (requests,).
    """
    numbers = np.flatnonzero(finished)
    found = {}
    for kind, ticks in (("ttft", whole_of(first)), ("e2el", whole_of(first) + whole_of(later))):
        order = numbers[np.argsort(-ticks[numbers], kind="stable")[:MAX_REQUESTS]]
        found[kind] = [
            SlowTimes(int(ticks[n]), int(n), first[:, n].copy(), later[:, n].copy(), int(counts[n])) for n in order
        ]
    return found


def mean_times(ttft: Moments, itl: Moments) -> MeanTimes:
    """The mean request, from moments of at least one first token and of gaps."""
    gap = np.array(itl.mean()) if itl.n else np.zeros(len(COMPONENTS))
    return MeanTimes(np.array(ttft.mean()), gap, itl.n / ttft.n)


def slowest_requests(
    kind: str, runs: Sequence[RunFolder], slow: Sequence[Sequence[SlowTimes]], mean: MeanTimes
) -> list[SlowRequest]:
    """
    The slowest requests of all runs that exceed the mean, the slowest first.

    Args:
        kind: `ttft` or `e2el`.
        runs: with the slowest of each in `slow`.
        slow: by run.
        mean: over all runs.
    """
    mean_ticks = mean.first.sum() + (mean.n_gaps * mean.gap.sum() if kind == "e2el" else 0.0)
    all_slow = [(one, place) for place, some in enumerate(slow) for one in some if one.ticks > mean_ticks]
    all_slow.sort(key=lambda pair: (-pair[0].ticks, pair[1], pair[0].request))
    circumstances: dict[int, Circumstances] = {}
    found = []
    for one, place in all_slow[:MAX_REQUESTS]:
        run = runs[place]
        if place not in circumstances:
            circumstances[place] = Circumstances(run)
        component, excess_ms, cause = _reason(kind, one, mean, circumstances[place])
        first_ticks = int(one.first.sum())
        found.append(
            SlowRequest(
                seed=run.summary["seed"],
                request=one.request,
                arrived_s=int(run.requests["arrived_at_ticks"][one.request]) / TICKS_PER_S,
                prompt_tokens=int(run.requests["prompt_tokens"][one.request]),
                output_tokens=one.n_gaps + 1,
                replica=int(run.requests["replica"][one.request]),
                ttft_ms=first_ticks / TICKS_PER_MS,
                e2el_ms=(first_ticks + int(one.later.sum())) / TICKS_PER_MS,
                excess_ms=float(one.ticks - mean_ticks) / TICKS_PER_MS,
                component=component,
                component_excess_ms=excess_ms,
                cause=cause,
            )
        )
    return found


def _reason(kind: str, one: SlowTimes, mean: MeanTimes, around: Circumstances) -> tuple[str, float, str]:
    """The component, or `OF_LENGTH`, that makes a request slow, its ms over the mean, and the cause in words."""
    first_excess = one.first - mean.first
    if kind == "ttft":
        place = int(first_excess.argmax())
        cause = around.of_first_token(one.request, _NAMES[place])
        return _NAMES[place], float(first_excess[place]) / TICKS_PER_MS, cause
    longer_gaps = one.later - one.n_gaps * mean.gap
    more_gaps = (one.n_gaps - mean.n_gaps) * mean.gap
    terms = first_excess + longer_gaps
    if more_gaps.sum() > terms.max():
        cause = around.of_length(one.request, one.n_gaps + 1, mean.n_gaps + 1)
        return OF_LENGTH, float(more_gaps.sum()) / TICKS_PER_MS, cause
    place = int(terms.argmax())
    name, is_first = _NAMES[place], first_excess[place] >= longer_gaps[place]
    cause = around.of_first_token(one.request, name) if is_first else around.of_gaps(one.request, name)
    return name, float(terms[place]) / TICKS_PER_MS, cause
