"""What metrics are made of: components at a mean and about a percentile, and the change of a metric by component."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats.mstats import hdquantiles

from simcluster.comparison.parts import PartSums, quantile_weights
from simcluster.trace.columns import COMPONENTS, N_KEYS, TOKEN_COLUMNS


def rows(requests: list[list[dict[str, int]]]) -> np.ndarray:  # type: ignore[type-arg]
    """A block of tokens: of each request the components of its tokens."""
    table = []
    for request, tokens in enumerate(requests):
        for token, parts in enumerate(tokens):
            table.append([request, token, *[0] * (N_KEYS - 2), *(parts.get(name, 0) for name in COMPONENTS)])
    return np.array(table, np.int64).reshape(-1, len(TOKEN_COLUMNS)).T


def finished(n: int, unfinished: tuple[int, ...] = ()) -> dict[str, list[str]]:
    """A request table."""
    return {"status": ["unfinished" if number in unfinished else "finished" for number in range(n)]}


def test_mean_shares() -> None:
    """At the mean, shares are those of the sums, exactly."""
    sums = PartSums()
    sums.add(rows([[{"queue": 10, "compute": 30}, {"compute": 6, "stall": 4}, {"compute": 10}]]))
    shares = sums.shares(finished(1))

    assert {"compute": pytest.approx(16 / 20), "stall": pytest.approx(4 / 20)} == shares["mean_itl_ms"]
    assert {"queue": 0.25, "compute": 0.75} == shares["mean_ttft_ms"]
    assert shares["mean_itl_ms"] == shares["mean_tpot_ms"]
    assert pytest.approx(46 / 60) == shares["mean_e2el_ms"]["compute"]


def test_shares_about_a_percentile() -> None:
    """Gaps that are long because of a stall have it at p99 and p95, and the median has none of it."""
    tokens = [{"compute": 1000}] * 900 + [{"compute": 1000, "stall": 9000}] * 110
    sums = PartSums()
    sums.add(rows([[{"compute": 1}, *tokens]]))
    shares = sums.shares(finished(1))

    assert {"compute": 1.0} == shares["median_itl_ms"]
    assert pytest.approx(0.9) == shares["p95_itl_ms"]["stall"]
    assert pytest.approx(0.9) == shares["p99_itl_ms"]["stall"]


def test_blocks_do_not_matter() -> None:
    """However rows are cut into blocks, the shares are the same."""
    rng = np.random.default_rng(3)
    requests = [
        [{"compute": int(a), "weight_fetch": int(b)} for a, b in rng.integers(1, 10**10, (n, 2))]
        for n in rng.integers(1, 30, 50)
    ]
    block = rows(requests)
    whole, cut = PartSums(), PartSums()
    whole.add(block)
    for start in range(0, block.shape[1], 7):
        cut.add(block[:, start : start + 7])
    one, other = whole.shares(finished(50)), cut.shares(finished(50))

    assert one.keys() == other.keys()
    for metric, shares in one.items():
        assert shares == pytest.approx(other[metric])


def test_with_a_horizon_only_finished_requests_count() -> None:
    """Rows of requests that were not finished are left out."""
    sums = PartSums(has_horizon=True)
    sums.add(rows([[{"compute": 5}], [{"queue": 5}]]))

    assert {"compute": 1.0} == sums.shares(finished(2, unfinished=(1,)))["mean_ttft_ms"]


def test_nothing_has_no_shares() -> None:
    """Of no tokens and of latencies of zero nothing is reported."""
    assert {} == PartSums().shares(finished(0))
    sums = PartSums()
    sums.add(rows([[{}, {}]]))
    assert {} == sums.shares(finished(1))


def test_weights_are_those_of_harrell_and_davis() -> None:
    """Weighted values give the quantiles that scipy has, also where a value occurs more than once."""
    rng = np.random.default_rng(5)
    values, counts = np.sort(rng.lognormal(size=40)), rng.integers(1, 9, 40)
    expected = hdquantiles(np.repeat(values, counts), [0.5, 0.95, 0.99])

    for quantile, one in zip((0.5, 0.95, 0.99), expected, strict=True):
        weights = quantile_weights(counts.astype(float), quantile)
        assert 1.0 == pytest.approx(weights.sum())
        assert one == pytest.approx(weights @ values)


def test_values_that_change_places_change_little() -> None:
    """Where neighbours differ in all they are made of and change places, the median's components hardly move."""

    def median(first: str, second: str) -> dict[str, float]:
        tokens = [{first if number % 2 else second: 10_000 + number} for number in range(99)]
        sums = PartSums()
        sums.add(rows([[{"compute": 1}, *tokens]]))
        return sums.shares(finished(1))["median_itl_ms"]

    assert {"compute": 0.5, "stall": 0.5} == pytest.approx(median("compute", "stall"), abs=1e-3)
    assert median("stall", "compute") == pytest.approx(median("compute", "stall"), abs=1e-3)


def test_long_values_are_no_more_than_short_ones() -> None:
    """About p95 one value in two is all stall, and a thousand times as long as the others: it makes half, not all."""
    tokens = [{"compute": 1000}] * 950 + [{"stall": 1_000_000}] * 50
    sums = PartSums()
    sums.add(rows([[{"compute": 1}, *tokens]]))
    shares = sums.shares(finished(1))["p95_itl_ms"]

    assert {"compute": pytest.approx(0.5, abs=0.03), "stall": pytest.approx(0.5, abs=0.03)} == shares
