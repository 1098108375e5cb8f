"""The slowest requests: all of the excess is accounted for, and the planted reason is found and named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_runs import write_run
from small_runs import loaded, recorded

from simcluster.results.metrics import TICKS_PER_MS, are_finished
from simcluster.results.read_run import RunFolder, read
from simcluster.results.replications import read_all, replicate
from simcluster.trace.columns import COMPONENT_COLUMNS, COMPONENTS
from simcluster.variance.circumstances import MAX_EVENTS
from simcluster.variance.explain import explain
from simcluster.variance.slowest import MAX_REQUESTS, SlowRequest, slowest_of

ONE = """
model: llama-3.1-8b
topology: h100-8
workload:
  arrivals: {kind: deterministic, rate: 2 req/s}
  prompt_tokens: {kind: fixed, value: 64}
  output_tokens: {kind: fixed, value: 20}
  requests: 12
noise: none
"""
"""Requests that are alone, each like the others."""
MANY = """
model: llama-3.1-8b
topology: h100-8
deployment: {replicas: 2}
workload:
  arrivals: {kind: poisson, rate: 60 req/s}
  prompt_tokens: {kind: lognormal, median: 200, p99: 2000}
  output_tokens: {kind: uniform, low: 1, high: 40}
  requests: 80
noise: datacenter
"""


def slow(runs: list[RunFolder], kind: str) -> list[SlowRequest]:
    return explain(runs).slowest_requests[kind]


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50), st.booleans()), max_size=40))
def test_the_largest_in_order(requests: list[tuple[int, int, bool]]) -> None:
    """They are the first of all finished requests, sorted by latency and then by number."""
    first, later = np.zeros((2, len(COMPONENTS), len(requests)), np.int64)
    first[0], later[3] = [one[0] for one in requests], [one[1] for one in requests]
    finished = np.array([one[2] for one in requests], dtype=bool)
    found = slowest_of(first, later, np.ones(len(requests), np.int64), finished)
    for kind, latency in (("ttft", lambda one: one[0]), ("e2el", lambda one: one[0] + one[1])):
        ranked = sorted((-latency(one), number) for number, one in enumerate(requests) if one[2])
        assert ranked[:MAX_REQUESTS] == [(-one.ticks, one.request) for one in found[kind]]


def test_figures_are_those_of_the_request_table(tmp_path: Path) -> None:
    """Times, tokens and replica of the slowest are the request's own; the excess is over the mean of all."""
    run = recorded(loaded(tmp_path, MANY), tmp_path / "run")
    finished = are_finished(run.requests)
    arrived, first, last = (
        np.asarray(run.requests[f"{name}_at_ticks"])[finished] for name in ("arrived", "first_token", "last_token")
    )
    for kind, ticks in (("ttft", first - arrived), ("e2el", last - arrived)):
        found = slow([run], kind)
        ms = ticks / TICKS_PER_MS
        assert np.sort(ms)[::-1][:MAX_REQUESTS].tolist() == [getattr(one, f"{kind}_ms") for one in found]
        for one in found:
            number = one.request
            assert ms[number] == getattr(one, f"{kind}_ms")
            assert one.excess_ms == pytest.approx(ms[number] - ms.mean())
            assert arrived[number] / 10**12 == one.arrived_s
            for name in ("prompt_tokens", "output_tokens", "replica"):
                assert int(run.requests[name][number]) == getattr(one, name)


def test_the_component_is_the_largest_excess(tmp_path: Path) -> None:
    """Of a first token, the component named exceeds its mean over all first tokens most, and by so much."""
    run = recorded(loaded(tmp_path, MANY), tmp_path / "run")
    (tokens,) = run.tokens()
    first = tokens["token"] == 0
    parts = np.stack([tokens[name][first] for name in COMPONENT_COLUMNS]) / TICKS_PER_MS
    excess = parts - parts.mean(axis=1)[:, None]
    for one in slow([run], "ttft"):
        own = excess[:, tokens["request"][first] == one.request].ravel()
        assert list(COMPONENTS)[int(own.argmax())] == one.component
        assert one.component_excess_ms == pytest.approx(own.max())
        assert own.sum() == pytest.approx(one.excess_ms)


def test_equal_requests_have_no_slowest(tmp_path: Path) -> None:
    """Without an excess over the mean there are no slow requests, as in a run of one request."""
    same = read(write_run(tmp_path / "same", [[5.0, 2.0], [5.0, 2.0]]))
    one = read(write_run(tmp_path / "one", [[5.0, 2.0]]))

    assert [] == slow([same], "ttft") == slow([same], "e2el") == slow([one], "ttft")


@pytest.mark.parametrize("output", [40, 200])
def test_a_long_answer_is_long_by_its_length(tmp_path: Path, output: int) -> None:
    """The one request with more tokens is the slowest, and the reason is their number."""
    run = planted(tmp_path, output=output)
    found = slow([run], "e2el")

    mean = (11 * 20 + output) / 12
    assert (3, f"{output} output tokens, {mean:,.0f} on average") == (found[0].request, found[0].cause)
    assert "output_tokens" == found[0].component
    more_tokens_ms = (output - mean) * run.summary["mean_itl_ms"]
    assert found[0].component_excess_ms == pytest.approx(more_tokens_ms)


def planted(folder: Path, output: int = 20, prompt: int = 64, more: str = "") -> RunFolder:
    """Twelve requests a second, of which the fourth has other lengths."""
    rows = "".join(
        f"{number},{prompt if number == 3 else 64},{output if number == 3 else 20}\n" for number in range(12)
    )
    (folder / "t.csv").write_text("Timestamp,Request tokens,Response tokens\n" + rows)
    text = "model: llama-3.1-8b\ntopology: h100-8\nworkload: {trace: ./t.csv}\nnoise: none\n"
    return recorded(loaded(folder, text + more), folder / "run")


def test_a_long_prompt_is_the_cause(tmp_path: Path) -> None:
    """The one request with a longer prompt has the slowest first token, by its own prompt."""
    found = slow([planted(tmp_path, prompt=4000)], "ttft")

    assert 3 == found[0].request
    assert f"its own prompt of 4,000 tokens, {(4000 + 11 * 64) / 12:,.0f} on average" == found[0].cause


def test_an_event_is_named(tmp_path: Path) -> None:
    """A request served by a slow device names it as a cause; other requests do not."""
    event = "events: [{kind: device_slow, device: gpu0, times_slower: 3, at: 2.9 s, lasts: 500 ms}]\n"
    found = slow([planted(tmp_path, more=event)], "ttft")

    assert 3 == found[0].request
    assert found[0].cause.endswith("; during device slow: gpu0")
    assert not [one for one in found[1:] if "during" in one.cause]


def test_events_of_others_are_not(tmp_path: Path) -> None:
    """Events of devices without a replica are not causes; of many events a few are named and the rest counted."""
    events = [
        f"{{kind: device_slow, device: gpu{device}, times_slower: {1.5 + number}, at: 3.0{number} s, lasts: 90 ms}}"
        for number, device in enumerate([5, 0])
    ]
    found = slow([planted(tmp_path, more=f"events: [{', '.join(events)}]\n")], "e2el")

    assert "gpu0" in found[0].cause and "gpu5" not in found[0].cause
    assert found[0].cause.count(",") < MAX_EVENTS


def test_a_paused_host_is_named(tmp_path: Path) -> None:
    """A first token that waits in a paused host has a stall, and the pause for its cause."""
    pauses = "{every: 3 s, mean: 300 ms, sd: 0 s, shortest: 300 ms, longest: 300 ms}"
    text = ONE.replace("noise: none", f"noise: {{preset: none, host_pauses: {pauses}}}")
    text = text.replace("rate: 2 req/s", "rate: 20 req/s").replace("requests: 12", "requests: 100")
    found = slow([recorded(loaded(tmp_path, text), tmp_path / "run")], "ttft")

    assert {("stall", "a pause of its host")} == {(one.component, one.cause) for one in found[:2]}


def test_queues_have_a_crowd(tmp_path: Path) -> None:
    """Requests that come at once and go one by one wait for those before them, whose prompts are counted."""
    rows = "".join(f"0.0,{2000},2\n" for _ in range(8))
    (tmp_path / "t.csv").write_text("Timestamp,Request tokens,Response tokens\n" + rows)
    text = (
        "model: llama-3.1-8b\ntopology: h100-8\nworkload: {trace: ./t.csv}\nnoise: none\n"
        "deployment: {max_num_seqs: 1}\n"
    )
    found = slow([recorded(loaded(tmp_path, text), tmp_path / "run")], "ttft")

    assert (7, "queue") == (found[0].request, found[0].component)
    assert "7 other requests on arrival; prompts of 7 of them, 14,000 tokens, before its own" == found[0].cause


def test_of_several_runs_each_says_whose_it_is(tmp_path: Path) -> None:
    """The slowest requests of all replications are reported, with their seeds."""
    replicate(loaded(tmp_path, MANY), 3, tmp_path / "runs", jobs=1)
    runs = read_all(tmp_path / "runs")
    alone = [(one.ttft_ms, run.summary["seed"], one.request) for run in runs for one in slow([run], "ttft")]

    found = [(one.ttft_ms, one.seed, one.request) for one in slow(runs, "ttft")]
    assert sorted(alone, reverse=True)[:MAX_REQUESTS] == found


def test_without_its_scenario_a_run_has_slow_requests_too(tmp_path: Path) -> None:
    """The request table alone is enough for components."""
    found = slow([read(write_run(tmp_path / "made", [[5.0, 2.0], [9.0, 2.0]], waits_ms=[0.0, 4.0]))], "ttft")

    assert [1] == [one.request for one in found]
    assert ("queue", 2.0) == (found[0].component, found[0].component_excess_ms)
