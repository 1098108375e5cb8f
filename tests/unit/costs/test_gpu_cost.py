"""Op costs of GPUs, LPUs and RDUs, and the files of their constants."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import simcluster
from simcluster.catalog.calibration.gpu import REQUIRED, GpuCalibration, OpFit, read
from simcluster.catalog.device import Device
from simcluster.costs.gpu import Work, op_s, peak_flop_per_s
from simcluster.files import source
from simcluster.files.problems import InputError

FOLDER = Path(simcluster.__file__).parent / "data" / "calibration"
NAMES = ("a100-sxm-80", "b200", "gb200", "groq-lpu", "h100-sxm", "h200-sxm", "mi300x", "sn40l")
H100_PEAK_FLOP_PER_S = {16: 989e12, 8: 1978e12}
H100_BYTES_PER_S = 3.35e12

IDEAL = OpFit(fixed_s=0.0, memory_efficiency=1.0, compute_efficiency=1.0, compute_bits=16)

work = st.floats(0.0, 1e18)
share = st.floats(0.01, 1.0)
fits = st.builds(
    OpFit,
    fixed_s=st.floats(0.0, 1e-3),
    memory_efficiency=share,
    compute_efficiency=share,
    compute_bits=st.just(16),
    activation_efficiency=st.none() | share,
)


def entry(name: str) -> source.Document:
    return source.read(FOLDER / f"{name}.yaml")


def calibration(name: str) -> GpuCalibration:
    return read(entry(name), entry)


def simple(flop: Any, bytes_: Any, activation_bytes: Any) -> Work[Any]:
    """Work of an op that has neither tiles nor keys."""
    return Work(flop, bytes_, activation_bytes, 0.0, 0.0, 0.0, 0.0)


def duration_s(flop: float, bytes_: float, activation_bytes: float, fit: OpFit) -> float:
    fixed_s, compute_s, fetch_s = op_s(simple(flop, bytes_, activation_bytes), fit, 1e15, 3e12)
    return float(fixed_s + np.maximum(compute_s, fetch_s))


@given(work, work, work)
def test_roofline(flop: float, bytes_: float, activation_bytes: float) -> None:
    """Without fixed cost and with all efficiencies one, an op lasts as long as the roofline says."""
    roofline_s = max(flop / 1e15, (bytes_ + activation_bytes) / 3e12)
    assert roofline_s == duration_s(flop, bytes_, activation_bytes, IDEAL)


@given(work, work, work, st.floats(1.0, 10.0), st.sampled_from([0, 1, 2]), fits)
def test_more_work_is_never_faster(a: float, b: float, c: float, factor: float, which: int, fit: OpFit) -> None:
    """Scaling up any one of the three kinds of work does not shorten an op."""
    more = [a, b, c]
    more[which] *= factor
    assert duration_s(a, b, c, fit) <= duration_s(more[0], more[1], more[2], fit)


def test_broadcasting() -> None:
    """Arrays of work give, element by element, what the scalars give."""
    fit = calibration("h100-sxm").ops["gemm"][8]
    flop, bytes_ = np.array([0.0, 1e9, 1e12]), np.array([[0.0], [1e8]])
    parts = op_s(simple(flop, bytes_, 1e6), fit, 1978e12, H100_BYTES_PER_S)
    assert [(2, 3)] * 3 == [part.shape for part in parts]
    assert op_s(simple(1e12, 1e8, 1e6), fit, 1978e12, H100_BYTES_PER_S) == tuple(part[1, 2] for part in parts)


def test_no_work_takes_no_time() -> None:
    """An op that has nothing to do in a step is not launched, so its fixed cost is not paid."""
    assert duration_s(0.0, 0.0, 0.0, calibration("h100-sxm").ops["moe"][16]) == 0.0


def test_serial_activations() -> None:
    """Activations that pass serially add their own time on top of the longer of computing and fetching."""
    fit = OpFit(
        fixed_s=1e-6, memory_efficiency=0.5, compute_efficiency=0.5, compute_bits=16, activation_efficiency=0.25
    )
    expected_s = 1e-6 + 2e9 / 1e15 + 3e6 / (3e12 * 0.25)
    assert duration_s(1e9, 1.0, 3e6, fit) == pytest.approx(expected_s, rel=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_constants_are_possible(name: str) -> None:
    """Every file loads, covers every class at 16, 8 and 4 bit, and claims no more than the data sheet."""
    constants = calibration(name)
    assert all(sorted(constants.ops[op]) == [4, 8, 16] for op in REQUIRED)
    for widths in constants.ops.values():
        for fit in widths.values():
            assert 0 <= fit.fixed_s < 100e-6
            assert 0 < fit.memory_efficiency <= 1
            assert 0 < fit.compute_efficiency <= 1
    assert 0 == constants.launch_s["graph"] <= constants.launch_s["eager"]
    assert 0 <= constants.host_per_sequence_s <= constants.host_fixed_s


@pytest.mark.parametrize("name", ["a100-sxm-80", "b200", "gb200", "h200-sxm", "mi300x"])
def test_scaled_constants_say_so(name: str) -> None:
    """A device scaled from the H100 has its op constants, but neither its residuals nor the word fitted."""
    constants = calibration(name)
    ops = [row for row in constants.constants if row.name.endswith("bit")]
    assert calibration("h100-sxm").ops["gemm"][16] == constants.ops["gemm"][16]
    assert {"scaled", "assumed"} == {row.status for row in ops}
    assert {(0, None, None)} == {(row.points, row.median_error, row.p90_error) for row in ops}


def test_report_rows() -> None:
    """The report has a row for each class and width and each time, residuals where points were held out."""
    rows = {row.name: row for row in calibration("h100-sxm").constants}
    special = {f"{op} {bits} bit" for op in ("gemm_block", "moe_block") for bits in (8,)}
    special |= {f"attention_{what}_{which} {bits} bit" for what in ("prefill", "decode") for which in ("64", "latent")
                for bits in (16, 8)}  # fmt: skip
    special |= {"norm 16 bit", "activation 16 bit"}
    others = {"launch graph", "launch eager", "launch eager, host", "launch eager, passes",
              "host per step", "host per sequence",
              "power when idle", "power when busy", "sustained load"}  # fmt: skip
    plain = {f"{op} {bits} bit" for op in REQUIRED for bits in (16, 8, 4)}
    assert plain | special | others == set(rows)
    gemm = rows["gemm 16 bit"]
    assert gemm.status == "fitted"
    assert gemm.points > 10_000
    assert gemm.median_error is not None and gemm.median_error < 0.06
    assert rows["gemm 4 bit"].status == "assumed"


def test_weight_only_4_bit() -> None:
    """On an H100 4-bit weights compute at 16 bit; a B200 has arithmetic of 4 bit."""
    assert 16 == calibration("h100-sxm").ops["gemm"][4].compute_bits
    assert 4 == calibration("b200").ops["gemm"][4].compute_bits


def test_gpt3_layer() -> None:
    """One layer's products of GPT-3 175B on 8 H100s at batch 1 take 165 to 180 us at bf16, 101 to 134 us at fp8."""
    shapes = ((4608, 12288), (12288, 1536), (6144, 12288), (12288, 6144))
    layer_s = {}
    for bits in (16, 8):
        fit = calibration("h100-sxm").ops["gemm"][bits]
        n, k = np.array(shapes, dtype=float).T
        layer = simple(2 * n * k, n * k * bits / 8, (n + k) * 2)
        parts = op_s(layer, fit, H100_PEAK_FLOP_PER_S[bits], H100_BYTES_PER_S)
        layer_s[bits] = float(np.sum(parts[0] + np.maximum(parts[1], parts[2])))
    assert 165e-6 < layer_s[16] < 180e-6
    assert 101e-6 < layer_s[8] < 134e-6


def device(**peaks: float) -> Device:
    return Device(
        name="x", title="X", kind="gpu", memory_bytes=1.0, memory_bytes_per_s=1.0, peak_flop_per_s=peaks,
        power_w=1.0, power_basis="none",
    )  # fmt: skip


def test_peak_by_width() -> None:
    """The peak is that of the first number format of the width that the device has; none is guessed."""
    assert 2.0 == peak_flop_per_s(device(bf16=1.0, fp8=2.0, int8=3.0), 8)
    assert 3.0 == peak_flop_per_s(device(bf16=1.0, int8=3.0), 8)
    with pytest.raises(ValueError, match="x has no 4-bit arithmetic"):
        peak_flop_per_s(device(bf16=1.0), 4)


def test_all_faults_with_lines() -> None:
    """Faults of a calibration file are reported together, each with its line."""
    text = (
        "title: t\nstatus: fitted\nmethod: m\ndate: d\nops:\n  gemm:\n"
        '    "16": {fixed: 4, memory_efficiency: 120 %, compute_efficiency: 0 %, compute_bits: 16, status: fitted,'
        " source: s}\nsources: {}\nspeed: 1\n"
    )
    with pytest.raises(InputError) as caught:
        read(source.parse(text, "bad.yaml"), entry)
    found = [(problem.line, problem.path) for problem in caught.value.problems]
    paths = ["ops.gemm.16.compute_efficiency", "ops.gemm.16.fixed", "ops.gemm.16.memory_efficiency"]
    assert [*((7, path) for path in paths), (9, "speed")] == found


def test_rules_that_lead_nowhere() -> None:
    """A rule must lead to constants that exist, every source must be listed, and the times must be stated."""
    text = (
        "title: t\nstatus: fitted\nmethod: m\ndate: d\nops:\n  gemm:\n"
        '    "16": {fixed: 4 us, memory_efficiency: 90 %, compute_efficiency: 80 %, compute_bits: 16, status: fitted,'
        ' source: s}\nfallbacks:\n  - {ops: [gemm], bits: "4", like: "8", compute_bits: 8, why: w}\nsources: {}\n'
    )
    with pytest.raises(InputError) as caught:
        read(source.parse(text, "bad.yaml"), entry)
    assert {"fallbacks[0].like", "host", "launch", "ops.gemm.16.source"} == {p.path for p in caught.value.problems}


def test_uncovered_width() -> None:
    """A class and width with neither constants nor a rule is a fault, not a guess."""
    times = "{value: 0 us, status: assumed, source: s}"
    text = (
        "title: t\nstatus: assumed\nmethod: m\ndate: d\nops:\n  gemm:\n"
        '    "16": {fixed: 4 us, memory_efficiency: 90 %, compute_efficiency: 80 %, compute_bits: 16, status: fitted,'
        f" source: s}}\nlaunch: {{graph: {times}, eager: {times}}}\nhost: {{fixed: {times}, per_sequence: {times}}}\n"
        "sources: {s: {title: S}}\n"
    )
    with pytest.raises(InputError) as caught:
        read(source.parse(text, "bad.yaml"), entry)
    assert "ops.gemm: nothing for 8 bit" in str(caught.value)
    assert 6 * 3 - 1 == len(caught.value.problems)
