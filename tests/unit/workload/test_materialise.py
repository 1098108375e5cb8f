"""The requests of a workload: repeatable, separate sources, traces sorted, spread and sped up."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from simcluster.files.problems import InputError
from simcluster.workload import Requests, WorkloadSpec, materialise

FILES = Path(__file__).parents[2] / "files" / "traces"
BASE: dict[str, Any] = {
    "requests": 200,
    "arrivals": {"kind": "poisson", "rate": "4 req/s"},
    "prompt_tokens": {"kind": "lognormal", "median": 500, "p99": 4000},
    "output_tokens": {"kind": "uniform", "low": 1, "high": 1000},
}


def requests(seed: int = 1, folder: Path = FILES, **changes: Any) -> Requests:
    """The base workload with some keys changed, as requests."""
    return materialise(WorkloadSpec.model_validate(BASE | changes), seed, folder)


def replayed(folder: Path = FILES, seed: int = 1, **keys: Any) -> Requests:
    """A trace as requests."""
    return materialise(WorkloadSpec.model_validate(keys), seed, folder)


def same(left: Requests, right: Requests) -> tuple[bool, bool, bool]:
    """Which of arrivals, prompts and outputs are equal."""
    return (
        np.array_equal(left.arrival_ticks, right.arrival_ticks),
        np.array_equal(left.prompt_tokens, right.prompt_tokens),
        np.array_equal(left.output_tokens, right.output_tokens),
    )


def test_same_seed_same_requests() -> None:
    """The same workload and seed give the same requests; another seed gives others."""
    assert (True, True, True) == same(requests(), requests())
    assert (False, False, False) == same(requests(), requests(seed=2))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"arrivals": {"kind": "gamma", "rate": "4 req/s", "burstiness": 0.5}}, (False, True, True)),
        ({"prompt_tokens": {"kind": "uniform", "low": 1, "high": 9}}, (True, False, True)),
        ({"output_tokens": {"kind": "fixed", "value": 9}}, (True, True, False)),
    ],
)
def test_sources_are_separate(changes: dict[str, Any], expected: tuple[bool, bool, bool]) -> None:
    """Changing arrivals, prompts or outputs leaves the other two as they were."""
    assert expected == same(requests(), requests(**changes))


def test_prompts_and_outputs_of_one_distribution_differ() -> None:
    """Prompts and outputs drawn from the same distribution are not the same numbers."""
    drawn = requests(output_tokens=BASE["prompt_tokens"])
    assert np.mean(drawn.prompt_tokens == drawn.output_tokens) < 0.1


@pytest.mark.parametrize("kind", ["poisson", "deterministic"])
def test_more_requests_leave_the_first_as_they_were(kind: str) -> None:
    """The first 200 of 500 requests are the 200."""
    arrivals = {"kind": kind, "rate": "4 req/s"}
    few, many = requests(arrivals=arrivals), requests(arrivals=arrivals, requests=500)
    assert np.array_equal(few.arrival_ticks, many.arrival_ticks[:200])
    assert np.array_equal(few.prompt_tokens, many.prompt_tokens[:200])
    assert np.array_equal(few.output_tokens, many.output_tokens[:200])


def test_gamma_lengths_keep_their_prefix() -> None:
    """Stretched arrivals depend on how many there are; the lengths do not."""
    arrivals = {"kind": "gamma", "rate": "4 req/s", "burstiness": 1}
    few, many = requests(arrivals=arrivals), requests(arrivals=arrivals, requests=500)
    assert 50 * 10**12 == few.arrival_ticks[-1]
    assert np.array_equal(few.prompt_tokens, many.prompt_tokens[:200])


def test_deterministic_ticks() -> None:
    """At 3 req/s the first arrivals are 1/3, 2/3 and 1 s, each rounded once to picoseconds."""
    drawn = requests(arrivals={"kind": "deterministic", "rate": "3 req/s"})
    assert [333_333_333_333, 666_666_666_667, 10**12] == drawn.arrival_ticks[:3].tolist()


def test_form() -> None:
    """Requests are read-only int64 arrays of one length, sorted by arrival."""
    drawn = requests()
    assert 200 == len(drawn)
    for values in (drawn.arrival_ticks, drawn.prompt_tokens, drawn.output_tokens):
        assert (np.dtype(np.int64), (200,), False) == (values.dtype, values.shape, values.flags.writeable)
    assert np.all(np.diff(drawn.arrival_ticks) >= 0)


def test_closed_loop() -> None:
    """A closed loop carries its concurrency and all requests are there at 0; open ones carry none."""
    drawn = requests(arrivals={"kind": "closed", "concurrency": 8})
    assert (8, 0, 200) == (drawn.concurrency, drawn.arrival_ticks.max(), len(drawn))
    assert requests().concurrency is None


def test_single() -> None:
    """A single request arrives at 0."""
    drawn = requests(requests=None, arrivals={"kind": "single"})
    assert [0] == drawn.arrival_ticks.tolist()


@pytest.mark.parametrize("kind", ["deterministic", "poisson", "gamma"])
@pytest.mark.parametrize("rate", ["1e-6 req/s", "5e-324 req/s"])
@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_arrivals_past_the_clock(kind: str, rate: str) -> None:
    """Arrivals that the clock cannot count are refused."""
    more = {"burstiness": 1} if kind == "gamma" else {}
    with pytest.raises(InputError, match=r"arrivals: the last request arrives after .* expected fewer requests"):
        requests(arrivals={"kind": kind, "rate": rate, **more})


def test_trace_is_sorted(tmp_path: Path) -> None:
    """Rows that go back are sorted by arrival, ties by row, and the note says how many there were."""
    (tmp_path / "t.csv").write_text("arrival_time_ns,input_toks,output_toks\n5,1,1\n3,2,2\n3,3,3\n9,4,4\n4,5,5\n")
    trace = replayed(tmp_path, trace="t.csv")
    assert [2, 3, 5, 1, 4] == trace.prompt_tokens.tolist()
    assert [0, 0, 1000, 2000, 6000] == trace.arrival_ticks.tolist()
    assert "rows sorted by arrival: 2 were earlier than the row above them" in trace.notes


def test_trace_faster_and_slower() -> None:
    """`2 x` halves all arrival times and `50 %` doubles them."""
    plain = replayed(trace="azure-2024.csv").arrival_ticks
    assert np.array_equal(plain // 2, replayed(trace="azure-2024.csv", speed_up="2 x").arrival_ticks)
    slow = replayed(trace="azure-2024.csv", speed_up="50 %")
    assert np.array_equal(plain * 2, slow.arrival_ticks)
    assert "arrival times divided by 0.5" in slow.notes


def test_trace_too_slow_for_the_clock() -> None:
    """A trace slowed down past what the clock counts is refused."""
    with pytest.raises(InputError, match="speed_up: the last request arrives after"):
        replayed(trace="azure-2024.csv", speed_up="1e-9 x")


def test_trace_dropped_and_short() -> None:
    """What was dropped, the format and a trace shorter than requested are reported."""
    trace = replayed(trace="burstgpt-1.csv", requests=5)
    assert (("no output tokens (failed request)", 1),) == trace.dropped
    assert ("burstgpt-1.csv read as burstgpt", "the trace has 2 usable rows; 5 were requested") == trace.notes


def test_trace_ignores_the_seed() -> None:
    """A trace replayed as stamped is the same for every seed."""
    assert (True, True, True) == same(replayed(trace="mooncake.jsonl"), replayed(seed=2, trace="mooncake.jsonl"))


def test_spread_stays_in_its_step() -> None:
    """Spread requests leave their timestamp by less than the smallest gap, and the note says by how much."""
    spread = replayed(trace="mooncake.jsonl", spread_quantised=True)
    stamped = replayed(trace="mooncake.jsonl")
    moved = spread.arrival_ticks - stamped.arrival_ticks
    assert np.all((moved >= 0) & (moved < 2999 * 10**9))
    assert "requests spread over the clock's step of 2999 ms" in spread.notes
    assert not same(spread, replayed(seed=2, trace="mooncake.jsonl", spread_quantised=True))[0]


def test_spread_needs_two_timestamps() -> None:
    """When all rows used share one timestamp the step is unknown, which is an input error."""
    with pytest.raises(InputError, match="all rows used have the same timestamp"):
        replayed(trace="mooncake.jsonl", spread_quantised=True, requests=2)


def test_mooncake_arrives_in_groups(shared: Path) -> None:
    """Mooncake's 12,031 rows share 1,180 timestamps, which is noted; spread, they are uniform in the 3 s step."""
    folder = shared / "traces/mooncake"
    stamped = replayed(folder, trace="conversation_trace.jsonl")
    spread = replayed(folder, trace="conversation_trace.jsonl", spread_quantised=True)
    assert any(note.startswith("12,031 requests share 1,180 timestamps") for note in stamped.notes)
    stamps = np.unique(stamped.arrival_ticks)
    since_stamp = spread.arrival_ticks - stamps[np.searchsorted(stamps, spread.arrival_ticks, side="right") - 1]
    assert stats.kstest(since_stamp / (2997 * 10**9), "uniform").pvalue > 0.001


def test_empirical_file_is_beside_the_scenario() -> None:
    """A file of lengths is looked for from the scenario's folder."""
    drawn = requests(prompt_tokens={"kind": "empirical", "file": "column.csv", "column": "tokens"})
    assert {10, 20, 1000} == set(drawn.prompt_tokens.tolist())
