"""Arrival processes that a scenario may name, each made from one uniform number per request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from simcluster.files.quantities import Frozen, PositiveInt, Rate
from simcluster.numerics.arrays import Floats


class Single(Frozen):
    """One request at time 0."""

    kind: Literal["single"]


class Closed(Frozen):
    """A closed loop: `concurrency` requests are in flight, and the next arrives when one finishes."""

    kind: Literal["closed"]
    concurrency: PositiveInt


class Deterministic(Frozen):
    """A request every 1/rate seconds."""

    kind: Literal["deterministic"]
    rate_req_per_s: Rate = Field(alias="rate")


class Poisson(Frozen):
    """Independent exponential gaps of mean 1/rate, as in queueing theory."""

    kind: Literal["poisson"]
    rate_req_per_s: Rate = Field(alias="rate")


class Gamma(Frozen):
    """Gamma-distributed gaps, stretched so that the last request arrives at n/rate: vLLM's `--burstiness`."""

    kind: Literal["gamma"]
    rate_req_per_s: Rate = Field(alias="rate")
    burstiness: Annotated[float, Field(ge=1e-3, le=1e6)]
    """Shape of the gaps, 1/CV² before stretching: 1 is exponential, below is burstier, above is more even."""


Arrivals = Annotated[Single | Closed | Deterministic | Poisson | Gamma, Field(discriminator="kind")]


def at_once(spec: Single | Closed, uniform: Floats) -> Floats:
    """Return time 0 for all requests; a closed loop holds back those above its concurrency."""
    return np.zeros(len(uniform))


def deterministic(spec: Deterministic, uniform: Floats) -> Floats:
    """Return k/rate for the k-th request, counted from 1."""
    return np.arange(1, len(uniform) + 1) / spec.rate_req_per_s


def poisson(spec: Poisson, uniform: Floats) -> Floats:
    """
    Return the arrival of the k-th request after k exponential gaps.

    The gaps are not stretched to a fixed total as load generators do: that would remove part of the variance that
    waiting-time formulas assume.
    """
    return np.cumsum(-np.log1p(-uniform)) / spec.rate_req_per_s


def gamma(spec: Gamma, uniform: Floats) -> Floats:
    """
    Return the arrival of the k-th request after k gamma gaps, stretched so that the last arrives at exactly n/rate.

    The gaps have shape `burstiness` and mean 1/rate; the first request arrives after the first gap, not at 0.
    Because the factor depends on all gaps, the first requests of a longer run are not those of a shorter one.

    Source:
        vLLM, vllm/benchmarks/serve.py, get_request (cumulative delays, normalised when there is no ramp-up).
    """
    # The scale 1/(rate * burstiness) cancels in the stretching. Very bursty gaps underflow to 0; the smallest normal
    # number in their place keeps the sum positive.
    from scipy.special import gammaincinv  # imported here because it takes longer than the rest of this module

    gaps = np.maximum(gammaincinv(spec.burstiness, uniform), np.finfo(np.float64).tiny)
    reached: Floats = np.cumsum(gaps)
    stretched: Floats = reached / reached[-1] * (len(uniform) / spec.rate_req_per_s)
    return stretched


ARRIVALS: dict[str, Callable[[Any, Floats], Floats]] = {
    "single": at_once,
    "closed": at_once,
    "deterministic": deterministic,
    "poisson": poisson,
    "gamma": gamma,
}
"""Functions by kind, from a specification and uniform numbers, shape (n,), to ascending seconds, shape (n,)."""
