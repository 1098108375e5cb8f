"""A stage serves steps op by op or each as one event, and in their order."""

from __future__ import annotations

import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st
from support import GivenService, linear_stage

from simcluster.kernel.stage import Stage
from simcluster.kernel.step import Step
from simcluster.trace.columns import COMPONENT
from simcluster.work.batch import Batch

forms = st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))
ops = st.lists(
    st.fixed_dictionaries(dict.fromkeys(("launch", "compute", "fetch", "wait", "exchange"), forms)),
    min_size=1,
    max_size=6,
)
batches = st.builds(
    Batch, st.integers(0, 5), st.integers(0, 90), st.integers(0, 9), st.integers(0, 90), st.integers(0, 90)
)


@settings(deadline=None)
@given(ops, batches)
def test_op_by_op_lasts_as_long_as_the_service(ops: list[dict[str, tuple[int, int, int]]], batch: Batch) -> None:
    """Op by op, a service lasts the sum of launch + max(compute, fetch) + wait + exchange."""
    service = linear_stage(ops).service(0, batch, 0)
    values = (1, batch.decode_context, batch.prefill_tokens)

    def ticks(op: dict[str, tuple[int, int, int]], part: str) -> int:
        return sum(a * b for a, b in zip(op[part], values, strict=True))

    expected = sum(
        ticks(op, "launch")
        + max(ticks(op, "compute"), ticks(op, "fetch"))
        + ticks(op, "wait")
        + ticks(op, "exchange")
        for op in ops
    )
    env = simpy.Environment()
    left: list[int] = []
    stage = Stage(env, linear_stage(ops), ignore, lambda step: left.append(env.now), None, op_by_op=True)
    stage.arrive(Step(0, 0, batch, [], [], []))
    env.run()

    assert [expected] == [service.ticks] == left


@settings(deadline=None)
@given(ops, batches)
def test_components_are_all_of_the_service(ops: list[dict[str, tuple[int, int, int]]], batch: Batch) -> None:
    """Components as seen by prompts and by decodes are not negative and add up to the service."""
    service = linear_stage(ops).service(3, batch, 0)

    assert service.ticks == sum(service.components) == sum(service.decode_components)
    assert min(service.components) >= 0
    assert min(service.decode_components) >= 0
    if not batch.decode_tokens or not batch.prefill_tokens:
        assert service.components == service.decode_components


def test_of_compute_and_fetch_the_longer_one_is_charged() -> None:
    """An op that is bound by its fetch is charged to what it fetches, and one bound by arithmetic to compute."""
    parts = [(3, 8), (9, 4), (5, 5)]
    stage = linear_stage([{"compute": (c, 0, 0), "fetch": (f, 0, 0)} for c, f in parts])
    components = stage.service(0, Batch(1, 1), 0).components

    assert {"weight_fetch": 8, "compute": 9 + 5} == {n: components[i] for n, i in COMPONENT.items() if components[i]}


def ignore(step: Step) -> None:
    """Ignore that the stage is free for the next step."""


@pytest.mark.parametrize("op_by_op", [True, False])
def test_steps_are_served_in_the_order_of_arrival(op_by_op: bool) -> None:
    """Steps that find the stage busy wait in order, and the wait is charged by what was ahead."""
    env = simpy.Environment()
    left: list[tuple[int, int]] = []
    leave = lambda step: left.append((step.number, env.now))  # noqa: E731
    stage = Stage(env, GivenService(lambda step, _: 10), ignore, leave, None, op_by_op)
    prompt, decode = Batch(prefill_tokens=3, sequences=1), Batch(1, 5, sequences=1)
    steps = [Step(number, 0, batch, [], [], []) for number, batch in enumerate((decode, prompt, decode))]
    for step in steps:
        stage.arrive(step)
    env.run()

    assert [(0, 10), (1, 20), (2, 30)] == left
    assert [0, 10, 20] == [step.for_prefill[COMPONENT["pipeline_wait"]] for step in steps]
    assert [0, 10, 0] == [step.for_decode[COMPONENT["pipeline_wait"]] for step in steps]
    assert [0, 0, 20] == [step.for_decode[COMPONENT["prefill_interference"]] for step in steps]


@pytest.mark.parametrize("op_by_op", [True, False])
def test_a_stage_takes_the_next_step_before_one_leaves(op_by_op: bool) -> None:
    """Steps leave a stage that is free after 4 of 10 ticks 4 apart; none leaves before the one ahead."""
    env = simpy.Environment()
    freed: list[tuple[int, int]] = []
    left: list[tuple[int, int]] = []
    service = GivenService(lambda step, _: 10 if step < 2 else 3, lambda step, _: 4 if step < 2 else 3)
    stage = Stage(
        env, service, lambda step: freed.append((step.number, env.now)),
        lambda step: left.append((step.number, env.now)), None, op_by_op,
    )  # fmt: skip
    steps = [Step(number, 0, Batch(1, 5, sequences=1), [], [], []) for number in range(3)]
    for step in steps:
        stage.arrive(step)
    env.run()

    assert [(0, 10), (1, 14), (2, 14)] == left
    assert [(0, 4), (1, 8), (2, 11)] == freed
    assert [0, 4, 8 + 3] == [step.for_prefill[COMPONENT["pipeline_wait"]] for step in steps]
    assert [10, 14, 14] == [sum(step.for_prefill) for step in steps]
    assert 4 == sum(steps[0].in_first_stage)
