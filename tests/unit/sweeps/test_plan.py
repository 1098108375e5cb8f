"""Sweep files: all faults at once with their lines, and points that cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from simcluster.files.problems import InputError
from simcluster.sweeps.plan import read

BASE = """
model: llama-3.1-8b
topology: h100-8
workload:
  arrivals: {kind: poisson, rate: 40 req/s}
  prompt_tokens: {kind: fixed, value: 64}
  output_tokens: {kind: fixed, value: 4}
  requests: 5
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A base scenario in the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("base.yaml").write_text(BASE)


def problems(text: str, *settings: str) -> list[str]:
    """What is wrong with a sweep."""
    Path("s.yaml").write_text(text)
    with pytest.raises(InputError) as error:
        read("s.yaml", settings)
    return [str(problem) for problem in error.value.problems]


def test_values_keep_their_lines() -> None:
    """A wrong value of a grid, a variant or `set` is reported at its own line, under its key in the scenario."""
    found = problems("""scenario: base.yaml
set: {workload.requests: few}
design:
  variants:
    a: {topology: h100-88}
    b: {topology: {generate: {kind: gpu_nod}}}
  grid:
    workload.arrivals.rate:
      - 4 req/s
      - 5 reqs
    noise: [none, loud]
""")
    places = [":".join(text.split(":")[:3]) for text in found]

    assert {
        "s.yaml:2: workload.requests", "s.yaml:5: topology", "s.yaml:10: workload.arrivals.rate", "s.yaml:11: noise",
    } <= set(places)  # fmt: skip
    assert any(place.startswith("s.yaml:6: topology.generate") for place in places)


def test_faults_of_a_value_are_reported_once() -> None:
    """However many points share a wrong value."""
    (found,) = problems("scenario: base.yaml\ndesign:\n  grid: {noise: [loud], workload.requests: [1, 2, 3]}\n")

    assert found.startswith("s.yaml:3: noise: ")


def test_what_does_not_fit_is_no_fault() -> None:
    """Points whose model does not fit, or cannot be cut so, stay points, with the reason."""
    Path("s.yaml").write_text("""scenario: base.yaml
design:
  grid: {model: [llama-3.1-8b, llama-3.1-70b], deployment.tensor_parallel_size: [1, 3]}
""")
    points = read("s.yaml").points

    assert [True, False, False, False] == [planned.scenario is not None for planned in points]
    assert "32 heads among 3 ranks" in points[1].reason
    assert "does not fit on 1 x h100-sxm" in points[2].reason


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("scenario: nothing-such\ndesign: {grid: {noise: [none]}}", "s.yaml:1: scenario: no scenario 'nothing-such'"),
        ("scenario: gone.yaml\ndesign: {grid: {noise: [none]}}", "s.yaml:1: scenario: no such file"),
        ("scenario: base.yaml", "s.yaml:1: design: missing"),
        ("scenario: base.yaml\ndesign: {}", "s.yaml:2: design: an empty design"),
        ("scenario: base.yaml\ndesign: {grid: {noise: []}}", "s.yaml:2: design.grid.noise: 0 entries"),
        ("scenario: base.yaml\ndesign: {grid: {a..b: [1]}}", "s.yaml:2: design.grid.a..b"),
        ("scenario: base.yaml\ndesign: {grid: {seed: [1]}}", "the key 'seed'"),
        ("scenario: base.yaml\ndesign: {gird: {noise: [none]}}", "did you mean 'grid'?"),
        ("scenario: base.yaml\ndesign: {sobol: {points: 9, ranges: {a: {low: 0, high: 1}}}}", "a power of two"),
        ("scenario: base.yaml\ndesign: {grid: {model.x: [1]}}", "a value that has no keys"),
        (
            "scenario: base.yaml\n"
            "design: {random: {points: 10000, ranges: {a: {low: 0, high: 1}}}, grid: {b: [1, 2]}}",
            "s.yaml:2: design: 20,000 points",
        ),
        ("scenario: base.yaml\nseeds: 0\ndesign: {grid: {noise: [none]}}", "s.yaml:2: seeds"),
        ("scenario: base.yaml\npareto: [power_w, speed]\ndesign: {grid: {noise: [none]}}", "no column 'speed'"),
        ("scenario: base.yaml\npareto: [power_w, p99_itl]\ndesign: {grid: {noise: [none]}}", "mean 'p99_itl_ms'?"),
        ("scenario: base.yaml\npareto: [power_w, cost_per_hour]\ndesign: {grid: {noise: [none]}}", "without 'cost'"),
        (
            "scenario: base.yaml\ncost: {currency: USD, per_device_hour: {wse-3: 9}}\n"
            "design: {grid: {noise: [none]}}",
            "s.yaml:2: cost.per_device_hour: no price of 'h100-sxm'",
        ),
        (
            "scenario: base.yaml\ncapacity: {low: 1 req/s, high: 9 req/s}\ndesign: {grid: {noise: [none]}}",
            "s.yaml:2: capacity: a scenario without limits",
        ),
        (
            "scenario: base.yaml\ncapacity: {low: 1 req/s, high: 9 req/s}\n"
            "design: {grid: {workload.arrivals.rate: [1 req/s]}}",
            "remove one: the search sets the rate",
        ),
        ("scenario: base.yaml\ncapacity: {low: 9 req/s, high: 1 req/s}\ndesign: {grid: {a: [1]}}", "above 'low'"),
        ("- 1", "where a mapping belongs"),
        ("", "an empty file"),
        ("scenario: base.yaml\ndesign: &a {grid: *a}", "anchor"),
    ],
)  # fmt: skip
def test_faults(text: str, expected: str) -> None:
    """Errors are reported with their line and what is expected."""
    assert expected in "\n".join(problems(text))


def test_settings_of_the_command_line() -> None:
    """They hold for all points, and cannot undo the design."""
    text = "scenario: base.yaml\ndesign: {grid: {noise: [none]}}"
    Path("s.yaml").write_text(text)
    (planned,) = read("s.yaml", ["workload.requests=3"]).points

    assert planned.scenario is not None
    assert 3 == planned.scenario.workload["requests"]
    assert ["--set: noise: a key of the design; change it in the sweep file"] == problems(text, "noise=noisy")


def test_files_are_relative_to_the_sweep(tmp_path: Path) -> None:
    """A scenario, a topology and a trace that a sweep names stand beside it, wherever the command runs."""
    inner = Path("inner")
    inner.mkdir()
    (inner / "other.yaml").write_text(BASE)
    (inner / "t.yaml").write_text("generate: {kind: gpu_node, device: h100-sxm, gpus: 2, link: nvlink4}\n")
    (inner / "s.yaml").write_text("scenario: other.yaml\ndesign: {grid: {topology: [t.yaml]}}\n")
    (planned,) = read("inner/s.yaml").points

    assert planned.scenario is not None
    assert "t" == planned.scenario.topology
