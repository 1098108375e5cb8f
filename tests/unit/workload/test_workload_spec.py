"""The workload section: what is accepted, and each fault with its line and words."""

import pytest

from simcluster.files import source
from simcluster.files.problems import InputError
from simcluster.files.validation import validate
from simcluster.workload import WorkloadSpec

DRAWN = """
requests: 10
arrivals: {kind: poisson, rate: 4 req/s}
prompt_tokens: {kind: fixed, value: 5}
output_tokens: {kind: fixed, value: 5}
"""


def read(text: str) -> WorkloadSpec:
    """A workload from YAML."""
    return validate(source.parse(text, "w.yaml"), WorkloadSpec)


def faults(text: str) -> list[str]:
    """Everything that is wrong with a workload."""
    with pytest.raises(InputError) as caught:
        read(text)
    return [str(problem) for problem in caught.value.problems]


def drawn(**changes: str) -> str:
    """The drawn workload with some keys replaced, added, or (empty) removed."""
    keys = dict(line.split(": ", 1) for line in DRAWN.strip().splitlines()) | changes
    return "\n".join(f"{key}: {value}" for key, value in keys.items() if value)


@pytest.mark.parametrize(
    "arrivals",
    [
        "{kind: closed, concurrency: 8}",
        "{kind: poisson, rate: 4 req/s}",
        "{kind: gamma, rate: 90 req/min, burstiness: 0.5}",
        "{kind: gamma, rate: 4 req/s, burstiness: 2}",
        "{kind: deterministic, rate: 4 req/s}",
    ],
)
@pytest.mark.parametrize(
    "lengths",
    [
        "{kind: uniform, low: 1, high: 1}",
        "{kind: uniform, nominal: 1024, from_ratio: 80 %, to_ratio: 100 %}",
        "{kind: lognormal, median: 512, p99: 4096}",
        "{kind: lognormal, median: 512, p99: 4096, max: 8192}",
        "{kind: empirical, values: [1, 2], weights: [0.5, 2]}",
        "{kind: empirical, file: lengths.csv, column: tokens}",
    ],
)
def test_accepted(arrivals: str, lengths: str) -> None:
    """Every kind of arrivals goes with every kind of lengths."""
    assert 10 == read(drawn(arrivals=arrivals, prompt_tokens=lengths, horizon="1 h")).requests


def test_units_are_read() -> None:
    """Rates and times come out in SI units."""
    spec = read(drawn(arrivals="{kind: poisson, rate: 90 req/min}", horizon="2 min"))
    assert spec.arrivals is not None and spec.arrivals.kind == "poisson"
    assert pytest.approx(1.5) == spec.arrivals.rate_req_per_s
    assert 120.0 == spec.horizon_s


def test_a_trace_needs_nothing_else() -> None:
    """A trace alone is a workload."""
    spec = read("trace: a.csv")
    assert ("auto", 1.0, False, None) == (spec.trace_format, spec.speed_up, spec.spread_quantised, spec.requests)


def test_single_needs_no_count() -> None:
    """A single request need not be counted, and may be."""
    assert read(drawn(arrivals="{kind: single}", requests="")).requests is None
    assert 1 == read(drawn(arrivals="{kind: single}", requests="1")).requests


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (drawn(requests=""), "requests: missing; give the number of requests"),
        (drawn(arrivals=""), "arrivals: missing; give arrivals, or a trace"),
        (drawn(output_tokens=""), "output_tokens: missing; give output_tokens, or a trace"),
        (drawn(arrivals="{kind: single}"), "w.yaml:1: requests: 10 requests with arrivals of kind single"),
        (drawn(requests="0"), "w.yaml:1: requests: 0"),
        (drawn(requests="20000001"), "w.yaml:1: requests: 20000001"),
        (drawn(requests="ten"), "w.yaml:1: requests: 'ten'"),
        (
            drawn(arrivals="{kind: poison, rate: 4 req/s}"),
            "w.yaml:2: arrivals: kind 'poison'; did you mean 'poisson'?",
        ),
        (drawn(arrivals="{kind: poisson, rate: 4}"), "w.yaml:2: arrivals.rate: 4 has no unit"),
        (drawn(arrivals="{kind: poisson, rate: 0 req/s}"), "w.yaml:2: arrivals.rate: '0 req/s' is too small"),
        (drawn(arrivals="{kind: poisson}"), "w.yaml:2: arrivals.rate: missing"),
        (drawn(arrivals="{kind: poisson, rate: 1 req/s, burstiness: 2}"), "arrivals.burstiness: unknown key"),
        (drawn(arrivals="{kind: gamma, rate: 1 req/s, burstiness: 0}"), "w.yaml:2: arrivals.burstiness: 0"),
        (drawn(arrivals="{kind: gamma, rate: 1 req/s, burstiness: 1e999}"), "w.yaml:2: arrivals.burstiness: inf"),
        (drawn(arrivals="{kind: closed, concurrency: 0}"), "w.yaml:2: arrivals.concurrency: 0"),
        (drawn(horizon="0 s"), "w.yaml:5: horizon: 0; expected more than 0"),
        (drawn(trace="a.csv", requests=""), "w.yaml:1: arrivals: arrivals together with a trace; remove one"),
        (drawn(speed_up="2 x"), "w.yaml:5: speed_up: speed_up without a trace"),
        (drawn(trace_format="azure"), "w.yaml:5: trace_format: trace_format without a trace"),
        (drawn(spread_quantised="true"), "w.yaml:5: spread_quantised: spread_quantised without a trace"),
        ("trace: a.csv\nspeed_up: 0 x", "w.yaml:2: speed_up: 0; expected more than 0"),
        ("trace: a.csv\nspeed_up: 2", "w.yaml:2: speed_up: 2 has no unit"),
        ("trace: a.csv\ntrace_format: azur", "w.yaml:2: trace_format: 'azur'"),
        ("trace: a.csv\ntime_scale: 2", "w.yaml:2: time_scale: unknown key 'time_scale'"),
        ("trace: ''", "w.yaml:1: trace: ''"),
    ],
)
def test_faults(text: str, expected: str) -> None:
    """A fault names its line, its path and what would be right."""
    assert any(expected in fault for fault in faults(text)), faults(text)


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ("{kind: fixed, value: 0}", "prompt_tokens.value: 0"),
        ("{kind: fixed, value: 1.5}", "prompt_tokens.value: 1.5"),
        ("{kind: fixed, value: 100000001}", "prompt_tokens.value: 100000001"),
        ("{kind: uniform, low: 5, high: 4}", "a range from 5 to 4; expected the lower end first"),
        ("{kind: uniform, low: 5}", "a uniform length with low; expected either low and high"),
        ("{kind: uniform}", "a uniform length with no range"),
        ("{kind: uniform, low: 5, high: 6, nominal: 5}", "with low, high, nominal"),
        ("{kind: uniform, nominal: 5, from_ratio: 100 %, to_ratio: 50 %}", "a range from 5 to 3"),
        ("{kind: uniform, nominal: 5, from_ratio: 0.8, to_ratio: 1}", "prompt_tokens.from_ratio: 0.8 has no unit"),
        ("{kind: uniform, nominal: 100000000, from_ratio: 1 x, to_ratio: 2 x}", "a range up to 200,000,000 tokens"),
        ("{kind: lognormal, median: 5, p99: 5}", "p99 5 is not above the median 5"),
        ("{kind: lognormal, median: 5, p99: 9, max: 4}", "max 4 is below the median 5"),
        ("{kind: empirical}", "an empirical length without exactly one origin"),
        ("{kind: empirical, values: []}", "prompt_tokens.values: 0 entries"),
        ("{kind: empirical, values: [1, 0]}", "prompt_tokens.values[1]: 0"),
        ("{kind: empirical, values: [1, 2], weights: [1]}", "1 weights for 2 values"),
        ("{kind: empirical, values: [1], weights: [0]}", "no weight is above 0"),
        ("{kind: empirical, values: [1], weights: [-1]}", "prompt_tokens.weights[0]: -1"),
        ("{kind: empirical, values: [1], file: a.csv, column: x}", "without exactly one origin"),
        ("{kind: empirical, file: a.csv}", "without exactly one origin"),
    ],
)
def test_length_faults(lengths: str, expected: str) -> None:
    """A fault of a length names its line, its path and what would be right."""
    reported = faults(drawn(prompt_tokens=lengths))
    assert any(fault.startswith("w.yaml:3: prompt_tokens") and expected in fault for fault in reported), reported


def test_all_faults_at_once() -> None:
    """Faults of several keys are reported together."""
    assert 3 == len(faults(drawn(requests="0", arrivals="{kind: single, x: 1}", prompt_tokens="{kind: fixed}")))
