"""The law of total variance: an identity of every trace, and planted levels are found."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simcluster.numerics.streams import stream, uniforms
from simcluster.variance.levels import Residuals, grouped_squares, levels

TOKENS = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 6), st.one_of(st.integers(0, 3), st.integers(0, 10**13))), min_size=1,
    max_size=60,
)  # fmt: skip
"""Request, step and latency."""


def split(tokens: list[tuple[int, int, int]], block: int = 7) -> tuple[float, float, float, float]:
    """Sums of squares between requests, between steps and within steps, and of all."""
    tokens = sorted(tokens, key=lambda token: token[1])
    request, step, latency = (np.array(column, np.int64) for column in zip(*tokens, strict=True))
    counts, sums = np.bincount(request), np.zeros(request.max() + 1, np.int64)
    np.add.at(sums, request, latency)
    of_requests = grouped_squares(counts, sums)
    means = sums / np.maximum(counts, 1)
    residuals = Residuals()
    for start in range(0, len(tokens), block):
        part = slice(start, start + block)
        residuals.add(np.zeros_like(step[part]), step[part], latency[part] - means[request[part]])
    mean = Fraction(int(latency.sum()) ** 2, len(tokens))
    squares = sum(token[2] ** 2 for token in tokens)
    return float(of_requests - mean), *residuals.squares(), float(squares - mean)


@given(TOKENS, st.integers(1, 9))
def test_levels_sum_to_the_whole(tokens: list[tuple[int, int, int]], block: int) -> None:
    """Requests, steps and what is left add up to the variance to 1e-12 of it, however blocks are cut."""
    request, step, within, whole = split(tokens, block)
    scale = max(token[2] for token in tokens) ** 2 * len(tokens)

    assert request + step + within == pytest.approx(whole, rel=1e-12, abs=1e-28 * scale + 1e-12 * (scale < 1e4))


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 10**14)), min_size=1, max_size=50))
def test_grouped_squares_are_exact(pairs: list[tuple[int, int]]) -> None:
    """The sum of squares between groups is the fraction that it is."""
    groups = [[value for key, value in pairs if key == group] for group in range(7)]
    expected = sum((Fraction(sum(group) ** 2, len(group)) for group in groups if group), Fraction(0))
    counts = np.array([len(group) for group in groups], np.int64)

    assert expected == grouped_squares(counts, np.array([sum(group) for group in groups], np.int64))


@given(st.lists(st.lists(st.integers(0, 10**9), min_size=1, max_size=8), min_size=1, max_size=5))
def test_replications_and_requests(replications: list[list[int]]) -> None:
    """With a value a request, replications and requests carry all of the variance."""
    values = [value for replication in replications for value in replication]
    squares = sum(value**2 for value in values)
    sums = [(len(replication), sum(replication)) for replication in replications]
    found = levels(len(values), sum(values), squares, sums, Fraction(squares))
    if len(set(values)) == 1:
        assert found is None
        return
    means = [Fraction(total, n) for n, total in sums for _ in range(n)]
    mean = Fraction(sum(values), len(values))
    between = sum((m - mean) ** 2 for m in means) / sum((value - mean) ** 2 for value in values)

    assert found is not None
    assert found[0] == pytest.approx(float(between), rel=1e-12)
    assert sum(found) == pytest.approx(1, abs=1e-12)
    assert found[2] == 0


def test_planted_levels() -> None:
    """Half from requests, three tenths from steps, a fifth from neither: found to three standard errors."""
    n_requests, n_steps = 400, 500
    each = {
        "request": np.repeat(uniforms(stream(1, "requests"), n_requests), n_steps),
        "step": np.tile(uniforms(stream(1, "steps"), n_steps), n_requests),
        "rest": uniforms(stream(1, "rest"), n_requests * n_steps),
    }
    scale = 12**0.5 * 1e9
    weights = {"request": 0.5**0.5, "step": 0.3**0.5, "rest": 0.2**0.5}
    latency = np.rint(sum(weights[name] * scale * each[name] for name in each)).astype(np.int64)
    tokens = zip(
        np.repeat(np.arange(n_requests), n_steps), np.tile(np.arange(n_steps), n_requests), latency, strict=True
    )
    request, step, within, whole = split([(int(r), int(s), int(t)) for r, s, t in tokens], 50_000)

    # A uniform's sample variance of n values has a relative standard error of sqrt(0.8 / n).
    assert request / whole == pytest.approx(0.5, abs=3 * 0.5 * (0.8 / n_requests) ** 0.5)
    assert step / whole == pytest.approx(0.3, abs=3 * 0.3 * (0.8 / n_steps) ** 0.5 + 0.02)
    assert within / whole == pytest.approx(0.2, abs=0.02)
