"""The wafer model against WaferLLM (OSDI 2025) on a WSE-2 and Cerebras' published speeds on the WSE-3."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from simcluster.catalog.calibration.wafer import WaferCalibration, WaferFile, read
from simcluster.catalog.device import WaferGrid
from simcluster.costs.wafer import Region, attention_decode_s, attention_prefill_s, matmul_s, matvec_s
from simcluster.files import source, validation

pytestmark = pytest.mark.validation

FOLDER = Path(__file__).resolve().parents[2] / "simcluster" / "data" / "calibration"
CONTEXT_TOKENS = 4096
CROSSING_S = 5e-6


@dataclass(frozen=True)
class Model:
    """A dense decoder, as far as its time on a wafer depends on it."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    ff: int
    vocab: int
    head_dim: int = 128

    @property
    def qkv(self) -> int:
        """Outputs of the fused query, key and value projection."""
        return (self.heads + 2 * self.kv_heads) * self.head_dim


LLAMA_3_8B = Model(layers=32, hidden=4096, heads=32, kv_heads=8, ff=14336, vocab=128256)
LLAMA_2_13B = Model(layers=40, hidden=5120, heads=40, kv_heads=40, ff=13824, vocab=32000)
LLAMA_3_70B = Model(layers=80, hidden=8192, heads=64, kv_heads=8, ff=28672, vocab=128256)


def grid(rows: int, columns: int, clock_hz: float, flop_per_cycle: float) -> WaferGrid:
    """A wafer with one cycle per hop."""
    return WaferGrid(
        rows=rows,
        columns=columns,
        clock_hz=clock_hz,
        link_bytes_per_cycle=4.0,
        hop_cycles=1.0,
        ramp_cycles=2.0,
        sram_bytes_per_core=49152.0,
        sram_bytes_per_cycle=24.0,
        flop_per_cycle_per_core=flop_per_cycle,
        die_rows=12,
        die_columns=7,
        io_ports=12,
        io_port_bytes_per_s=12.5e9,
        io_latency_s=CROSSING_S,
    )


WSE_2 = grid(757, 996, 1.1e9, 8.0)
WSE_3 = grid(762, 1172, 1.0e9, 16.0)


def calibration(name: str) -> WaferCalibration:
    """The shipped constants."""
    return read(source.read(FOLDER / f"{name}.yaml"))


def decode_token_s(wafer: WaferGrid, rows: int, columns: int, name: str, model: Model, strips: int = 1) -> float:
    """One token of one sequence: all layers, each on a strip of the columns, and the output head."""
    region = Region(wafer, rows, columns // strips, calibration(name))
    query = model.heads * model.head_dim
    layer = [
        matvec_s(region, model.hidden, model.qkv, 1, normed=True),
        attention_decode_s(region, model.heads, model.kv_heads, model.head_dim, CONTEXT_TOKENS, 1),
        matvec_s(region, query, model.hidden, 1),
        matvec_s(region, model.hidden, 2 * model.ff, 1, normed=True),
        matvec_s(region, model.ff, model.hidden, 1),
    ]
    head = matvec_s(Region(wafer, rows, columns, calibration(name)), model.hidden, model.vocab, 1, normed=True)
    return model.layers * sum(float(op.total_s) for op in layer) + float(head.total_s)


def prefill_s(wafer: WaferGrid, rows: int, columns: int, name: str, model: Model, tokens: int = 4096) -> float:
    """One prompt: all layers, and the output head of its last token."""
    region = Region(wafer, rows, columns, calibration(name))
    query = model.heads * model.head_dim
    pairs = tokens * (tokens + 1) / 2
    layer = [
        matmul_s(region, model.hidden, model.qkv, tokens),
        attention_prefill_s(region, model.heads, model.kv_heads, model.head_dim, pairs, tokens, tokens),
        matmul_s(region, query, model.hidden, tokens),
        matmul_s(region, model.hidden, 2 * model.ff, tokens),
        matmul_s(region, model.ff, model.hidden, tokens),
    ]
    head = matvec_s(region, model.hidden, model.vocab, 1, normed=True)
    return model.layers * sum(float(op.total_s) for op in layer) + float(head.total_s)


def decode_per_s(side: int, model: Model) -> float:
    """Tokens per second on a square of a WSE-2's cores."""
    return 1 / decode_token_s(WSE_2, side, side, "wse-2", model)


def prefill_per_s(side: int, model: Model) -> float:
    """Prompt tokens per second on a square of a WSE-2's cores."""
    return 4096 / prefill_s(WSE_2, side, side, "wse-2", model)


# Side of the square of cores: tokens per second of one request.
# WaferLLM, OSDI 2025, tables 4 (decode) and 3 (prefill of 4096 tokens).
DECODE_8B = {420: 2699.9, 540: 2501.5, 660: 2243.3}
DECODE_13B = {420: 2039.2, 540: 1899.4, 660: 1739.8}
PREFILL_8B = {480: 20320.6, 600: 25037.2, 720: 27686.5}
PREFILL_13B = {480: 13685.1, 600: 16854.2, 720: 17498.3}


def errors(what: str, rate: Callable[[int, Model], float], model: Model, measured: dict[int, float]) -> list[float]:
    """Relative errors, which are also printed as a table (pytest -s)."""
    found = {side: rate(side, model) for side in measured}
    for side, expected in measured.items():
        difference = found[side] / expected - 1
        print(f"{what} {side}^2: measured {expected:8.1f} model {found[side]:8.1f} {difference:+6.1%}")  # noqa: T201
    return [found[side] / expected - 1 for side, expected in measured.items()]


@pytest.mark.parametrize(
    ("rate", "measured", "constant"),
    [
        (decode_per_s, DECODE_8B, "matvec_overhead_cycles"),
        (prefill_per_s, PREFILL_8B, "matmul_step_overhead_cycles"),
        (prefill_per_s, PREFILL_8B, "matmul_flop_per_cycle"),
    ],
)
def test_declared_residuals(rate: Callable[[int, Model], float], measured: dict[int, float], constant: str) -> None:
    """The residuals in the calibration file are those of the shipped constants on LLaMA3-8B, to 0.05 points."""
    file = validation.validate(source.read(FOLDER / "wse-2.yaml"), WaferFile)
    residual = file.constants()[constant].residual
    assert residual is not None
    sizes = np.abs(errors("fitted, 8B", rate, LLAMA_3_8B, measured))

    assert residual.points == len(sizes)
    assert residual.median_error == pytest.approx(float(np.median(sizes)), abs=5e-4)
    assert residual.p90_error == pytest.approx(float(np.percentile(sizes, 90)), abs=5e-4)


@pytest.mark.parametrize(("rate", "measured"), [(decode_per_s, DECODE_13B), (prefill_per_s, PREFILL_13B)])
def test_13b_was_not_fitted(rate: Callable[[int, Model], float], measured: dict[int, float]) -> None:
    """LLaMA2-13B with the constants of the 8B fit comes within 25 % at every size."""
    assert all(abs(error) < 0.25 for error in errors("unfitted, 13B", rate, LLAMA_2_13B, measured))


def test_decode_slows_down_with_more_cores() -> None:
    """From 420^2 to 660^2 cores decode of LLaMA3-8B loses 17 %; the model falls short of that by 5 points."""
    change = decode_per_s(660, LLAMA_3_8B) / decode_per_s(420, LLAMA_3_8B) - 1

    assert -0.169 == pytest.approx(change, abs=0.06)


def test_prefill_speeds_up_with_more_cores() -> None:
    """From 480^2 to 720^2 cores prefill of LLaMA3-8B gains 36 %, measured and modelled."""
    change = prefill_per_s(720, LLAMA_3_8B) / prefill_per_s(480, LLAMA_3_8B) - 1

    assert 0.362 == pytest.approx(change, abs=0.02)


@pytest.mark.parametrize(("features", "measured_s"), [(16384, 1.2e-6), (32768, 2.03e-6)])
def test_single_matvec_kernel(features: int, measured_s: float) -> None:
    """
    One GEMV on 750^2 cores takes what WaferLLM's table 6 says, within 30 %, without the overhead of an op.

    Reducing to an edge and broadcasting back would need 2 x 750 hops, more than the 1,320 cycles measured.
    """
    op = matvec_s(Region(WSE_2, 750, 750, calibration("wse-2")), features, features, 1)
    kernel_s = float(op.total_s - op.overhead_s)
    print(f"GEMV {features}: measured {measured_s * 1e6:.2f} us model {kernel_s * 1e6:.2f} us")  # noqa: T201

    assert pytest.approx(measured_s, rel=0.3) == kernel_s


def test_one_wse_3_serves_8b() -> None:
    """Llama-3.1-8B on one WSE-3, in 32 strips: 1,800 tokens/s published (cerebras.ai, 2024-08-27), within 35 %."""
    layers_s = decode_token_s(WSE_3, WSE_3.rows, WSE_3.columns, "wse-3", LLAMA_3_8B, 32)
    rate = 1 / (layers_s + calibration("wse-3").host_step_s)
    print(f"WSE-3, 8B: published 1800 model {rate:.0f}")  # noqa: T201

    assert pytest.approx(1800, rel=0.35) == rate


def test_four_wse_3_serve_70b() -> None:
    """Llama-3.1-70B on four WSE-3, 20 layers on each: 450 tokens/s (cerebras.ai, 2024-08-27), within 35 %."""
    layers_s = decode_token_s(WSE_3, WSE_3.rows, WSE_3.columns, "wse-3", LLAMA_3_70B, 20)
    constants = calibration("wse-3")
    rate = 1 / (layers_s + 4 * CROSSING_S + constants.host_step_s)
    print(f"four WSE-3, 70B: published 450 model {rate:.0f}")  # noqa: T201

    assert pytest.approx(450, rel=0.35) == rate
