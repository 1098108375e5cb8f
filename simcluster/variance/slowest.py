"""
The slowest requests: how much longer they took than the mean, in which component, and by what cause.

What a request's TTFT exceeds the mean by is the sum of what its components exceed theirs by. Of E2E, the part behind
the first token is split once more: so many gaps more than others have, each of mean length, and gaps that are longer
than the mean gap. The largest of these terms is the reason, and who was there meanwhile is its cause.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from simcluster.numerics.ticks import TICKS_PER_S, Ticks
from simcluster.results.metrics import TICKS_PER_MS
from simcluster.results.read_run import RunFolder
from simcluster.trace.columns import COMPONENTS
from simcluster.variance.circumstances import Circumstances
from simcluster.variance.moments import Moments, whole_of

MOST_REQUESTS = 5
"""Of a latency that are told."""
KINDS = ("ttft", "e2el")
OF_LENGTH = "output_tokens"
"""Stands for a component where a request is slow by the number of its tokens."""
_NAMES = tuple(COMPONENTS)
Floats = npt.NDArray[np.float64]


class Slow(NamedTuple):
    """One request, finished and slow."""

    ticks: int
    """Its latency."""
    request: int
    first: Ticks
    """Components of its first token, shape (components,)."""
    later: Ticks
    """Sums of the components of its gaps, shape (components,)."""
    n_gaps: int


class Mean(NamedTuple):
    """Of all finished requests."""

    first: Floats
    """Ticks of each component of a first token."""
    gap: Floats
    """Ticks of each component of a gap; zeros without any."""
    n_gaps: float
    """A request."""


def slowest_of(
    first: Ticks, later: Ticks, counts: npt.NDArray[np.int64], finished: npt.NDArray[np.bool_]
) -> dict[str, list[Slow]]:
    """
    The slowest requests of a run by latency, the slowest first; of equal ones the earlier first.

    Args:
        first: components of every request's first token, shape (components, requests).
        later: sums of those of its gaps, of the same shape.
        counts: gaps of each request, shape (requests,).
        finished: which count, shape (requests,).
    """
    numbers = np.flatnonzero(finished)
    found = {}
    for kind, ticks in (("ttft", whole_of(first)), ("e2el", whole_of(first) + whole_of(later))):
        order = numbers[np.argsort(-ticks[numbers], kind="stable")[:MOST_REQUESTS]]
        found[kind] = [
            Slow(int(ticks[n]), int(n), first[:, n].copy(), later[:, n].copy(), int(counts[n])) for n in order
        ]
    return found


def mean_of(ttft: Moments, itl: Moments) -> Mean:
    """The mean request, of moments of first tokens and of gaps; there must be a first token."""
    gap = np.array(itl.mean()) if itl.n else np.zeros(len(COMPONENTS))
    return Mean(np.array(ttft.mean()), gap, itl.n / ttft.n)


def told(kind: str, runs: Sequence[RunFolder], slow: Sequence[Sequence[Slow]], mean: Mean) -> list[dict[str, Any]]:
    """
    The slowest of all runs.

    Args:
        kind: `ttft` or `e2el`.
        runs: with the slowest of each in `slow`.
        mean: of all of them.

    Returns:
        Of each request `seed`, `request`, `arrived_s`, `prompt_tokens`, `output_tokens`, `replica`, `ttft_ms`,
        `e2el_ms`, `excess_ms` over the mean of all, the `component` that has most of it or, where their number has,
        `output_tokens`, `component_excess_ms`, and `cause` in words. None that does not exceed the mean.
    """
    mean_ticks = mean.first.sum() + (mean.n_gaps * mean.gap.sum() if kind == "e2el" else 0.0)
    all_slow = [(one, place) for place, some in enumerate(slow) for one in some if one.ticks > mean_ticks]
    all_slow.sort(key=lambda pair: (-pair[0].ticks, pair[1], pair[0].request))
    around: dict[int, Circumstances] = {}
    found = []
    for one, place in all_slow[:MOST_REQUESTS]:
        run = runs[place]
        if place not in around:
            around[place] = Circumstances(run)
        there = around[place]
        component, excess_ms, cause = _why(kind, one, mean, there)
        first_ticks = int(one.first.sum())
        found.append(
            {
                "seed": run.summary["seed"],
                "request": one.request,
                "arrived_s": int(run.requests["arrived_at_ticks"][one.request]) / TICKS_PER_S,
                "prompt_tokens": int(run.requests["prompt_tokens"][one.request]),
                "output_tokens": one.n_gaps + 1,
                "replica": int(run.requests["replica"][one.request]),
                "ttft_ms": first_ticks / TICKS_PER_MS,
                "e2el_ms": (first_ticks + int(one.later.sum())) / TICKS_PER_MS,
                "excess_ms": float(one.ticks - mean_ticks) / TICKS_PER_MS,
                "component": component,
                "component_excess_ms": excess_ms,
                "cause": cause,
            }
        )
    return found


def _why(kind: str, one: Slow, mean: Mean, there: Circumstances) -> tuple[str, float, str]:
    """The component, or `OF_LENGTH`, that a request is slow by, its ms over the mean, and the cause in words."""
    at_first = one.first - mean.first
    if kind == "ttft":
        place = int(at_first.argmax())
        return _NAMES[place], float(at_first[place]) / TICKS_PER_MS, there.of_first_token(one.request, _NAMES[place])
    longer_gaps = one.later - one.n_gaps * mean.gap
    more_gaps = (one.n_gaps - mean.n_gaps) * mean.gap
    terms = at_first + longer_gaps
    if more_gaps.sum() > terms.max():
        cause = there.of_length(one.request, one.n_gaps + 1, mean.n_gaps + 1)
        return OF_LENGTH, float(more_gaps.sum()) / TICKS_PER_MS, cause
    place = int(terms.argmax())
    name, is_first = _NAMES[place], at_first[place] >= longer_gaps[place]
    cause = there.of_first_token(one.request, name) if is_first else there.of_gaps(one.request, name)
    return name, float(terms[place]) / TICKS_PER_MS, cause
