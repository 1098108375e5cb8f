"""The cost of ops on a rectangle of cores, and the calibration files it is fed with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simcluster.catalog.calibration.wafer import read
from simcluster.catalog.device import WaferGrid
from simcluster.costs.wafer import OpTime, Region, attention_decode_s, attention_prefill_s, matmul_s, matvec_s, move_s
from simcluster.files import source
from simcluster.files.problems import InputError

FOLDER = Path(__file__).resolve().parents[3] / "simcluster" / "data" / "calibration"
WSE_2 = WaferGrid(
    rows=757,
    columns=996,
    clock_hz=1.1e9,
    link_bytes_per_cycle=4.0,
    hop_cycles=1.0,
    ramp_cycles=2.0,
    sram_bytes_per_core=49152.0,
    sram_bytes_per_cycle=24.0,
    flop_per_cycle_per_core=8.0,
    die_rows=12,
    die_columns=7,
    io_ports=12,
    io_port_bytes_per_s=12.5e9,
    io_latency_s=5e-6,
)
CALIBRATION = read(source.read(FOLDER / "wse-2.yaml"))

sides = st.integers(1, 700)
features = st.integers(1, 30_000)
batches = st.integers(0, 2000)


def square(side: int) -> Region:
    """A square of a WSE-2's cores."""
    return Region(WSE_2, side, side, CALIBRATION)


def linear(side: int, features: int, tokens: int) -> tuple[OpTime, OpTime]:
    """A square layer on a square of cores, for decode and for prefill."""
    return (
        matvec_s(square(side), features, features, tokens, normed=True),
        matmul_s(square(side), features, features, tokens),
    )


def attention(side: int, context: int, tokens: int) -> tuple[OpTime, OpTime]:
    """Llama-3-8B's attention on a square of cores, for decode and for prefill."""
    return (
        attention_decode_s(square(side), 32, 8, 128, context, tokens),
        attention_prefill_s(square(side), 32, 8, 128, context * tokens, context, tokens),
    )


@given(side=sides, features=features, tokens=batches, more=batches)
def test_more_tokens_are_never_faster(side: int, features: int, tokens: int, more: int) -> None:
    """A layer over more tokens takes at least as long, in decode and in prefill."""
    for few, many in zip(linear(side, features, tokens), linear(side, features, tokens + more), strict=True):
        assert few.total_s <= many.total_s * (1 + 1e-12)


@given(side=sides, context=st.integers(0, 100_000), more=st.integers(0, 100_000), tokens=batches)
def test_more_context_is_never_faster(side: int, context: int, more: int, tokens: int) -> None:
    """Attention over a longer context takes at least as long, in decode and in prefill."""
    for short, long in zip(attention(side, context, tokens), attention(side, context + more, tokens), strict=True):
        assert short.total_s <= long.total_s * (1 + 1e-12)


@given(side=sides, features=features)
def test_no_tokens_cost_nothing(side: int, features: int) -> None:
    """All four parts of all ops are zero without a token."""
    for op in (*linear(side, features, 0), *attention(side, features, 0)):
        assert [0.0, 0.0, 0.0, 0.0] == [float(part) for part in op]


@given(side=sides, features=features, tokens=st.integers(1, 2000))
def test_parts_are_finite_and_make_up_the_total(side: int, features: int, tokens: int) -> None:
    """No part is negative, and compute and fetch overlap in the total."""
    for op in (*linear(side, features, tokens), *attention(side, features, tokens)):
        assert all(np.isfinite(part) and part >= 0 for part in op)
        longer = max(float(op.compute_s), float(op.fetch_s))
        assert float(op.overhead_s) + longer + float(op.interconnect_s) == float(op.total_s)


def test_arrays_broadcast() -> None:
    """A column of layer sizes against a row of batch sizes gives a table, equal to the ops one by one."""
    sizes, tokens = np.array([[1024], [4096]]), np.array([0, 1, 7])
    table = matvec_s(square(420), 4096, sizes, tokens)
    alone = [[float(matvec_s(square(420), 4096, s, t).total_s) for t in (0, 1, 7)] for s in (1024, 4096)]

    assert all(part.shape == (2, 3) for part in table)
    assert alone == table.total_s.tolist()


def test_local_work_of_one_core() -> None:
    """On one core nothing crosses the mesh: 64 x 32 multiply-adds at 2.92 FLOP and 2 bytes at 24 bytes a cycle."""
    op = matvec_s(square(1), 64, 32, 1, normed=True)

    assert 2 * 64 * 32 / 2.92 / 1.1e9 == pytest.approx(float(op.compute_s))
    assert 2 * 64 * 32 / 24 / 1.1e9 == pytest.approx(float(op.fetch_s))
    assert float(op.interconnect_s) == 0.0


def test_crossing_a_square_by_hand() -> None:
    """
    A 4096 x 4096 layer on 420 x 420 cores sends 5 wavelets to the middle and back.

    Its 9.75 outputs a column are 19.5 bytes: 5 wavelets. A tree over 211 cores has 8 rounds of 5 cycles and sends,
    from distance 1 to 128, 105 + 106 + 104 + 104 + 112 + 96 + 128 + 128 = 883 hops a wavelet; the second half's
    5 wavelets come after; then a broadcast over 211 cores.
    """
    op = matvec_s(square(420), 4096, 4096, 1)
    reduce = 883 / 210 * 5 + 210 + 8 * 5 + 5
    broadcast = 5 + 211 + 2 * 2

    assert (reduce + broadcast) / 1.1e9 == pytest.approx(float(op.interconnect_s))


def test_a_norm_adds_one_all_reduce() -> None:
    """The norm before a layer costs interconnect only, less than the layer's own all-reduce twice."""
    plain = matvec_s(square(420), 4096, 4096, 1)
    normed = matvec_s(square(420), 4096, 4096, 1, normed=True)

    assert plain[:3] == normed[:3]
    assert plain.interconnect_s < normed.interconnect_s < 2 * plain.interconnect_s


def test_narrow_weights_are_fetched_faster() -> None:
    """Weights of 4 bit take a quarter of the fetch of 16 bit and nothing else changes."""
    wide = matvec_s(square(420), 4096, 4096, 3)
    narrow = matvec_s(square(420), 4096, 4096, 3, weight_bytes=0.5)

    assert float(wide.fetch_s) / 4 == float(narrow.fetch_s)
    assert (wide.overhead_s, wide.compute_s, wide.interconnect_s) == (
        narrow.overhead_s,
        narrow.compute_s,
        narrow.interconnect_s,
    )


def test_decode_slows_down_with_more_cores() -> None:
    """A layer over one token takes longer on 660 x 660 cores than on 420 x 420, with less compute."""
    small, large = linear(420, 4096, 1)[0], linear(660, 4096, 1)[0]

    assert large.compute_s < small.compute_s
    assert small.total_s < large.total_s


def test_prefill_speeds_up_with_more_cores() -> None:
    """A layer over 4096 tokens takes less time on 720 x 720 cores than on 480 x 480."""
    assert linear(720, 4096, 4096)[1].total_s < linear(480, 4096, 4096)[1].total_s


def test_short_prefill_waits_for_its_weights() -> None:
    """With one token, MeshGEMM cannot hide the shifting of the weights and the matrix-vector product is faster."""
    vector, matrix = linear(480, 8192, 1)

    assert matrix.interconnect_s > matrix.compute_s
    assert vector.total_s < matrix.total_s


def test_moving_a_vector() -> None:
    """8 kB over 300 hops and one link are 2048 wavelets, 300 cycles of way and 5 at the ramps; nothing is free."""
    moved = move_s(WSE_2, 300, [8192, 0])

    assert [(2048 + 300 + 5) / 1.1e9, 0.0] == pytest.approx(moved.tolist())
    assert (512 + 300 + 5) / 1.1e9 == pytest.approx(float(move_s(WSE_2, 300, 8192, links=4)))


@pytest.mark.parametrize(("rows", "columns"), [(758, 10), (10, 997), (0, 10)])
def test_region_must_lie_on_the_wafer(rows: int, columns: int) -> None:
    """A rectangle larger than the wafer, or empty, is refused with both sizes."""
    with pytest.raises(ValueError, match=f"{rows} x {columns} cores does not lie on 757 x 996"):
        Region(WSE_2, rows, columns, CALIBRATION)


@pytest.mark.parametrize("name", ["wse-1", "wse-2", "wse-3"])
def test_shipped_calibration(name: str) -> None:
    """Each file loads; only the WSE-2 has fitted constants, and attainable rates are below the lanes' peak."""
    calibration = read(source.read(FOLDER / f"{name}.yaml"))
    peak_flop_per_cycle = 16 if name == "wse-3" else 8

    assert (name == "wse-2") == (calibration.statuses["matvec_overhead_cycles"] == "fitted")
    assert 0 < calibration.matmul_flop_per_cycle < peak_flop_per_cycle
    assert 0 < calibration.matvec_flop_per_cycle < peak_flop_per_cycle


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("status: fitted", "status: scaled", "status scaled"),
        ("source: choice", "source: nowhere", "source 'nowhere' is not listed in sources"),
        ("matvec_overhead_cycles:\n  value: ", "matvec_overhead_cycles:\n  value: -", "-1350.0"),
    ],
)
def test_a_wrong_calibration_is_reported(old: str, new: str, found: str) -> None:
    """A residual without a fit, an unlisted source and a negative overhead are refused, with what was found."""
    text = (FOLDER / "wse-2.yaml").read_text().replace(old, new)

    with pytest.raises(InputError) as raised:
        read(source.parse(text, "wse-2.yaml"))
    assert found in {problem.found for problem in raised.value.problems}
