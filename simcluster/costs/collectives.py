"""
How long a collective operation takes on an idle fabric, and what it puts on the links.

Every algorithm is two numbers: how many rounds follow one another, and how many bytes pass one after another over the
link of the busiest rank, in one direction. A fit (`calibration.collectives`) adds what a start costs, what a round
costs and the bandwidth attained. Counted: start, rounds, bytes. Left out: contention (the fabric of the kernel does
that), the adding itself, skew between ranks, and pipelining between the phases of a hierarchical all-reduce.
Rank counts that are no power of two take ceil(log2 N) rounds where a logarithm appears.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import reduce
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from simcluster.calibration.collectives import Collective, CollectiveFit, Fabric, Launch
from simcluster.problems import nearest

Size = TypeVar("Size", float, npt.NDArray[np.float64])
"""Bytes, one number or an array of them; times come back in the same shape."""


@dataclass(frozen=True)
class Algorithm:
    """The form of one algorithm, free of hardware."""

    steps: Callable[[int], int]
    """Rounds that follow one another, by number of ranks."""
    share: Callable[[int], float]
    """Bytes over the busiest link direction for each byte of the array, by number of ranks."""

    def traffic_bytes(self, n_ranks: int, n_bytes: Size) -> Size:
        """Bytes that pass one after another over the busiest link in one direction."""
        return self.share(n_ranks) * n_bytes


def _log2(n_ranks: int) -> int:
    """ceil(log2 n_ranks), exact."""
    return (n_ranks - 1).bit_length()


def _once(n_ranks: int) -> float:
    """Every part of the array but one's own."""
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
pipelined: its bytes are those of all rounds in sequence. halving_doubling: Rabenseifner. one_shot: everyone sends
all to all others at once. two_shot: everyone collects one part from all others, adds, and hands the sum out.
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
"""Reduce-scatter of n bytes on every rank, of which each keeps n/N: the all-gather run backwards."""

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


def all_reduce_s(fits: Fits, n_ranks: int, n_bytes: Size, launch: Launch, algorithm: str = "auto") -> Size:
    """
    Time of an all-reduce inside one fabric.

    Args:
        fits: of the fabric, `Fabric.all_reduce`.
        n_ranks: in the group; a single rank takes 0 s.
        n_bytes: of the array that every rank holds.
        launch: how the kernels are started.
        algorithm: `auto` takes the fastest form available, as the libraries' tuners mean to; else the name of an
            algorithm or of a library, which narrows the choice to its forms.

    Returns:
        Seconds, in the shape of `n_bytes`; never less for more bytes.

    Raises:
        ValueError: an unknown name, no form for so many ranks in this mode, or fewer than one rank.
    """
    return _fastest_s("all_reduce", fits, n_ranks, n_bytes, launch, algorithm)


def all_gather_s(fits: Fits, n_ranks: int, n_bytes: Size, launch: Launch, algorithm: str = "auto") -> Size:
    """Time until every rank holds `n_bytes`, of which each began with one part; else as `all_reduce_s`."""
    return _fastest_s("all_gather", fits, n_ranks, n_bytes, launch, algorithm)


def reduce_scatter_s(fits: Fits, n_ranks: int, n_bytes: Size, launch: Launch, algorithm: str = "auto") -> Size:
    """Time until every rank holds its summed part of the `n_bytes` each began with; else as `all_reduce_s`."""
    return _fastest_s("reduce_scatter", fits, n_ranks, n_bytes, launch, algorithm)


def all_to_all_s(fits: Fits, n_ranks: int, n_bytes: Size, launch: Launch, algorithm: str = "auto") -> Size:
    """
    Time to exchange equal parts of the `n_bytes` on every rank, its own part included; else as `all_reduce_s`.

    Uneven parts, as of experts that are not equally popular, last as long as the busiest rank: pass its bytes.
    """
    return _fastest_s("all_to_all", fits, n_ranks, n_bytes, launch, algorithm)


def send_s(fits: Fits, n_bytes: Size, launch: Launch, algorithm: str = "auto") -> Size:
    """Time of one message of `n_bytes` from one rank to another, start to arrival; else as `all_reduce_s`."""
    return _fastest_s("send", fits, 2, n_bytes, launch, algorithm)


def hierarchical_all_reduce_s(
    inside: Fabric, across: Fabric, ranks_per_node: int, n_nodes: int, n_bytes: Size, launch: Launch
) -> Size:
    """
    Time of an all-reduce over several nodes: reduce-scatter inside, all-reduce across, all-gather inside.

    Across nodes the ranks of equal place form one group each, with n/R bytes and a network port of its own (rail
    optimised); the groups run side by side. The phases follow one another: large messages, which libraries cut and
    pipeline, take up to twice as long here. With one node, or one rank a node, it is the plain all-reduce there.

    Args:
        inside: fabric of one node.
        across: fabric between nodes.
        ranks_per_node: R, equal on all nodes.
        n_nodes: at least 1.
        n_bytes: of the array that every rank holds.
        launch: how the kernels are started.
    """
    if n_nodes == 1:
        return all_reduce_s(inside.all_reduce, ranks_per_node, n_bytes, launch)
    phases = (
        reduce_scatter_s(inside.reduce_scatter, ranks_per_node, n_bytes, launch),
        all_reduce_s(across.all_reduce, n_nodes, n_bytes / ranks_per_node, launch),
        all_gather_s(inside.all_gather, ranks_per_node, n_bytes, launch),
    )
    return phases[0] + phases[1] + phases[2]


def time_s(form: Algorithm, fit: CollectiveFit, n_ranks: int, n_bytes: Size) -> Size:
    """One straight line: start, rounds, bytes."""
    return fit.fixed_s + form.steps(n_ranks) * fit.step_s + form.traffic_bytes(n_ranks, n_bytes) / fit.bytes_per_s


def fastest(
    collective: Collective, fits: Fits, n_ranks: int, n_bytes: float, launch: Launch, algorithm: str = "auto"
) -> CollectiveFit:
    """The line that `all_reduce_s` and its like take for one size, the first of equals: it tells what to load."""
    forms = COLLECTIVES[collective]
    usable = available(fits, n_ranks, launch, algorithm)
    return min(usable, key=lambda fit: time_s(forms[fit.algorithm], fit, n_ranks, n_bytes))


def available(fits: Fits, n_ranks: int, launch: Launch, algorithm: str = "auto") -> Fits:
    """
    The lines that can be used for so many ranks in this mode.

    Raises:
        ValueError: see `all_reduce_s`; it lists the names that would do.
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
    """Algorithms and libraries."""
    return {name for fit in fits for name in (fit.algorithm, fit.library)}


def _fastest_s(
    collective: Collective, fits: Fits, n_ranks: int, n_bytes: Size, launch: Launch, algorithm: str
) -> Size:
    """The least of the lines that are available, at each size."""
    usable = available(fits, n_ranks, launch, algorithm)
    if n_ranks == 1:
        return n_bytes * 0.0
    forms = COLLECTIVES[collective]
    times = [time_s(forms[fit.algorithm], fit, n_ranks, n_bytes) for fit in usable]
    least: Size = min(times) if isinstance(n_bytes, int | float) else reduce(np.minimum, times)
    return least
