"""Sums of components by length, in bins that are joined when there are too many."""

from __future__ import annotations

import numpy as np
import pytest

from simcluster.comparison import length_bins
from simcluster.comparison.length_bins import LengthBins, Sums


def binned(parts: np.ndarray, *cuts: int) -> Sums:  # type: ignore[type-arg]
    """Sums of latencies that come in blocks."""
    bins = LengthBins(len(parts))
    for block in np.split(parts, cuts, axis=1):
        bins.add(block)
    return bins.sums()


def test_lengths_that_differ_are_kept_apart() -> None:
    """While there is room, only equal lengths are summed, and what is a thousandth part of a percent from equal."""
    sums = binned(np.array([[10**9, 10**9, 2 * 10**9, 10**9 + 10**5], [5, 7, 0, 0]]))

    assert [2, 1, 1] == list(sums.counts)
    assert [[2 * 10**9, 10**9 + 10**5, 2 * 10**9], [12, 0, 0]] == sums.parts.tolist()


def test_nothing_is_lost_and_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """With more lengths than bins, bins are joined; sums stay, shorter ones come first, blocks do not matter."""
    monkeypatch.setattr(length_bins, "MAX_BINS", 50)
    rng = np.random.default_rng(1)
    parts = rng.integers(1, 10**10, (3, 2000))
    whole, cut = binned(parts), binned(parts, *range(0, 2000, 30))
    lengths = whole.parts.sum(axis=0) / whole.counts

    assert len(whole.counts) <= 50
    assert 2000 == whole.counts.sum()
    assert parts.sum(axis=1).tolist() == whole.parts.sum(axis=1).tolist()
    assert (np.diff(lengths) > 0).all()
    assert whole.counts.tolist() == cut.counts.tolist()
    assert whole.parts == pytest.approx(cut.parts)


def test_bins_are_narrow_however_long_a_run_is() -> None:
    """Hundred thousand lengths within a factor of a thousand end in bins that are half a thousandth wide."""
    lengths = np.exp(np.linspace(np.log(1e7), np.log(1e10), 100_000)).astype(np.int64)
    sums = binned(lengths[None], *range(0, 100_000, 8192))
    widths = np.diff(np.log(sums.parts[0] / sums.counts))

    assert length_bins.MAX_BINS / 2 < len(sums.counts) <= length_bins.MAX_BINS
    assert widths.max() < 0.6e-3


def test_no_latencies() -> None:
    """Of nothing there are no bins; a latency of zero has one."""
    assert 0 == len(LengthBins(2).sums().counts)
    assert [1] == list(binned(np.zeros((2, 1), np.int64)).counts)
