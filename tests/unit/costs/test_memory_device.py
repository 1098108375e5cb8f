"""Costs of devices with memory: what is charged to which op."""

from __future__ import annotations

import pytest

from simcluster.costs.blocks import HostTime
from simcluster.costs.memory_device import MemoryDevice
from simcluster.scenario.load import load
from simcluster.work.batch import Batch
from simcluster.work.op import Precision
from simcluster.work.programs import RankWork


def device(skew_s: float, exchange_s: float = 20e-6) -> MemoryDevice:
    """Llama-3.1-70B on eight H100, each exchange of which takes this long."""
    (pool,) = load("llama-3.1-70b-8xh100").pools
    assert pool.gpu is not None
    work = RankWork(pool.model, Precision(pool.weight_bits, pool.kv_bits), 8)
    host = HostTime(0.0, 0.0)
    return MemoryDevice(work, pool.device, pool.gpu, "graph", host, lambda kind, n_bytes: exchange_s, skew_s=skew_s)


@pytest.mark.parametrize("block", ["embedding", "dense", "head"])
def test_rank_skew_is_charged_at_every_exchange(block: str) -> None:
    """Ranks wait for the last one before each exchange, once; other ops, and all other parts, do not change."""
    without, with_skew = device(0.0), device(3e-6)
    batch = Batch(4, 400, outputs=4, sequences=4)
    pairs = zip(without.seconds(block, batch), with_skew.seconds(block, batch), without.ops(block), strict=True)
    n_exchanges = 0
    for before, after, op in pairs:
        n_exchanges += bool(op.exchange)
        assert before.launch + 3e-6 * bool(op.exchange) == pytest.approx(after.launch, rel=1e-12)
        assert before[1:] == after[1:]

    assert n_exchanges == {"embedding": 1, "dense": 2, "head": 1}[block]


def test_ranks_that_exchange_in_no_time_do_not_wait() -> None:
    """A free exchange has no wait for peers, like a single rank."""
    batch = Batch(4, 400, outputs=4, sequences=4)

    assert device(0.0, 0.0).seconds("dense", batch) == device(3e-6, 0.0).seconds("dense", batch)
