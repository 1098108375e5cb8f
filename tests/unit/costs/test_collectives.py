"""Collectives: choice of the line, the laws of time, and the files the constants come from."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simcluster.catalog.calibration.collectives import (
    ALGORITHMS,
    Collective,
    CollectiveFit,
    Fabric,
    Launch,
    fabric,
    fabrics,
    read,
)
from simcluster.costs.collectives import COLLECTIVES, fastest, flat, hierarchical_all_reduce, phases_s
from simcluster.files import source
from simcluster.files.problems import InputError

NVLINK = ("nvlink3", "nvlink4", "nvlink5")
SIZES = np.r_[0.0, np.logspace(0, 10, 200)]

FILE = """\
link: wire
title: A wire
sources: {book: {title: A book}}
all_reduce:
  - {algorithm: ring, library: nccl, launch: [graph], fixed: 1 us, step: 2 us, bandwidth: 50 GB/s, status: assumed,
     source: book, date: "2026-11-23", note: made up}
all_gather: []
reduce_scatter: []
all_to_all: []
send: []
"""


def fits(link: str, collective: str) -> tuple[CollectiveFit, ...]:
    """The lines of one operation on one link."""
    found: tuple[CollectiveFit, ...] = getattr(fabric(link), collective)
    return found


def time_s(link: str, collective: Collective, n_ranks: int, n_bytes: Any, launch: Launch, by: str = "auto") -> Any:
    """How long one operation takes on one link."""
    return phases_s(flat(collective, fits(link, collective), n_ranks, launch, by), n_bytes)


nvlink_s = partial(time_s, "nvlink4", "all_reduce")


def test_algorithms_of_files_and_of_costs_are_the_same() -> None:
    """Each name a file may use has a form, and each form may be named."""
    assert {c: set(names) for c, names in ALGORITHMS.items()} == {c: set(forms) for c, forms in COLLECTIVES.items()}


@pytest.mark.parametrize("link", fabrics())
def test_one_rank_is_free(link: str) -> None:
    """A group of one rank exchanges nothing, as a number and as an array."""
    assert 0.0 == time_s(link, "all_reduce", 1, 1e6, "graph")
    assert np.zeros(3).tolist() == time_s(link, "all_gather", 1, np.ones(3), "eager").tolist()


@given(
    st.sampled_from(fabrics()),
    st.integers(2, 8),
    st.floats(0, 1e11),
    st.floats(0, 1e11),
    st.sampled_from(["graph", "eager"]),
)
def test_more_bytes_never_take_less_time(link: str, n_ranks: int, one: float, two: float, launch: Launch) -> None:
    """The fastest of straight lines that rise, rises."""
    few, many = sorted((one, two))
    for collective, size in (("all_reduce", n_ranks), ("all_to_all", n_ranks), ("all_gather", n_ranks), ("send", 2)):
        assert time_s(link, collective, size, few, launch) <= time_s(link, collective, size, many, launch)


@given(st.sampled_from(fabrics()), st.integers(2, 8), st.lists(st.floats(0, 1e11), min_size=1, max_size=5))
def test_arrays_equal_numbers(link: str, n_ranks: int, n_bytes: list[float]) -> None:
    """An array of sizes gives, bit for bit, the times of its members."""
    expected = [time_s(link, "all_reduce", n_ranks, size, "graph") for size in n_bytes]
    assert expected == time_s(link, "all_reduce", n_ranks, np.array(n_bytes), "graph").tolist()


@pytest.mark.parametrize("link", NVLINK)
@pytest.mark.parametrize("n_ranks", [2, 3, 4, 8])
def test_eager_is_slower_than_graph(link: str, n_ranks: int) -> None:
    """On NVLink every eager collective lasts longer than the same one in a graph, from 0 B to 10 GB."""
    for collective in ("all_reduce", "all_gather", "reduce_scatter", "all_to_all"):
        eager_s, graph_s = (time_s(link, collective, n_ranks, SIZES, launch) for launch in ("eager", "graph"))
        assert (eager_s > graph_s).all(), collective


@pytest.mark.parametrize("link", fabrics())
def test_eager_is_never_faster(link: str) -> None:
    """Eager is at least as slow everywhere; equal where a compiler fixes the schedule."""
    for collective, n_ranks in (("all_reduce", 2), ("all_reduce", 8), ("send", 2)):
        eager_s, graph_s = (time_s(link, collective, n_ranks, SIZES, launch) for launch in ("eager", "graph"))
        assert (eager_s >= graph_s).all()


def test_a_named_algorithm_or_library_narrows_the_choice() -> None:
    """`ring` and `nccl` use only their lines, so they are never faster than `auto`."""
    lines = fits("nvlink4", "all_reduce")
    for name in ("ring", "nccl", "one_shot"):
        assert (nvlink_s(8, SIZES, "graph", name) >= nvlink_s(8, SIZES, "graph")).all()
    assert fastest("all_reduce", lines, 8, 1e9, "graph", "ring").algorithm == "ring"
    assert fastest("all_reduce", lines, 8, 1e3, "graph").algorithm == "one_shot"
    assert fastest("all_reduce", lines, 8, 1e9, "graph").algorithm == "nvls"


def test_unknown_algorithm_names_the_known() -> None:
    """A wrong name is reported with its neighbour and the whole list."""
    with pytest.raises(ValueError, match=r"'rign'.*did you mean 'ring'\?.*known: auto, custom, nccl, nvls") as error:
        nvlink_s(8, 1.0, "graph", "rign")
    assert "two_shot" in str(error.value)


def test_too_many_ranks_for_an_algorithm() -> None:
    """The custom kernels of one board do not reach 16 ranks: an error that names what does, and `auto` uses it."""
    with pytest.raises(
        ValueError, match="'one_shot' has no form for 16 ranks, launch 'graph'; available: nccl, nvls"
    ):
        nvlink_s(16, 1.0, "graph", "one_shot")
    assert nvlink_s(16, 1.0, "graph", "nccl") == nvlink_s(16, 1.0, "graph")


def test_no_ranks() -> None:
    """A group needs a rank."""
    with pytest.raises(ValueError, match="n_ranks is 0"):
        nvlink_s(0, 1.0, "graph")


def test_hierarchical_on_one_node_or_one_rank_a_node_is_flat() -> None:
    """With one node it is the node's all-reduce, with one rank a node the network's."""
    inside, across = fabric("nvlink4"), fabric("infiniband-ndr")
    for n_ranks, n_nodes, whole in ((8, 1, inside), (1, 4, across)):
        assert hierarchical_all_reduce(inside, across, n_ranks, n_nodes, "graph") == flat(
            "all_reduce", whole.all_reduce, n_ranks * n_nodes, "graph"
        )


def test_small_all_reduce_on_eight_h100() -> None:
    """24.6 kB on eight H100 last within 10 % of the 3.6 to 5.6 us measured in a graph, and of 22 to 36 us eager."""
    assert 0.9 * 3.6e-6 < nvlink_s(8, 2.0 * 12288, "graph") < 1.1 * 5.6e-6
    assert 0.9 * 22e-6 < nvlink_s(8, 2.0 * 12288, "eager") < 1.1 * 36e-6


def test_shipped_links() -> None:
    """Every link that groups of devices run over has constants."""
    expected = {"nvlink3", "nvlink4", "nvlink5", "infiniband-hdr", "infiniband-ndr", "pcie5", "xgmi", "groq-c2c"}
    assert expected | {"sn40l-fabric"} == set(fabrics())


@pytest.mark.parametrize("link", fabrics())
def test_shipped_files(link: str) -> None:
    """Each file serves every operation in both modes with plausible constants and residuals that are reported."""
    found: Fabric = fabric(link)
    assert link == found.name
    for collective in ALGORITHMS:
        lines = getattr(found, collective)
        assert {"graph", "eager"} == {mode for line in lines for mode in line.launch}
        for line in lines:
            assert 0 <= line.fixed_s < 1e-3 and 0 <= line.step_s < 2e-5 and 1e9 < line.bytes_per_s <= 9e11
            assert (line.status == "fitted") == (line.points > 0)
            if line.median_error is not None and line.p90_error is not None:
                assert 0 < line.median_error < 0.2 and line.median_error <= line.p90_error < 0.5
            assert line.note or line.status == "fitted"


def test_unknown_link() -> None:
    """A link without constants is reported with its neighbour."""
    with pytest.raises(LookupError, match=r"'nvlink6'; did you mean 'nvlink"):
        fabric("nvlink6")


def test_reading_converts_units() -> None:
    """Microseconds and GB/s become SI, a source becomes its title."""
    line = read(source.parse(FILE, "wire.yaml")).all_reduce[0]
    assert [1e-6, 2e-6, 5e10] == pytest.approx([line.fixed_s, line.step_s, line.bytes_per_s], rel=1e-14)
    assert ("A book", "made up") == (line.source, line.note)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("algorithm: ring", "algorithm: rign", "unknown algorithm 'rign'; did you mean 'ring'?"),
        ("fixed: 1 us", "fixed: 1", "wire.yaml:5: all_reduce[0].fixed: 1 has no unit"),
        ("status: assumed", "status: fitted", "a fit without its residual"),
        (", note: made up", "", "no note on a row that is assumed"),
        ("note: made up", "note: made up, points: 3", "a residual on a row that is assumed"),
        ("source: book", "source: bok", "source 'bok' is not listed in sources"),
        ("{book:", "{film: {title: A film}, book:", "source 'film' is not cited"),
        ("step: 2 us", "step: 2 us, max_ranks: 1", "max_ranks 1 below min_ranks 2"),
        ("launch: [graph]", "launch: []", "launch"),
    ],
)
def test_faults_of_a_file(old: str, new: str, problem: str) -> None:
    """A faulty calibration file is refused with the place and the reason."""
    assert old in FILE
    with pytest.raises(InputError) as error:
        read(source.parse(FILE.replace(old, new), "wire.yaml"))
    assert problem in str(error.value)
