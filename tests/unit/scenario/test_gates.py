"""Gates as text, and the metrics that they name."""

from __future__ import annotations

import pytest

from simcluster.scenario.gates import METRICS, GateError, default_gates, parse, parse_all


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("p99_ttft_ms > +5%", "p99_ttft_ms > +5%"),
        (" p99_ttft_ms>+5 % ", "p99_ttft_ms > +5%"),
        ("p99_ttft_ms > 0.5 s", "p99_ttft_ms > 500 ms"),
        ("p99_ttft_ms > 500", "p99_ttft_ms > 500 ms"),
        ("slo_attainment < 0.95", "slo_attainment < 95%"),
        ("request_goodput < -2.5%", "request_goodput < -2.5%"),
        ("request_goodput < 120 req/min", "request_goodput < 2 req/s"),
        ("output_throughput < 1e3 tokens/s", "output_throughput < 1000 tokens/s"),
        ("joules_per_output_token > 12", "joules_per_output_token > 12 J"),
    ],
)
def test_forms(text: str, expected: str) -> None:
    """A change has a sign and a percent sign; a limit has its unit or none; what is written reads back."""
    assert expected == str(parse(text))
    assert parse(text) == parse(expected)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", "is not a gate"),
        ("p99_ttft_ms", "is not a gate"),
        ("p99_ttft_ms = 5", "is not a gate"),
        ("p99_ttft_ms > 5%", "or a change such as '+5%'"),
        ("p99_ttft_ms > -5%", "expected '>' with a change of +0% or more"),
        ("p99_ttft_ms < +5%", "or '<' with one of -0% to -99%"),
        ("output_throughput < -100%", "or '<' with one of -0% to -99%"),
        ("p99_ttft_ms > +1e9%", "expected '>' with a change"),
        ("p99_ttft_ms > 5 GB", "has the unit 'GB'"),
        ("p99_ttft_ms > 1e400", "expected a limit"),
        ("slo_attainment < 1.5", "expected a limit"),
        ("p99_tfft_ms > +5%", "did you mean 'p99_ttft_ms'?"),
        ("std_itl_ms > +5%", "expected p99_itl_ms instead"),
        ("p99.9_ttft_ms > 1 s", "expected p99_ttft_ms instead"),
        ("x" * 10_000, "is not a gate"),
    ],
)
def test_what_is_no_gate(text: str, hint: str) -> None:
    """What cannot be meant is refused with what would be right."""
    with pytest.raises(GateError) as caught:
        parse(text)

    assert hint in str(caught.value)


def test_twelve_by_default() -> None:
    """Twelve gates hold by default, each with the margin of its kind."""
    gates = {gate.metric: gate.threshold for gate in default_gates()}

    assert 12 == len(gates)
    assert (0.02, 0.05, 0.1, -0.02) == tuple(
        gates[name] for name in ("median_itl_ms", "p99_itl_ms", "p99_ttft_ms", "output_throughput")
    )


def test_the_last_on_a_metric_holds() -> None:
    """`defaults` stands for the twelve, and a later gate on the same change takes the place of one of them."""
    gates = parse_all(["defaults", "p99_ttft_ms > +20%", "p99_ttft_ms > 1 s"])

    assert 13 == len(gates)
    assert 0.2 == next(gate for gate in gates if gate.metric == "p99_ttft_ms" and gate.is_change).threshold


def test_metrics_are_those_of_a_summary() -> None:
    """Every metric that a gate may name is in the summary of a run."""
    import simcluster
    from simcluster.results.replications import metrics
    from simcluster.results.run import measure

    scenario = simcluster.load("llama-3.1-8b-1xwse3", ["workload.output_tokens.value=2", "slo.ttft=1 s"])

    assert set() == METRICS.keys() - metrics(measure(scenario)).keys()
