"""A change by component: sums, bounds from world to world, and which component is surely the largest."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_sides import side
from scipy import stats

from simcluster.comparison.causes import UNKNOWN, Causes, causes
from simcluster.trace.columns import COMPONENTS

METRIC = "median_itl_ms"
LEVEL = 0.01


def found(base: list[dict[str, float]], candidate: list[dict[str, float]], level: float = LEVEL) -> Causes:
    """The causes of a change between sides, by world the times of their components."""
    sides = []
    for name, worlds in (("a", base), ("b", candidate)):
        totals = [sum(world.values()) for world in worlds]
        shares = [
            {METRIC: {key: time / total for key, time in world.items()}}
            for world, total in zip(worlds, totals, strict=True)
        ]
        sides.append(side(name, {METRIC: totals}, trace=name, parts=shares))
    return causes(sides[0], sides[1], METRIC, level)


TIMES = st.dictionaries(st.sampled_from(list(COMPONENTS)), st.floats(0.01, 100), min_size=1)


@given(st.lists(st.tuples(TIMES, TIMES), min_size=2, max_size=6))
def test_parts_sum_to_the_change(worlds: list[tuple[dict[str, float], dict[str, float]]]) -> None:
    """Whatever changed, the parts sum to the geometric mean of the ratios, and stand in the order of their size."""
    ratios = [math.log(sum(other.values()) / sum(one.values())) for one, other in worlds]
    one = found([base for base, _ in worlds], [candidate for _, candidate in worlds])
    sizes = [abs(part.change) for part in one.parts.values()]

    assert math.expm1(sum(ratios) / len(ratios)) == pytest.approx(sum(p.change for p in one.parts.values()), abs=1e-6)
    assert all(part.low <= part.change <= part.high for part in one.parts.values())
    assert sizes == pytest.approx(sorted(sizes, reverse=True))


def test_only_what_has_changed_is_a_cause() -> None:
    """Where one component takes a tenth of a per cent more in noisy worlds, it is the cause and no other is."""
    rng = np.random.default_rng(2)
    base = [{"compute": float(c), "stall": float(s)} for c, s in rng.lognormal(0, 1, (8, 2))]
    one = found(base, [world | {"compute": world["compute"] * 1.001} for world in base])

    assert ["compute", "stall"] == list(one.parts)
    assert () == one.rivals
    assert 0 < one.parts["compute"].low < one.parts["compute"].high
    assert 0 == pytest.approx(one.parts["stall"].change, abs=1e-9)


def test_bounds_are_those_of_scipy() -> None:
    """A component's bounds are Student's t bounds of what it adds by world, in the scale of the change."""
    ratios = [1.04, 1.05, 1.07, 1.05]
    one = found([{"compute": 1.0}] * 4, [{"compute": ratio} for ratio in ratios])
    logarithms = np.log(ratios)
    low, high = stats.ttest_1samp(logarithms, 0).confidence_interval(1 - 2 * LEVEL)
    scale = np.expm1(logarithms.mean()) / logarithms.mean()

    assert (low * scale, high * scale) == pytest.approx((one.parts["compute"].low, one.parts["compute"].high))


def test_what_is_as_large_is_not_distinguished() -> None:
    """Components with equal mean changes, one up and one down, are reported as rivals; small ones are not."""
    base = [{"compute": 10.0, "stall": 10.0, "queue": 10.0}] * 6
    candidate = [
        {"compute": 11.0 + wobble, "stall": 9.02 - wobble / 3, "queue": 10.1}
        for wobble in (-0.1, 0.1, -0.05, 0.05, -0.02, 0.02)
    ]
    one = found(base, candidate)

    assert ["compute", "stall", "queue"] == list(one.parts)
    assert one.parts["stall"].high < 0
    assert ("stall",) == one.rivals


def test_the_wrong_one_is_reported_as_seldom_as_stated() -> None:
    """Of two causes of one size, each is reported to be the larger no more often than the level says."""
    rng = np.random.default_rng(4)
    n, level, verdict_text = 2000, 0.05, 0
    for _ in range(n):
        changes = rng.normal(0.1, 0.02, (5, 2))
        one = found(
            [{"compute": 10.0, "stall": 10.0}] * 5,
            [{"compute": 10.0 + float(c), "stall": 10.0 + float(s)} for c, s in changes],
            level,
        )
        verdict_text += next(iter(one.parts)) == "stall" and not one.rivals
    low, high = stats.binom.interval(0.999, n, level)

    assert low <= verdict_text <= high


def test_worlds_without_components_have_no_causes() -> None:
    """Where a side does not know what a metric is made of, or has no value, nothing is reported."""
    known = side("a", {METRIC: [1.0, 2.0]}, parts={METRIC: {"compute": 1.0}})

    assert UNKNOWN == causes(known, side("b", {METRIC: [1.0, 2.0]}), METRIC, LEVEL)
    assert UNKNOWN == causes(known, side("b", {METRIC: [None, 2.0]}, parts=known.parts), METRIC, LEVEL)
    assert UNKNOWN == causes(known, known, "mean_itl_ms", LEVEL)
