"""The fabric against known results: conservation, a naive solution of all flows at once, and processor sharing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pytest
import simpy
from hypothesis import given
from hypothesis import strategies as st

from simcluster.kernel.clock import ARRIVE, NORMAL, after
from simcluster.kernel.fabric import Fabric, Flow
from simcluster.numerics.maxmin import Uses, alone_rate, rates
from simcluster.numerics.ticks import TICKS_PER_S
from simcluster.plans.replica_plan import FlowLoad

US = 10**6


class Coming(NamedTuple):
    """A flow, or with no load a change of the capacity of a link."""

    tick: int
    load: FlowLoad | None
    link: int = 0
    bytes_per_s: float = 0.0


@st.composite
def stories(draw: st.DrawFn) -> tuple[list[float], list[Coming]]:
    """Draw up to six links, and up to a dozen flows and capacity changes within some microseconds."""
    capacities = draw(st.lists(st.floats(1e8, 1e10), min_size=1, max_size=6))
    link = st.integers(0, len(capacities) - 1)
    ticks = draw(st.lists(st.integers(0, 20 * US), min_size=1, max_size=12, unique=True))
    events = []
    for tick in sorted(ticks):
        if draw(st.integers(0, 3)):
            uses = tuple(draw(st.dictionaries(link, st.floats(0.25, 4), max_size=3)).items())
            events.append(Coming(tick, FlowLoad(draw(st.floats(0, 1e-5)), uses)))
        else:
            at = draw(link)
            events.append(Coming(tick, None, at, capacities[at] * draw(st.sampled_from([0.3, 0.5, 1.0, 1.7]))))
    return capacities, events


def simulate(capacities: Sequence[float], events: Sequence[Coming]) -> tuple[list[int], list[float], int]:
    """End tick and integral of the speed, in seconds, of each flow, and how often speeds changed."""
    env = simpy.Environment(0)
    fabric = Fabric(env, capacities)
    flows: list[Flow] = []
    ends: list[int] = []

    def begin(event: Coming) -> None:
        if event.load is None:
            fabric.set_capacity(event.link, event.bytes_per_s)
            return
        number = len(flows)
        ends.append(-1)
        flows.append(fabric.start(event.load, lambda: ends.__setitem__(number, int(env.now))))

    for event in events:
        after(env, event.tick, NORMAL, lambda event=event: begin(event))
    served_s: list[float] = []
    changes = 0
    while env.peek() < math.inf:
        running = [(number, flow.speed) for number, flow in enumerate(flows) if ends[number] < 0]
        before = int(env.now)
        env.step()
        served_s += [0.0] * (len(flows) - len(served_s))
        for number, speed in running:
            served_s[number] += speed * (int(env.now) - before) / TICKS_PER_S
            changes += flows[number].speed != speed
    return ends, served_s, changes


def naive_ends_s(capacities: Sequence[float], events: Sequence[Coming]) -> list[float]:
    """End times in continuous time: all flows are solved together at every event, without rounding to ticks."""
    left = list(capacities)
    waiting = list(events)
    ends: list[float] = []
    going: dict[int, tuple[Uses, float]] = {}  # uses, bytes that are left
    at_s = 0.0
    while waiting or going:
        free = {number for number, (uses, _) in going.items() if not uses}
        found = dict(zip(going, rates([uses for uses, _ in going.values()], left), strict=True))
        found |= dict.fromkeys(free, 1.0)
        end_s, first = min(((at_s + going[n][1] / found[n], n) for n in going), default=(math.inf, -1))
        next_s = waiting[0].tick / TICKS_PER_S if waiting else math.inf
        until_s = min(end_s, next_s)
        going = {n: (uses, size - found[n] * (until_s - at_s)) for n, (uses, size) in going.items()}
        at_s = until_s
        if end_s <= next_s:
            del going[first]
            ends[first] = at_s
            continue
        event = waiting.pop(0)
        if event.load is None:
            left[event.link] = event.bytes_per_s
        else:
            uses = event.load.uses
            going[len(ends)] = (uses, event.load.alone_s * (alone_rate(uses, capacities) if uses else 1.0))
            ends.append(math.inf)
    return ends


@given(stories())
def test_bytes_are_conserved(story: tuple[list[float], list[Coming]]) -> None:
    """The integral of a flow's speed is its time alone, to a tick for each change of speed."""
    capacities, events = story
    ends, served_s, changes = simulate(capacities, events)
    loads = [event.load for event in events if event.load is not None]
    assert all(end >= 0 for end in ends)
    for load, served in zip(loads, served_s, strict=True):
        fastest = 1.7
        assert load.alone_s == pytest.approx(served, rel=1e-9, abs=fastest * (changes + 1) / TICKS_PER_S)


@given(stories())
def test_against_all_flows_at_once(story: tuple[list[float], list[Coming]]) -> None:
    """Ends are those of a solution of the whole graph in continuous time, to some ticks of rounding."""
    capacities, events = story
    ends, _, changes = simulate(capacities, events)
    naive = naive_ends_s(capacities, events)
    assert len(ends) == len(naive)
    for end, expected_s in zip(ends, naive, strict=True):
        assert end == pytest.approx(expected_s * TICKS_PER_S, abs=1000 * (changes + 1))


@given(stories(), st.data())
def test_taken_over_equals_started(story: tuple[list[float], list[Coming]], data: st.DataObject) -> None:
    """
    Flows kept out of the fabric until another one comes end, bit for bit, as if all were started at once.

    The latecomer's rule: a flow whose links are idle ends by itself unless something comes to its links first.
    """
    capacities, events = story
    env = simpy.Environment(0)
    fabric = Fabric(env, capacities)
    ends: dict[int, int] = {}
    apart: dict[int, tuple[int, FlowLoad]] = {}  # by number: began, load

    def over(number: int) -> None:
        ends[number] = int(env.now)

    def end_apart(number: int) -> None:
        if apart.pop(number, None) is not None:
            over(number)

    def take_over(links: set[int]) -> None:
        for number, (began, load) in list(apart.items()):
            if not links.isdisjoint(link for link, _ in load.uses):
                del apart[number]
                fabric.start(load, lambda number=number: over(number), began)

    def begin(number: int, event: Coming) -> None:
        if event.load is None:
            take_over({event.link})
            fabric.set_capacity(event.link, event.bytes_per_s)
            return
        load, links = event.load, {link for link, _ in event.load.uses}
        take_over(links)
        if fabric.idle(links):
            apart[number] = (int(env.now), load)
            after(env, fabric.alone_ticks(load), NORMAL, lambda: end_apart(number))
        else:
            fabric.start(load, lambda: over(number))

    numbers = iter(range(len(events)))
    for event in events:
        number = -1 if event.load is None else next(numbers)
        after(env, event.tick, ARRIVE, lambda number=number, event=event: begin(number, event))
    env.run()
    assert simulate(capacities, events)[0] == [ends[number] for number in range(len(ends))]


def test_processor_sharing() -> None:
    """Poisson arrivals at one link see M/G/1 processor sharing: mean sojourn = mean size / (1 - load)."""
    generator = np.random.default_rng(7)
    load, mean_s, n_flows = 0.6, 1e-6, 3000
    gaps_s = generator.exponential(mean_s / load, n_flows)
    sizes_s = np.where(generator.random(n_flows) < 0.5, 0.5e-6, 1.5e-6)
    ticks = np.rint(np.cumsum(gaps_s) * TICKS_PER_S).astype(int)
    events = [Coming(int(t), FlowLoad(float(s), ((0, 1.0),))) for t, s in zip(ticks, sizes_s, strict=True)]
    ends, _, _ = simulate([1e9], events)
    sojourns_s = (np.array(ends) - ticks) / TICKS_PER_S
    batches = sojourns_s[: n_flows // 30 * 30].reshape(30, -1).mean(1)
    assert abs(batches.mean() - mean_s / (1 - load)) < 4 * batches.std(ddof=1) / math.sqrt(30)
