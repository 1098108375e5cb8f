"""
Durations of collective operations on an idle fabric.

Every algorithm is two numbers: its successive rounds, and the bytes that pass one after another over the link of the
busiest rank, in one direction. A fit (`calibration.collectives`) adds the cost of a start, the cost of a round and
the bandwidth attained. Counted: start, rounds, bytes. Left out: contention (see the kernel's fabric), the additions,
skew between ranks, and pipelining between the phases of a hierarchical all-reduce. Where a logarithm appears, N ranks
take ceil(log2 N) rounds, also when N is not a power of two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import reduce
from typing import NamedTuple, TypeVar

import numpy as np

from simcluster.catalog.calibration.collectives import Collective, CollectiveFit, Fabric, Launch
from simcluster.files.problems import nearest
from simcluster.numerics.arrays import Floats
from simcluster.numerics.ticks import to_ticks

Size = TypeVar("Size", float, Floats)
"""Bytes, one number or an array; durations have the same shape."""


@dataclass(frozen=True)
class Algorithm:
    """The closed form of one algorithm, independent of hardware."""

    steps: Callable[[int], int]
    """Successive rounds, by number of ranks."""
    share: Callable[[int], float]
    """Bytes that pass one after another over the busiest link direction, for each byte of the array, by ranks."""


def _log2(n_ranks: int) -> int:
    """ceil(log2 n_ranks), exact."""
    return (n_ranks - 1).bit_length()


def _once(n_ranks: int) -> float:
    """All parts of the array but a rank's own."""
    return (n_ranks - 1) / n_ranks


ALL_REDUCE: dict[str, Algorithm] = {
    "ring": Algorithm(lambda n: 2 * (n - 1), lambda n: 2 * _once(n)),
    "tree": Algorithm(lambda n: 2 * _log2(n), lambda n: 2 * _log2(n)),
    "halving_doubling": Algorithm(lambda n: 2 * _log2(n), lambda n: 2 * _once(n)),
    "one_shot": Algorithm(lambda n: 1, lambda n: n - 1),
    "two_shot": Algorithm(lambda n: 2, lambda n: 2 * _once(n)),
    "nvls": Algorithm(lambda n: 2, lambda n: (n + 1) / n),
}
"""
All-reduce of n bytes that every one of N ranks holds.

ring: reduce-scatter and all-gather around a ring. tree: reduce to a root and broadcast, whole messages, not
pipelined: its bytes are those of all rounds in sequence. halving_doubling: Rabenseifner. one_shot: every rank sends
all to all others at once. two_shot: every rank collects one part from all others, adds, and sends the sum to all.
nvls: the switch adds and multicasts; a rank supplies its n bytes to the switch and sends back the n/N it was given
to sum, so the bytes tend to n for many ranks.
Source: Thakur, Rabenseifner, Gropp, Optimization of Collective Communication Operations in MPICH, 2005 (ring, tree,
halving-doubling); vLLM csrc/custom_all_reduce.cuh (one- and two-shot); NVIDIA/nccl src/device/all_reduce.h (NVLS).
"""

ALL_GATHER: dict[str, Algorithm] = {
    "ring": Algorithm(lambda n: n - 1, _once),
    "direct": Algorithm(lambda n: 1, _once),
}
"""All-gather to n bytes: n/N from every rank. direct: all pairs at once."""

REDUCE_SCATTER: dict[str, Algorithm] = dict(ALL_GATHER)
"""Reduce-scatter of n bytes on every rank, each of which keeps n/N: the all-gather in reverse."""

ALL_TO_ALL: dict[str, Algorithm] = {
    "pairwise": Algorithm(lambda n: n - 1, _once),
    "direct": Algorithm(lambda n: 1, _once),
}
"""All-to-all of n bytes on every rank, n/N of them for each rank. pairwise: one partner a round."""

SEND: dict[str, Algorithm] = {"direct": Algorithm(lambda n: 1, lambda n: 1.0)}
"""n bytes from one rank to another."""

COLLECTIVES: dict[Collective, dict[str, Algorithm]] = {
    "all_reduce": ALL_REDUCE,
    "all_gather": ALL_GATHER,
    "reduce_scatter": REDUCE_SCATTER,
    "all_to_all": ALL_TO_ALL,
    "send": SEND,
}

Fits = tuple[CollectiveFit, ...]


class Line(NamedTuple):
    """The duration of an algorithm as a straight line over the bytes of the array, for a number of ranks."""

    start_s: float
    """Start and rounds."""
    share: float
    """Bytes that pass one after another over the busiest link direction, for each byte of the array."""
    bytes_per_s: float

    def at(self, n_bytes: Size) -> Size:
        """Find the seconds for `n_bytes`."""
        return self.start_s + self.share * n_bytes / self.bytes_per_s


class Phase(NamedTuple):
    """A collective among the ranks of a group, for arrays of any size."""

    lines: tuple[Line, ...]
    """The lines of the available algorithms, of which the fastest is taken."""
    parts: int = 1
    """Number of equal parts of the array, of which it processes one."""


Phases = tuple[Phase, ...]
"""Successive phases; none for a single rank."""


def phases_s(phases: Phases, n_bytes: Size) -> Size:
    """Add the durations of all phases in the shape of `n_bytes`, the bytes of the array; monotonic in them."""
    total = n_bytes * 0.0
    for lines, parts in phases:
        times = [line.at(n_bytes / parts) for line in lines]
        total = total + (min(times) if isinstance(n_bytes, int | float) else reduce(np.minimum, times))
    return total


def phases_ticks(phases: Phases, n_bytes: float) -> int:
    """Add the durations of all phases in ticks, start and transfer rounded apart, as flows on an idle fabric are."""
    ticks = 0
    for lines, parts in phases:
        line = min(lines, key=lambda line: line.at(n_bytes / parts))
        ticks += to_ticks(line.start_s) + to_ticks(line.share * (n_bytes / parts) / line.bytes_per_s)
    return ticks


def flat(
    name: Collective, fits: Fits, n_ranks: int, launch: Launch, algorithm: str = "auto", parts: int = 1
) -> Phases:
    """
    Find the phases of a collective inside one fabric.

    Its array is the one that every rank holds in the end, or began with. An all-to-all with uneven parts, as with
    experts that are not equally popular, lasts as long as its busiest rank: pass the bytes of that one.

    Args:
        name: of the collective.
        fits: of the fabric, `Fabric.all_reduce` and its like.
        n_ranks: in the group.
        launch: how the kernels are started.
        algorithm: `auto` takes the fastest form available, as the libraries' tuners intend to; else the name of an
            algorithm or of a library, which narrows the choice to its forms.
        parts: of the array, of which it processes one.

    Raises:
        ValueError: an unknown name, no form for this number of ranks in this mode, or fewer than one rank.
    """
    usable = available(fits, n_ranks, launch, algorithm)
    forms = COLLECTIVES[name]
    lines = tuple([line_of(forms[fit.algorithm], fit, n_ranks) for fit in usable])
    return (Phase(lines, parts),) if n_ranks > 1 else ()


def hierarchical_all_reduce(
    inside: Fabric, across: Fabric, ranks_per_node: int, n_nodes: int, launch: Launch
) -> Phases:
    """
    Find the phases of an all-reduce over several nodes: reduce-scatter inside, all-reduce across, all-gather inside.

    Across nodes the ranks with the same index form one group each, with n/R bytes and a network port of its own (rail
    optimised); the groups run in parallel. The phases follow one another: large messages, which libraries cut and
    pipeline, take up to twice as long here. With one node, or one rank per node, it is a plain all-reduce.

    Args:
        inside: fabric of one node.
        across: fabric between nodes.
        ranks_per_node: R, equal on all nodes.
        n_nodes: at least 1.
        launch: how the kernels are started.
    """
    if n_nodes == 1:
        return flat("all_reduce", inside.all_reduce, ranks_per_node, launch)
    return (
        *flat("reduce_scatter", inside.reduce_scatter, ranks_per_node, launch),
        *flat("all_reduce", across.all_reduce, n_nodes, launch, parts=ranks_per_node),
        *flat("all_gather", inside.all_gather, ranks_per_node, launch),
    )


def line_of(form: Algorithm, fit: CollectiveFit, n_ranks: int) -> Line:
    """Apply a fit to an algorithm among `n_ranks`."""
    return Line(fit.fixed_s + form.steps(n_ranks) * fit.step_s, form.share(n_ranks), fit.bytes_per_s)


def fastest(
    name: Collective, fits: Fits, n_ranks: int, n_bytes: float, launch: Launch, algorithm: str = "auto"
) -> CollectiveFit:
    """Find the fit that `flat` uses for one size, the first of equals."""
    forms = COLLECTIVES[name]
    usable = available(fits, n_ranks, launch, algorithm)
    return min(usable, key=lambda fit: line_of(forms[fit.algorithm], fit, n_ranks).at(n_bytes))


def available(fits: Fits, n_ranks: int, launch: Launch, algorithm: str = "auto") -> Fits:
    """
    List the fits that can be used for `n_ranks` in this mode.

    Raises:
        ValueError: see `flat`; it lists the names that can be used.
    """
    if n_ranks < 1:
        raise ValueError(f"n_ranks is {n_ranks}; expected at least 1")
    usable = [
        fit
        for fit in fits
        if launch in fit.launch and fit.min_ranks <= n_ranks and (fit.max_ranks is None or n_ranks <= fit.max_ranks)
    ]
    chosen = tuple([fit for fit in usable if algorithm in ("auto", fit.algorithm, fit.library)])
    if not chosen:
        known = {"auto"} | _names(fits)
        if algorithm not in known:
            hint = f"{nearest(algorithm, known)} (known: {', '.join(sorted(known))})"
            raise ValueError(f"unknown algorithm '{algorithm}' on this link; {hint}")
        if n_ranks > 1:
            names = ", ".join(sorted(_names(usable))) or "none"
            raise ValueError(f"'{algorithm}' has no form for {n_ranks} ranks, launch '{launch}'; available: {names}")
    return chosen


def _names(fits: Iterable[CollectiveFit]) -> set[str]:
    """Collect the names of algorithms and libraries."""
    return {name for fit in fits for name in (fit.algorithm, fit.library)}
