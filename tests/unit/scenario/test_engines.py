"""Serving engines: what naming one changes, and how late they admit."""

from __future__ import annotations

import pytest
from support import linear_stage, plan, play
from support import load as requests

from simcluster.catalog import entries
from simcluster.catalog.calibration.engines import read, skew_s
from simcluster.files.problems import InputError
from simcluster.policies.schedulers import fcfs, prefill_first, whole_prompts
from simcluster.policies.views import Decision, RequestView, SchedulerView
from simcluster.results.run import simulate
from simcluster.scenario.load import load

CLOSED = ("noise=none", "workload.arrivals={kind: closed, concurrency: 4}", "workload.requests=12",
          "workload.prompt_tokens={kind: fixed, value: 300}", "workload.output_tokens={kind: fixed, value: 20}",
          "deployment.tensor_parallel_size=4")  # fmt: skip


def view(
    running: list[RequestView], waiting: list[RequestView], max_tokens: int = 100, n_running: int | None = None
) -> SchedulerView:
    """A replica with room for all requests."""
    active = len(running) if n_running is None else n_running
    return SchedulerView(running, waiting, active, 1000, 16, max_tokens, 64, 64)


@pytest.mark.parametrize("name", ["vllm", "trtllm", "sglang"])
def test_an_engine_brings_its_constants(name: str) -> None:
    """Scheduler, lag and host times are the engine's unless given otherwise; summaries carry an interval."""
    constants = read(entries.entry("calibration", f"engine-{name}"), name)
    scenario = load("llama-3.1-70b-8xh100", [*CLOSED, f"deployment.engine={name}"])
    given = load("llama-3.1-70b-8xh100", [*CLOSED, f"deployment.engine={name}", "deployment.scheduler=fcfs",
                                          "deployment.admission_lag=0"])  # fmt: skip
    summary = simulate(scenario).summary

    assert (constants.scheduler, constants.admission_lag) == (
        scenario.pools[0].engine.scheduler,
        scenario.pools[0].engine.admission_lag,
    )
    assert constants.host_fixed_s == scenario.pools[0].engine.host_fixed_s
    assert ("fcfs", 0) == (given.pools[0].engine.scheduler, given.pools[0].engine.admission_lag)
    low, high = summary["mean_tpot_interval_ms"]
    assert low < summary["mean_tpot_ms"] < high
    assert summary["calibration"]["engine"] == constants.title


def test_a_source_that_no_time_names_is_a_fault_of_the_file() -> None:
    """Sources that are listed and not named are reported with the file, like other errors of a calibration."""
    document = entries.entry("calibration", "engine-vllm")
    document.data["sources"]["another"] = document.data["sources"]["served"]
    with pytest.raises(InputError) as error:
        read(document, "vllm")

    assert ["source 'another' is not cited"] == [problem.found for problem in error.value.problems]
    assert "engine-vllm.yaml" in error.value.problems[0].file


def test_without_an_engine_there_is_no_interval() -> None:
    """General host times were not fitted to runs, and the summary says so."""
    summary = simulate(load("llama-3.1-70b-8xh100", CLOSED)).summary

    assert summary["mean_tpot_interval_ms"] is None
    assert not summary["calibration"]["in_fitted_range"]


def test_more_lag_never_comes_earlier() -> None:
    """In a closed loop every step of lag delays the first tokens of later requests, in the mean."""
    means = []
    for lag in (0, 1, 2, 3):
        means.append(simulate(load("llama-3.1-70b-8xh100", [*CLOSED, f"deployment.admission_lag={lag}"])).summary)
    ttft = [summary["mean_ttft_ms"] for summary in means]

    assert ttft == sorted(ttft)
    assert {12} == {summary["completed"] for summary in means}


def test_a_request_is_seen_after_its_lag() -> None:
    """Who comes while a step is made is served that many steps later; an idle replica serves at once."""
    stages = [linear_stage([{"compute": (10, 0, 0)}])]
    for lag, first_token in ((0, 20), (2, 40)):
        played = play([plan(stages, admission_lag=lag)], requests((0, 5), (1, 1), (9, 1)))

        assert [10, first_token] == [played.emitted(0)[0], played.emitted(1)[0]]


def test_whole_prompts_are_not_cut() -> None:
    """A prompt that does not fit next to the others waits; one that never fits is cut when it is alone."""
    decoding, prompt = RequestView(0, 1, 50, 4), RequestView(1, 100, 0, 0)

    assert Decision([(0, 1)], []) == whole_prompts(view([decoding], [prompt]))
    assert Decision([(0, 1), (1, 99)], []) == fcfs(view([decoding], [prompt]))
    assert Decision([(1, 100)], []) == whole_prompts(view([], [prompt._replace(pending=150)]))


def test_prompts_come_first() -> None:
    """While a prompt waits or is unfinished no request decodes; then all do."""
    decoding, unfinished = RequestView(0, 1, 50, 4), RequestView(1, 40, 60, 4)

    assert [(1, 40), (2, 60)] == prefill_first(view([decoding, unfinished], [RequestView(2, 70, 0, 0)])).grants
    assert [(0, 1)] == prefill_first(view([decoding], [])).grants


def test_ranks_wait_for_the_mean_of_the_largest() -> None:
    """The last of n exponential delays comes after 1 + 1/2 + ... + 1/n times their mean."""
    assert 11 / 6 * 3e-6 == pytest.approx(skew_s(3e-6, 3))
