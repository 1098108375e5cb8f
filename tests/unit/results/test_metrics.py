"""Latency metrics against a naive reading of vLLM's benchmark, request by request from lists of token times."""

from __future__ import annotations

import statistics
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import Played, linear_stage, load, plan, play

from simcluster.results.metrics import (
    LATENCIES,
    PERCENTILES,
    TokenSums,
    Weighted,
    describe,
    goodput,
    latencies_ms,
    summarise,
)
from simcluster.trace.columns import COMPONENTS, N_KEYS, TOKEN_COLUMNS

MS = 10**9


def run(horizon_ticks: int | None = None) -> Played:
    """Requests of one and of several tokens, one that is rejected, and others cut off by a horizon, if any."""
    generator = np.random.default_rng(11)
    n = 40
    outputs = generator.integers(1, 9, n)
    outputs[3] = 500
    arrivals = np.sort(generator.integers(0, 400 * MS, n)).tolist()
    stage = linear_stage([{"launch": (2 * MS, 0, 0), "compute": (0, MS // 9, MS), "exchange": (MS // 7, 0, 0)}])
    return play(
        [plan([stage], max_running=6, max_tokens=12)],
        load(arrivals, generator.integers(1, 20, n).tolist(), outputs.tolist()),
        max_model_len=100,
        horizon_ticks=horizon_ticks,
    )  # fmt: skip


def token_times(outcome: Played) -> dict[int, list[int]]:
    """Of the finished requests."""
    finished = [number for number, status in enumerate(outcome.requests["status"]) if status == "finished"]
    return {number: outcome.emitted(number) for number in finished}


def naive(outcome: Played) -> dict[str, list[float]]:
    """As vLLM's `calculate_metrics`: per request, tpot only of more than one token, all gaps pooled; in ms."""
    found: dict[str, list[float]] = {name: [] for name in LATENCIES}
    for number, times in token_times(outcome).items():
        arrived = int(outcome.requests["arrived_at_ticks"][number])
        ttft, latency = (times[0] - arrived) / MS, (times[-1] - arrived) / MS
        found["ttft"].append(ttft)
        found["e2el"].append(latency)
        if len(times) > 1:
            found["tpot"].append((latency - ttft) / (len(times) - 1))
        found["itl"] += [(after - before) / MS for before, after in pairwise(times)]
    return found


def sums(outcome: Played, rows_per_block: int = 10**6) -> TokenSums:
    rows = np.stack([outcome.tokens[name] for name in TOKEN_COLUMNS])
    result = TokenSums(has_horizon=True)
    for start in range(0, rows.shape[1], rows_per_block):
        result.add(rows[:, start : start + rows_per_block])
    result.finish(outcome.requests)
    return result


def summary(outcome: Played, limits_ms: dict[str, float] | None = None) -> dict[str, Any]:
    return summarise(outcome.requests, sums(outcome), outcome.duration_ticks, 700.0, limits_ms or {})


def test_latencies_are_vllms() -> None:
    """ttft, tpot, itl and e2el of finished requests equal the naive ones within rounding of floats."""
    outcome = run()
    expected = naive(outcome)
    actual = latencies_ms(outcome.requests) | {"itl": sums(outcome).gaps_ms().written_out()}

    for name in LATENCIES:
        assert sorted(expected[name]) == pytest.approx(sorted(actual[name].tolist()), rel=1e-12)


def test_requests_of_one_token_have_no_tpot() -> None:
    """There is a tpot for every finished request of more than one token and for no other."""
    outcome = run()
    n_tokens = [len(times) for times in token_times(outcome).values()]

    assert 1 in n_tokens
    assert sum(n > 1 for n in n_tokens) == len(latencies_ms(outcome.requests)["tpot"])


def test_the_summary_describes_the_naive_latencies() -> None:
    """Mean, median, deviation and percentiles in the summary are numpy's of the naive ones, under vLLM's keys."""
    outcome = run()
    reported, expected = summary(outcome), naive(outcome)
    for name in LATENCIES:
        values = expected[name]
        assert statistics.fmean(values) == pytest.approx(reported[f"mean_{name}_ms"], rel=1e-12)
        assert statistics.median(values) == pytest.approx(reported[f"median_{name}_ms"], rel=1e-12)
        assert statistics.pstdev(values) == pytest.approx(reported[f"std_{name}_ms"], rel=1e-9)
        for p in PERCENTILES:
            assert np.percentile(values, p) == pytest.approx(reported[f"p{p:g}_{name}_ms"], rel=1e-12)


def test_time_to_first_token_and_gaps_add_up() -> None:
    """Over all requests ttft + sum of itl is e2el, within rounding of floats."""
    outcome = run()
    values = latencies_ms(outcome.requests)

    assert values["e2el"].sum() == pytest.approx(
        values["ttft"].sum() + sums(outcome).gaps_ms().written_out().sum(), rel=1e-12
    )


def test_counts_and_rates() -> None:
    """Counts are of the request table, rates are counts over the duration, energy is power times time."""
    outcome = run()
    reported = summary(outcome)
    times = token_times(outcome)
    n_output = sum(map(len, times.values()))
    duration_s = max(map(max, times.values())) / 10**12

    assert (39, 1, 0) == (reported["completed"], reported["failed"], reported["unfinished"])
    assert {"longer than max_model_len (100 tokens)": 1} == reported["failures"]
    assert n_output == reported["total_output_tokens"]
    assert sum(int(outcome.requests["prompt_tokens"][n]) for n in times) == reported["total_input_tokens"]
    assert duration_s == reported["duration"]
    assert len(times) / duration_s == pytest.approx(reported["request_throughput"], rel=1e-12)
    assert n_output / duration_s == pytest.approx(reported["output_throughput"], rel=1e-12)
    assert 700 * duration_s / n_output == pytest.approx(reported["joules_per_output_token"], rel=1e-12)


@pytest.mark.parametrize(
    "limits", [{"ttft": 60.0}, {"tpot": 12.0}, {"e2el": 90.0}, {"ttft": 60.0, "tpot": 12.0, "e2el": 120.0}]
)
def test_goodput_counts_who_meets_every_limit(limits: dict[str, float]) -> None:
    """Goodput is the rate of finished requests within every limit; the tpot of a single token counts as 0."""
    outcome = run()
    good = 0
    for number, times in token_times(outcome).items():
        arrived = int(outcome.requests["arrived_at_ticks"][number])
        tpot = (times[-1] - times[0]) / (len(times) - 1) / MS if len(times) > 1 else 0.0
        values = {"ttft": (times[0] - arrived) / MS, "tpot": tpot, "e2el": (times[-1] - arrived) / MS}
        good += all(values[name] <= limit for name, limit in limits.items())

    assert 0 < good < len(token_times(outcome))
    assert good / 2.5 == goodput(outcome.requests, limits, 2.5)


def test_there_is_no_goodput_without_limits() -> None:
    """Without limits there is nothing to be good at."""
    assert goodput(run().requests, {}, 1.0) is None


def test_shares_add_up_to_one() -> None:
    """The components' shares in ttft and in itl add up to 1 and are the components' sums over the total."""
    outcome = run()
    reported = summary(outcome)
    for kind, rows in (("ttft", outcome.tokens["token"] == 0), ("itl", outcome.tokens["token"] > 0)):
        by_component = {name: int(outcome.tokens[f"{name}_ticks"][rows].sum()) for name in COMPONENTS}
        shares = reported[f"{kind}_shares"]
        assert sum(shares.values()) == pytest.approx(1, abs=1e-12)
        for name, ticks in by_component.items():
            assert ticks / sum(by_component.values()) == pytest.approx(shares[name], rel=1e-12)


def test_sums_do_not_depend_on_blocks() -> None:
    """Token sums gathered in blocks of any size are the same."""
    outcome = run()
    whole, cut = sums(outcome), sums(outcome, 7)

    assert whole.gaps_ms().written_out().tolist() == cut.gaps_ms().written_out().tolist()
    assert [whole.shares(kind) for kind in ("ttft", "itl")] == [cut.shares(kind) for kind in ("ttft", "itl")]


def test_without_values_nothing_is_invented() -> None:
    """A latency that no request has is described by None, and shares of nothing are 0."""
    assert {None} == set(describe(Weighted.of(np.empty(0)), "tpot").values())
    assert {0.0} == set(TokenSums().shares("itl").values())


def test_equal_values_have_no_spread() -> None:
    """The deviation of equal values is exactly 0, whatever rounding their mean suffers."""
    assert describe(Weighted.of(np.full(7, 0.1)), "itl")["std_itl_ms"] == 0.0


def test_gaps_of_unfinished_requests_do_not_count() -> None:
    """At a horizon only finished requests have inter-token latencies, as they alone have the other latencies."""
    outcome = run(200 * MS)

    assert "unfinished" in outcome.requests["status"]
    assert sorted(naive(outcome)["itl"]) == pytest.approx(sums(outcome).gaps_ms().written_out().tolist(), rel=1e-12)


def test_long_waits_of_many_tokens_do_not_overflow() -> None:
    """Shares stay shares when a block of tokens waited 300 s each, as at the end of an overloaded run."""
    rows = np.zeros((len(TOKEN_COLUMNS), 2**15), np.int64)
    rows[N_KEYS] = 300 * 10**12
    rows[N_KEYS + 2] = 100 * 10**12
    tokens = TokenSums()
    tokens.add(rows)

    assert 0.75 == tokens.shares("ttft")["queue"]


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(1, 5)), min_size=1, max_size=30),
    st.lists(st.floats(0, 100), min_size=1, max_size=5),
)
def test_percentiles_of_counted_values_are_numpys(pairs: list[tuple[int, int]], percentiles: list[float]) -> None:
    """Percentiles of values with counts are those of the values written out, exactly as numpy gives them."""
    values = {value / 7: count for value, count in pairs}
    ordered = sorted(values)
    weighted = Weighted(np.array(ordered), np.array([values[value] for value in ordered]))

    assert np.percentile(weighted.written_out(), percentiles).tolist() == weighted.percentiles(percentiles)
