"""Batches for tests of what a step costs."""

from __future__ import annotations

from simcluster.work.batch import Batch


def prefill_chunk(n_tokens: int, n_before: int, finishes: bool) -> Batch:
    """Make a batch of one prefill chunk of `n_tokens` behind `n_before` tokens already in the cache."""
    pairs = n_tokens * n_before + n_tokens * (n_tokens + 1) // 2
    return Batch(0, 0, n_tokens, pairs, n_before + n_tokens, int(finishes), 1)
