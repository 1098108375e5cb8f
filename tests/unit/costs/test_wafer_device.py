"""Blocks on a wafer: how prompts are laid out in time."""

from __future__ import annotations

import pytest
from batches import prefill_chunk

from simcluster.catalog import entries
from simcluster.catalog.calibration import wafer
from simcluster.costs.blocks import HostTime, OpSeconds
from simcluster.costs.wafer_device import WaferDevice
from simcluster.work.batch import Batch
from simcluster.work.op import Precision
from simcluster.work.programs import RankWork


def on_strips(strips: int) -> WaferDevice:
    """Llama-3.1-8B on a WSE-3 that holds `strips` layers."""
    wse3 = entries.device("wse-3")
    assert wse3.grid is not None
    constants = wafer.read(entries.entry("calibration", "wse-3"))
    region = (wse3.grid.rows, wse3.grid.columns)
    host = HostTime(0.0, 0.0)
    work = RankWork(entries.model("llama-3.1-8b"), Precision())
    return WaferDevice(work, wse3, constants, host, region, strips=strips)


@pytest.fixture(scope="module", params=[1, 32])
def device(request: pytest.FixtureRequest) -> WaferDevice:
    """With a layer on all cores, and with all layers side by side."""
    return on_strips(request.param)


def layer_s(device: WaferDevice, batch: Batch) -> float:
    """Time of a layer, attention included."""
    rows = device.seconds("dense", batch)
    rows += [device.attention(op, batch) for op in device.ops("dense") if op.is_attention]
    return sum(row.launch + max(row.compute, row.fetch) + row.exchange for row in rows)


@pytest.mark.parametrize("n_tokens", [1, 2, 16, 100, 1000])
def test_a_prompt_never_takes_longer_than_decoding_it(device: WaferDevice, n_tokens: int) -> None:
    """A chunk of prompt takes at most as long as its tokens would one by one, to rounding."""
    one_by_one = sum(layer_s(device, Batch(1, context, outputs=1, sequences=1)) for context in range(1, n_tokens + 1))

    assert layer_s(device, prefill_chunk(n_tokens, 0, finishes=True)) <= one_by_one * (1 + 1e-9) + 1e-9 * n_tokens


def test_a_long_prompt_takes_less_than_its_tokens(device: WaferDevice) -> None:
    """From some length on a chunk takes much less time than its tokens one by one, by MeshGEMM or through strips."""
    one = layer_s(device, Batch(1, 1000, outputs=1, sequences=1))

    assert layer_s(device, prefill_chunk(2000, 0, finishes=True)) < 2000 * one / 3


def test_tokens_follow_each_other_through_the_strips() -> None:
    """A prompt of 33 tokens on 32 strips keeps each layer twice as long as one token does."""
    device = on_strips(32)
    op = next(op for op in device.ops("dense") if op.name == "ffn_up")
    place = device.ops("dense").index(op)
    one, many = (device.seconds("dense", prefill_chunk(n, 0, finishes=True))[place] for n in (1, 33))

    assert many == pytest.approx(tuple(2 * part for part in one))


def test_a_strip_has_its_own_cores_only() -> None:
    """The multiply-adds of a product last as often as long as there are layers on the wafer, to whole columns."""
    whole, strip = (on_strips(n).seconds("dense", Batch(1, 1, outputs=1, sequences=1)) for n in (1, 32))
    columns = 1172

    assert [columns / (columns // 32) * row.compute for row in whole] == pytest.approx([row.compute for row in strip])


def test_an_idle_batch_takes_no_time(device: WaferDevice) -> None:
    """Without tokens no op takes time."""
    assert {OpSeconds(0.0, 0.0, 0.0, 0.0)} == set(device.seconds("dense", Batch()))
