"""Designs: how many points, in which order, and where samples lie."""

from __future__ import annotations

import numpy as np
import pytest

from simcluster.files.source import parse
from simcluster.files.validation import validate
from simcluster.sweeps import design
from simcluster.sweeps.spec import Range, SweepFile


def sweep(text: str) -> SweepFile:
    """A sweep file of this design."""
    return validate(parse(f"scenario: x\ndesign:\n{text}"), SweepFile)


def settings(text: str) -> list[dict[str, object]]:
    """The settings of all points of a design."""
    return [{s.key: s.value for s in point.settings} for point in design.points(sweep(text).design)]


def test_everything_is_crossed_with_the_last_key_fastest() -> None:
    """Variants go slowest, then the keys of the grid in their order."""
    text = "  variants: {one: {a: 1}, two: {a: 2}}\n  grid: {b: [3, 4], c: [x, y]}"
    found = settings(text)

    assert 8 == len(found) == design.n_points(sweep(text).design)
    assert [{"a": 1, "b": 3, "c": "x"}, {"a": 1, "b": 3, "c": "y"}, {"a": 1, "b": 4, "c": "x"}] == found[:3]
    assert {"a": 2, "b": 4, "c": "y"} == found[-1]


def test_samples_are_crossed_too() -> None:
    """Each point of the grid is simulated with every sample, the same ones."""
    found = settings("  grid: {a: [1, 2]}\n  random: {points: 3, ranges: {b: {low: 0, high: 9}}}")

    assert [1, 1, 1, 2, 2, 2] == [one["a"] for one in found]
    assert [one["b"] for one in found[:3]] == [one["b"] for one in found[3:]]


def test_a_sobol_sequence_is_balanced() -> None:
    """Of 64 points each of 64 equal parts of every range has one, and each cell of an 8 x 8 grid has one."""
    ranges = "{a: {low: 0.0, high: 64.0}, b: {low: 0.0, high: 64.0}}"
    found = settings(f"  sobol: {{points: 64, seed: 3, ranges: {ranges}}}")
    values = np.array([[one["a"], one["b"]] for one in found], np.float64)

    for column in values.T:
        assert list(range(64)) == sorted(np.floor(column).astype(int))
    assert 64 == len({tuple(cell) for cell in np.floor(values / 8).astype(int)})


def test_seeds_change_samples_and_other_keys_do_not() -> None:
    """Another seed draws other points; a key that is added leaves those of the others as they were."""
    one = settings("  random: {points: 5, seed: 1, ranges: {a: {low: 0.0, high: 1.0}}}")
    other = settings("  random: {points: 5, seed: 2, ranges: {a: {low: 0.0, high: 1.0}}}")
    more = settings("  random: {points: 5, seed: 1, ranges: {b: {low: 1, high: 5}, a: {low: 0.0, high: 1.0}}}")

    assert one != other
    assert [point["a"] for point in one] == [point["a"] for point in more]


@pytest.mark.parametrize(
    ("given", "uniform", "expected"),
    [
        (Range(low=1, high=4), 0.0001, 1),
        (Range(low=1, high=4), 0.9999, 4),
        (Range(low=1, high=4), 0.51, 3),
        (Range(low=0.0, high=4.0), 0.25, 1.0),
        (Range(low=1.0, high=100.0, scale="log"), 0.5, 10.0),
        (Range(low="1 req/s", high="100 req/s", scale="log"), 0.5, "10 req/s"),
        (Range(low="0 ms", high="3 ms"), 0.5, "1.5 ms"),
        (Range(choices=["none", "noisy"]), 0.49, "none"),
        (Range(choices=["none", "noisy"]), 0.51, "noisy"),
    ],
)
def test_quantiles_of_ranges(given: Range, uniform: float, expected: object) -> None:
    """Whole numbers stay whole and all are as likely; quantities keep their unit."""
    assert expected == design.value_at(given, uniform)


RANDOM, SOBOL = (("design", kind, "ranges", "a") for kind in ("random", "sobol"))


@pytest.mark.parametrize(
    ("text", "path", "found"),
    [
        ("  random: {points: 3, ranges: {a: {low: 2, high: 1}}}", RANDOM, "from 2 to 1"),
        (
            "  random: {points: 3, ranges: {a: {low: 1 s, high: 2 ms}}}",
            RANDOM,
            "'s' and",
        ),
        ("  random: {points: 3, ranges: {a: {low: x, high: 1}}}", RANDOM, "'x'"),
        (
            "  sobol: {points: 4, ranges: {a: {low: 0, high: 1, scale: log}}}",
            SOBOL,
            "log",
        ),
        ("  variants: {v: {a: 1}}\n  grid: {a: [1]}", ("design", "grid", "a"), "sets a again"),
        ("  variants: {v: {a.b: 1}}\n  grid: {a: [1]}", ("design", "grid", "a"), "sets a.b again"),
    ],
)
def test_faults_of_a_design(text: str, path: tuple[str, ...], found: str) -> None:
    """Ranges without values and keys that are set twice are reported with their place."""
    (fault,) = design.faults(sweep(text))

    assert path == fault[0]
    assert found in fault[1]


def test_variants_may_set_the_same_keys() -> None:
    """Variants are alternatives, so their keys do not meet."""
    assert [] == list(design.faults(sweep("  variants: {v: {a: 1}, w: {a: 2}}")))
