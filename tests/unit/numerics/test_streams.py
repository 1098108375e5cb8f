"""Keyed streams: separate, repeatable, uniform, never 0 or 1."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from simcluster.numerics.streams import stream, uniforms

PINNED = [6713489495075252534, 18439768216063076618, 13489858345027963594]


class _Constant(np.random.Philox):
    """A bit generator that only ever gives one number."""

    def __init__(self, raw: int) -> None:
        super().__init__(key=0)
        self.raw = raw

    def random_raw(self, size: int | None = None, output: bool = True) -> NDArray[np.uint64]:  # type: ignore[override]
        return np.full(size or 1, self.raw, dtype=np.uint64)


def test_same_key_same_numbers() -> None:
    """The same seed and names give the same numbers."""
    assert np.array_equal(uniforms(stream(3, "a", "b"), 100), uniforms(stream(3, "a", "b"), 100))


@pytest.mark.parametrize(
    "other", [(4, "a", "b"), (3, "b", "a"), (3, "ab"), (3, "a", "b", ""), (3, "a"), (-3, "a", "b")]
)
def test_other_key_other_numbers(other: tuple[int, str]) -> None:
    """A change of the seed, of a name, of their order or of where one ends changes the stream."""
    assert not np.any(uniforms(stream(3, "a", "b"), 10) == uniforms(stream(other[0], *other[1:]), 10))


def test_numbers_are_those_of_the_first_release() -> None:
    """The first raw numbers of a stream stay what they are, so that old runs can be replayed."""
    assert PINNED == stream(1, "workload", "arrivals").random_raw(3).tolist()


@given(st.integers(1, 50), st.integers(0, 50))
def test_prefix(n: int, more: int) -> None:
    """Drawing more numbers leaves the first ones as they were."""
    assert np.array_equal(uniforms(stream(1, "x"), n), uniforms(stream(1, "x"), n + more)[:n])


@pytest.mark.parametrize("raw", [0, 2**64 - 1])
def test_ends_are_excluded(raw: int) -> None:
    """The smallest and the largest raw number still lie inside (0, 1)."""
    assert 0.0 < uniforms(_Constant(raw), 1)[0] < 1.0


def test_uniform() -> None:
    """100,000 numbers pass Kolmogorov-Smirnov for the uniform distribution at p > 0.001."""
    assert stats.kstest(uniforms(stream(1, "ks"), 100_000), "uniform").pvalue > 0.001


def test_streams_are_uncorrelated() -> None:
    """Two streams of one seed correlate by less than 4 standard errors."""
    n = 100_000
    correlation = np.corrcoef(uniforms(stream(1, "a"), n), uniforms(stream(1, "b"), n))[0, 1]
    assert abs(correlation) < 4 / np.sqrt(n)
