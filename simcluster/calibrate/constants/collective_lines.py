"""
The lines of each library on NVLink, whose constants follow from a few free ones.

A start is the same on every link but for one factor: the tables of A100 and B200 have starts that are some 1.6 times
those of H100 and H200. Bandwidth is a share of the data sheet's. NCCL has two protocols, LL for small arrays and
Simple for large ones; its all-gather, reduce-scatter and all-reduce go around the same ring, its all-to-all sends to
all pairs with few channels for each. The engines' own kernels wait at a barrier that every rank joins; two shots are
twice one shot, and have the bandwidth of Simple.
A kernel that is launched one by one waits for its host, and the array is copied into the kernel's buffer before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from simcluster.catalog import entries
from simcluster.catalog.calibration.collectives import Collective, CollectiveFit
from simcluster.costs.collectives import ALL_REDUCE

FREE: Mapping[str, float] = {
    "slower_starts": 1.6,
    "ll_start_s": 5e-6, "ll_round_s": 0.8e-6, "ll_share": 0.25,
    "simple_start_s": 2e-5, "simple_share": 0.66,
    "pairs_start_s": 1.3e-5, "pairs_ll_share": 0.05,
    "nvls_start_s": 6e-5,
    "shot_start_s": 2.8e-6, "barrier_s": 1e-7,
    "eager_start_s": 2.5e-5,
    "send_start_s": 8e-6, "send_share": 0.85,
}  # fmt: skip
"""First guesses: starts and rounds on NVLink 4, shares of the rated bandwidth."""

SHARES = tuple(name for name in FREE if name.endswith("share"))
DEVICES = {"nvlink3": "a100-sxm-80", "nvlink4": "h100-sxm", "nvlink5": "b200"}
Rows = Iterator[CollectiveFit]
BARRIERS = ((2, 2), (3, 4), (5, 8))
"""Numbers of ranks, from and to, of each line of the engines' kernels: the tables have 2, 4 and 8."""
HOST_BOUND = ("nvlink3",)
"""Links whose eager starts are slower too: these are host time, and a DGX A100 has a slower host than later ones."""
DATE = "2026-11-26"

COPIED = "the array is copied before, at the rate of the memory"
FEW = "constant number of steps: the growth with the ranks is in fixed"


def lines(link: str, found: Mapping[str, float]) -> dict[Collective, list[CollectiveFit]]:
    """List all lines of a link, as far as they follow from free constants, without points and errors."""
    rated = entries.link(link).bytes_per_s
    slower = 1.0 if link == "nvlink4" else found["slower_starts"]
    eager_s = found["eager_start_s"] * (slower if link in HOST_BOUND else 1.0)
    extra_s = eager_s - slower * (found["shot_start_s"] + 2 * found["barrier_s"])
    simple = rated * found["simple_share"]
    memory_bytes_per_s = entries.device(DEVICES[link]).memory_bytes_per_s
    extra = f"graph mode plus {extra_s * 1e6:.3g} us, the extra of an eager start"

    def nccl(algorithm: str, start: str, bandwidth: str, round_s: float = 0.0, copies: bool = False) -> Rows:
        own = {"library": "nccl", "step_s": slower * round_s}
        start_s, bytes_per_s = slower * found[start], rated * found[bandwidth]
        yield _line(algorithm, launch=("graph",), fixed_s=start_s, bytes_per_s=bytes_per_s, **own)
        note = f"{extra}; {COPIED if copies else 'not measured for this operation'}"
        attained = _copied(bytes_per_s, memory_bytes_per_s) if copies else bytes_per_s
        yield _line(algorithm, launch=("eager",), fixed_s=start_s + extra_s, bytes_per_s=attained, status="scaled",
                    note=note, **own)  # fmt: skip

    def around(copies: bool) -> list[CollectiveFit]:
        return [*nccl("ring", "ll_start_s", "ll_share", found["ll_round_s"], copies),
                *nccl("ring", "simple_start_s", "simple_share", copies=copies)]  # fmt: skip

    own_eager = _line(
        "two_shot", library="custom", launch=("eager",), fixed_s=eager_s, max_ranks=8,
        bytes_per_s=_copied(simple, memory_bytes_per_s),
        note=f"median of vLLM and SGLang; start of the host, all sizes; {COPIED}",
    )  # fmt: skip
    nvls = nccl("nvls", "nvls_start_s", "simple_share", copies=True) if link == "nvlink4" else ()
    return {
        "all_reduce": [*_kernels(link, found, slower, simple), own_eager, *around(copies=True), *nvls],
        "all_gather": around(copies=False),
        "reduce_scatter": around(copies=False),
        "all_to_all": [*nccl("pairwise", "ll_start_s", "pairs_ll_share", found["ll_round_s"]),
                       *nccl("pairwise", "pairs_start_s", "simple_share")],
        "send": list(nccl("direct", "send_start_s", "send_share")),
    }  # fmt: skip


def _kernels(link: str, found: Mapping[str, float], slower: float, bytes_per_s: float) -> Rows:
    """Yield one shot and two shots of the engines' own kernels in a graph."""
    for algorithm in ("one_shot", "two_shot"):
        steps = ALL_REDUCE[algorithm].steps(2)
        for least, most in BARRIERS:
            start_s = slower * steps * (found["shot_start_s"] + most * found["barrier_s"])
            yield _line(algorithm, library="custom", launch=("graph",), fixed_s=start_s, bytes_per_s=bytes_per_s,
                        min_ranks=least, max_ranks=most,
                        note=f"median of vLLM, SGLang and TensorRT-LLM; {FEW}")  # fmt: skip
        if link == "nvlink5":
            start_s = slower * found["shot_start_s"]
            yield _line(algorithm, library="custom", launch=("graph",), fixed_s=start_s, bytes_per_s=bytes_per_s,
                        min_ranks=9, max_ranks=72, status="scaled",
                        note="TensorRT-LLM kernel for several boards: one start without the barrier's growth, as the "
                             "switch multicasts; 16 GB300 measured 5.1 us; beyond 16 ranks extrapolated")  # fmt: skip


def _copied(bytes_per_s: float, memory_bytes_per_s: float) -> float:
    """Lower a bandwidth by a copy that reads and writes the array, per byte that eight ranks send for each of its."""
    return 1 / (1 / bytes_per_s + 2 / ALL_REDUCE["ring"].share(8) / memory_bytes_per_s)


def _line(algorithm: str, **changes: Any) -> CollectiveFit:
    """Make a line for any number of ranks, fitted unless stated otherwise."""
    blank = {"step_s": 0.0, "min_ranks": 2, "max_ranks": None, "status": "fitted", "points": 0, "median_error": None,
             "p90_error": None, "source": "aic", "date": DATE, "note": ""}  # fmt: skip
    return CollectiveFit(algorithm=algorithm, **{**blank, **changes})
