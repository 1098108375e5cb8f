"""Experts chosen by the tokens of a step: sampled routings against exact distributions and brute force."""

from __future__ import annotations

import math
from itertools import pairwise, permutations

import numpy as np
import pytest
from scipy import stats

from simcluster.catalog.shapes import Moe
from simcluster.noise.experts import ROUTINGS, Routings, _Choices, popularity

LAYERS = tuple(range(40))


def moe(experts: int, top_k: int) -> Moe:
    return Moe(experts=experts, top_k=top_k, expert_ff=1)


def occupancy(n: int, k: int, n_tokens: int) -> np.ndarray:
    """
    Probability of each number of distinct experts after some tokens of an even router, shape (n + 1,).

    A token that finds d of them touches j more with the hypergeometric chance C(n - d, j) C(d, k - j) / C(n, k).
    """
    found = np.eye(n + 1)[0]
    step = np.zeros((n + 1, n + 1))
    for d in range(n + 1):
        for j in range(min(k, n - d) + 1):
            step[d, d + j] = math.comb(n - d, j) * math.comb(d, k - j) / math.comb(n, k)
    for _ in range(n_tokens):
        found = found @ step
    return found


@pytest.mark.parametrize(("n", "k"), [(8, 2), (16, 1), (60, 4), (7, 6)])
@pytest.mark.parametrize("tokens", ["2", "n / k", "3 n / k", "5 n / k"])
def test_an_even_router_is_the_committee_problem(n: int, k: int, tokens: str) -> None:
    """
    With popularities all equal the experts touched are distributed as a Markov chain says, sampled or continued.

    The mean, n (1 - (C(n-1, k) / C(n, k))^B), is met within 4 standard errors, the variance within 4 of its own
    (and 2 % where choices are continued as if independent), and chi-square over the values does not reject at 1e-4.
    """
    share = {"2": 2 * k / n, "n / k": 1, "3 n / k": 3, "5 n / k": 5}[tokens]
    n_tokens = max(2, math.ceil(share * n / k))
    sampled = Routings("even", moe(n, k), 0.0, LAYERS).touched(n_tokens).ravel()
    exact = occupancy(n, k, n_tokens)
    values = np.arange(n + 1)
    mean = n * (1 - (math.comb(n - 1, k) / math.comb(n, k)) ** n_tokens)
    variance = exact @ (values - mean) ** 2
    fourth = exact @ (values - mean) ** 4
    size = sampled.size

    assert exact @ values == pytest.approx(mean)
    assert abs(sampled.mean() - mean) <= 4 * math.sqrt(variance / size)
    assert abs(sampled.var() - variance) <= 4 * math.sqrt((fourth - variance**2) / size) + 0.02 * variance
    expected, counted = exact * size, np.bincount(sampled, minlength=n + 1)
    often = expected >= 5
    if often.sum() > 1:
        chi2 = ((counted[often] - expected[often]) ** 2 / expected[often]).sum()
        assert chi2 < stats.chi2.ppf(1 - 1e-4, often.sum() - 1)


def gumbel_top_k(shares: np.ndarray, k: int, n_tokens: int, n: int, seed: int) -> np.ndarray:
    """Experts that tokens touch, by brute force: the k greatest of log popularity plus Gumbel noise; shape (n,)."""
    draws = np.random.default_rng(seed).gumbel(size=(n, n_tokens, len(shares))) + np.log(shares)
    chosen = np.argpartition(draws, -k, axis=2)[..., -k:]
    touched = np.zeros((n, len(shares)), bool)
    np.put_along_axis(touched, chosen.reshape(n, -1), True, axis=1)
    return touched.sum(axis=1)


@pytest.mark.parametrize(
    ("n", "k", "n_tokens"), [(8, 2, 3), (8, 2, 12), (8, 2, 30), (32, 4, 8), (32, 4, 60), (12, 10, 2)]
)
def test_favourites_are_chosen_as_by_gumbel_top_k(n: int, k: int, n_tokens: int) -> None:
    """With popularities far apart, the mean over layers agrees with brute force within 4 of both standard errors."""
    sigma = 0.8
    sampled = Routings("uneven", moe(n, k), sigma, LAYERS).touched(n_tokens)
    brute = np.stack(
        [gumbel_top_k(popularity("uneven", layer, n, sigma), k, n_tokens, 400, layer) for layer in LAYERS]
    )
    error = math.sqrt((sampled.var(axis=1) / ROUTINGS + brute.var(axis=1) / 400).sum()) / len(LAYERS)

    assert abs(sampled.mean() - brute.mean()) <= 4 * error + 1e-9
    assert sampled.var(axis=1, ddof=1).mean() == pytest.approx(brute.var(axis=1, ddof=1).mean(), rel=0.1, abs=1e-3)


def test_how_often_each_expert_is_chosen() -> None:
    """Two of three experts: chances by enumerating the orders of choice, within 4.5 standard errors."""
    choices = _Choices("three", moe(3, 2), 1.5, LAYERS)
    n_tokens = 30
    for token in range(1, n_tokens + 1):
        choices.choose(token)
    times, size = choices.times.reshape(-1, 3), ROUTINGS * n_tokens
    for layer, row in zip(LAYERS, times, strict=True):
        shares = popularity("three", layer, 3, 1.5)
        chance = np.zeros(3)
        for first, second, _ in permutations(range(3)):
            chance[[first, second]] += shares[first] * shares[second] / (1 - shares[first])
        assert (np.abs(row / size - chance) <= 4.5 * np.sqrt(chance * (1 - chance) / size)).all()
    assert (times.sum(axis=1) == 2 * size).all()


def test_one_token_touches_its_own_experts() -> None:
    """A single token touches k experts at every popularity."""
    assert {8} == set(Routings("m", moe(256, 8), 0.8, (3,)).touched(1).ravel().tolist())


def test_a_layer_is_the_same_in_any_stage() -> None:
    """Popularities and sampled routings depend on model and layer, not on other layers or earlier queries."""
    one, both = Routings("m", moe(16, 2), 0.4, (5,)), Routings("m", moe(16, 2), 0.4, (4, 5))
    one.touched(40)

    for n_tokens in (2, 9, 33, 60):
        assert one.touched(n_tokens)[0].tolist() == both.touched(n_tokens)[1].tolist()
    assert popularity("m", 4, 16, 0.4).tolist() != popularity("m", 5, 16, 0.4).tolist()
    assert popularity("m", 4, 16, 0.4).tolist() != popularity("n", 4, 16, 0.4).tolist()


def test_more_tokens_touch_more() -> None:
    """Quantiles never fall with the number of tokens, and end at all experts."""
    routings = Routings("m", moe(16, 2), 0.8, (0, 1))
    tables = [routings.touched(n_tokens) for n_tokens in (1, 2, 3, 8, 31, 32, 33, 64, 500, 10**6)]

    assert all((later >= before).all() for before, later in pairwise(tables))
    assert (tables[-1] == 16).all()


def test_popularity_is_lognormal() -> None:
    """Logarithms of popularity have the stated deviation about a mean of their own, by Kolmogorov and Smirnov."""
    logs = np.concatenate([np.log(w) - np.log(w).mean() for w in (popularity("m", n, 1000, 0.4) for n in range(4))])

    assert stats.kstest(logs, stats.norm(0, 0.4).cdf).pvalue > 1e-4
    assert np.ptp(popularity("m", 0, 64, 0.0)) == 0
