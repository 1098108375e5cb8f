"""The schedulers alone: properties of their decisions in every state of a replica."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from simcluster.policies.schedulers import SCHEDULERS, fcfs
from simcluster.policies.views import Decision, RequestView, SchedulerView, blocks_for

cases = settings(deadline=None, max_examples=300)


@st.composite
def views(draw: st.DrawFn) -> SchedulerView:
    """A state that a replica can be in: blocks add up, and the cache could hold any request alone."""
    size = draw(st.integers(1, 8))
    lengths = st.tuples(st.integers(0, 40), st.integers(1, 40))
    running = [
        RequestView(number, pending, computed, blocks_for(computed, size))
        for number, (computed, pending) in enumerate(draw(st.lists(lengths, max_size=6)))
    ]
    first = len(running)
    pendings = draw(st.lists(st.integers(1, 60), max_size=6))
    waiting = [RequestView(first + index, pending, 0, 0) for index, pending in enumerate(pendings)]
    in_flight = draw(st.integers(0, 3))
    needed = max((blocks_for(seen.computed + seen.pending, size) for seen in (*running, *waiting)), default=0)
    held = sum(seen.blocks for seen in running)
    held_in_flight = draw(st.integers(0, 20)) if in_flight else 0
    free = max(draw(st.integers(0, 30)), needed - held - held_in_flight)
    n_running = len(running) + in_flight
    return SchedulerView(
        running=running,
        waiting=waiting,
        n_running=n_running,
        free_blocks=free,
        block_size=size,
        max_tokens=draw(st.integers(1, 64)),
        max_running=max(1, n_running + draw(st.integers(0, 4))),
        max_requests=draw(st.integers(1, 8)),
    )


def split(view: SchedulerView, decision: Decision) -> tuple[list[RequestView], list[RequestView], list[RequestView]]:
    """Split a decision into running requests granted tokens, admitted requests, and preempted ones."""
    seen = {s.request: s for s in (*view.running, *view.waiting)}
    running = {s.request for s in view.running}
    granted = [seen[number] for number, _ in decision.grants]
    preempted = [seen[number] for number in decision.preempted]
    return [s for s in granted if s.request in running], [s for s in granted if s.request not in running], preempted


@cases
@given(views())
def test_tokens_places_and_requests_are_never_exceeded(view: SchedulerView) -> None:
    """A decision keeps to the tokens and requests of a step and to the places of the replica."""
    decision = fcfs(view)
    _, admitted, preempted = split(view, decision)

    assert sum(n for _, n in decision.grants) <= view.max_tokens
    assert len(decision.grants) <= view.max_requests
    assert view.n_running - len(preempted) + len(admitted) <= view.max_running


def _taken(view: SchedulerView, decision: Decision) -> dict[int, int]:
    """Blocks that each granted request allocates, by number."""
    seen = {s.request: s for s in (*view.running, *view.waiting)}
    return {
        number: blocks_for(seen[number].computed + n, view.block_size) - seen[number].blocks
        for number, n in decision.grants
    }


@cases
@given(views())
def test_blocks_are_never_exceeded(view: SchedulerView) -> None:
    """Grants fit into the free blocks and those of the preempted requests."""
    decision = fcfs(view)
    seen = {s.request: s for s in (*view.running, *view.waiting)}

    given_up = sum(seen[number].blocks for number in decision.preempted)

    assert sum(_taken(view, decision).values()) <= view.free_blocks + given_up


@cases
@given(views())
def test_first_come_is_first_served(view: SchedulerView) -> None:
    """Grants follow the order of admission, admissions the queue, and preemption takes the last admitted first."""
    granted, admitted, preempted = split(view, fcfs(view))

    assert list(view.running)[: len(granted)] == granted
    assert list(view.waiting)[: len(admitted)] == admitted
    assert list(reversed(view.running))[: len(preempted)] == preempted
    assert not {s.request for s in preempted} & {s.request for s in granted}


@cases
@given(views())
def test_running_requests_come_first(view: SchedulerView) -> None:
    """No request is admitted while a running one lacks tokens, or in a step that preempts."""
    decision = fcfs(view)
    _, admitted, preempted = split(view, decision)
    grants = dict(decision.grants)

    if admitted:
        assert [] == preempted
        assert [s.pending for s in view.running] == [grants[s.request] for s in view.running]


@cases
@given(views())
def test_only_the_last_grant_may_be_a_part(view: SchedulerView) -> None:
    """Every grant but the last is all that its request lacks, and every grant is of one token at least."""
    decision = fcfs(view)
    seen = {s.request: s for s in (*view.running, *view.waiting)}

    assert all(1 <= n <= seen[number].pending for number, n in decision.grants)
    assert all(n == seen[number].pending for number, n in decision.grants[:-1])


@cases
@given(views())
def test_the_step_is_as_full_as_it_may_be(view: SchedulerView) -> None:
    """A request left out without a preemption would exceed tokens, requests, places or blocks, or waits for these."""
    decision = fcfs(view)
    granted, admitted, preempted = split(view, decision)
    if preempted:
        return
    tokens_left = view.max_tokens - sum(n for _, n in decision.grants)
    full = tokens_left == 0 or len(decision.grants) == view.max_requests
    if not full and len(granted) < len(view.running):
        lacking = view.running[len(granted)]
        needed = blocks_for(lacking.computed + min(lacking.pending, tokens_left), view.block_size) - lacking.blocks
        free = view.free_blocks - sum(_taken(view, decision).values())
        assert needed > free and view.n_running > len(view.running)
        return

    if not full and len(admitted) < len(list(view.waiting)):
        following = list(view.waiting)[len(admitted)]
        free = view.free_blocks - sum(_taken(view, decision).values())
        lacks_blocks = blocks_for(min(following.pending, tokens_left), view.block_size) > free
        assert lacks_blocks or view.n_running + len(admitted) == view.max_running


@cases
@given(views())
def test_with_nothing_under_way_a_request_is_served(view: SchedulerView) -> None:
    """When no step is under way and the replica has requests, one is granted tokens: no replica gets stuck."""
    alone = view._replace(n_running=len(view.running), max_running=max(1, len(view.running)))
    held = sum(s.blocks for s in view.running)
    needed = max(
        (blocks_for(s.computed + s.pending, view.block_size) for s in (*view.running, *view.waiting)), default=0
    )
    alone = alone._replace(free_blocks=max(view.free_blocks, needed - held))

    if view.running or list(view.waiting):
        assert fcfs(alone).grants


def test_the_last_admitted_is_preempted_by_hand() -> None:
    """Three running requests with full blocks and none free: the last two are preempted, and the first continues."""
    running = [RequestView(number, 1, 4, 1) for number in range(3)]
    view = SchedulerView(running, [RequestView(3, 4, 0, 0)], 3, 0, 4, 100, 10, 10)

    # The first takes the block of the last; the second has none behind it to preempt and loses its own.
    assert Decision([(0, 1)], [2, 1]) == fcfs(view)


def test_a_request_that_lacks_blocks_waits_for_steps_under_way_by_hand() -> None:
    """The first lacks a block and none behind it can be preempted, but a third is in a step: none is preempted."""
    running = [RequestView(0, 1, 4, 1)]
    view = SchedulerView(running, [RequestView(2, 4, 0, 0)], 2, 0, 4, 100, 10, 10)

    assert Decision([], []) == fcfs(view)
    assert Decision([], [0]) == fcfs(view._replace(n_running=1))


def test_every_scheduler_takes_an_empty_replica() -> None:
    """Without requests there is nothing to decide."""
    for scheduler in SCHEDULERS.values():
        assert Decision([], []) == scheduler(SchedulerView([], [], 0, 10, 16, 100, 10, 1))
