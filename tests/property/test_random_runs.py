"""Random small runs: every fidelity gives the same trace, every invariant holds, no request is lost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support import Overlapping, Played, exchanged_over, linear_stage, load, on_own_links, plan, play

from simcluster.kernel.watch import Served, Watch
from simcluster.noise.pace import Pace
from simcluster.noise.slices import Slices
from simcluster.noise.sources import Noise, NoiseRow
from simcluster.noise.tables import delay_ticks, exponential_ticks
from simcluster.plans.conditions import NORMAL_CONDITIONS, Conditions, EventPlan, PlannedEvent, ReplicaSite
from simcluster.plans.replica_plan import FlowLoad as Flowing
from simcluster.policies.routers import ROUTERS
from simcluster.policies.schedulers import SCHEDULERS
from simcluster.stages.factors import Factors
from simcluster.stages.paced import PacedStage
from simcluster.stages.step_noise import Skew, Small

cases = settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])

small = st.integers(0, 4)
linear = st.tuples(small, small, small)
ops = st.lists(
    st.fixed_dictionaries(dict.fromkeys(("launch", "compute", "fetch", "wait", "exchange"), linear)),
    min_size=1,
    max_size=3,
)


@dataclass(frozen=True)
class Case:
    """Parameters of a random small run; `simulate` builds and runs it."""

    stages: tuple[list[dict[str, tuple[int, int, int]]], ...]
    hop_ticks: tuple[int, ...]
    wire_ticks_per_token: int
    return_ticks: int
    n_replicas: int
    n_blocks: int
    block_size: int
    max_running: int
    max_tokens: int
    requests: tuple[tuple[int, int, int], ...]
    """Arrival, prompt tokens, output tokens."""
    concurrency: int | None = None
    router: str = "round_robin"
    noisy: bool = False
    seed: int = 0
    horizon_ticks: int | None = None
    events: tuple[tuple[str, int, int, int, int | None, int], ...] = ()
    """Kind, replica, stage, begin, how long, and how many times as slow."""
    again_after: int | None = None
    """Ticks after which every event recurs, without end; None for once."""
    shared: str = ""
    """
    Links that replicas have flows on: '' for none, `own` links each, `one` more that all share, or `apart` links for
    each stage and wire, which only transfers share.
    """
    scheduler: str = "fcfs"
    admission_lag: int = 0
    occupied: float | None = None
    """Share of a service after which a stage takes the next step; None if it takes it when a step leaves."""

    def simulate(self, fidelity: str, watch: Watch | None = None) -> Played:
        plans = [self._plan(replica, NORMAL_CONDITIONS) for replica in range(self.n_replicas)]
        arrivals, prompts, outputs = zip(*sorted(self.requests, key=lambda request: request[0]), strict=True)
        requests = load(arrivals, prompts, outputs, self.concurrency)
        n_links = self.n_replicas * self._links_each if self.shared == "apart" else self.n_replicas + 1
        capacities = [1.0] * n_links if self.shared else []
        return play(
            plans, requests, ROUTERS[self.router], fidelity, 40, self.horizon_ticks, 4, self._world(), capacities,
            watch,
        )  # fmt: skip

    @property
    def _links_each(self) -> int:
        return 2 * len(self.stages) - 1

    def _links(self, replica: int) -> list[int]:
        return [replica * self._links_each + place for place in range(self._links_each)]

    def _world(self) -> EventPlan | None:
        if not self.events:
            return None
        places = [
            ReplicaSite(
                frozenset(f"{replica}.{stage}" for stage in range(len(self.stages))),
                frozenset({(str(replica), "switch")}),
                lambda conditions, replica=replica: self._plan(replica, conditions),
            )
            for replica in range(self.n_replicas)
        ]
        return EventPlan([self._event(*given) for given in self.events], places, self._capacities)

    def _event(
        self, kind: str, replica: int, stage: int, begin: int, lasting: int | None, factor: int
    ) -> PlannedEvent:
        def times() -> Iterator[tuple[int, int | None]]:
            at = begin
            while True:
                yield at, None if lasting is None else at + lasting
                if self.again_after is None:
                    return
                at += self.again_after + (lasting or 0)

        replica, stage = replica % self.n_replicas, stage % len(self.stages)
        if kind == "transfer":
            shared = ((self.n_replicas, 1.0),) if self.shared == "one" else ()
            uses = ((replica, 1.0), *shared) if self.shared else ()
            if self.shared == "apart":
                uses = tuple((link, 1.0) for link in self._links(replica)[stage : stage + factor])
            load = Flowing(factor * 7e-12, uses)
            kind = "transfer" if self.shared else "link_slow"
            return PlannedEvent(kind, times, load=lambda conditions: load, link=("", ""))
        link = (str(replica), "switch") if kind.startswith("link") else None
        devices = (f"{replica}.{stage}",) if link is None else ()
        share = 1 / factor if kind == "link_slow" else float(factor)
        return PlannedEvent(kind, times, devices, link, share, extra_latency_ticks=factor - 1)

    def _capacities(self, conditions: Conditions) -> dict[int, float]:
        shares = {int(link[0]): share for link, share in conditions.share.items() if link[0]} if self.shared else {}
        if self.shared != "apart":
            return shares
        return {link: share for replica, share in shares.items() for link in self._links(replica)}

    def _plan(self, replica: int, conditions: Conditions) -> Any:
        names = [f"{replica}.{index}" for index in range(len(self.stages))]
        link = (str(replica), "switch")
        if dead := conditions.dead & set(names):
            return f"{min(dead)} is down"
        if link in conditions.cut:
            return f"{link} is cut"
        # Where replicas have flows, the fabric applies the capacity of the link.
        slower = 1 if self.shared else round(1 / conditions.share.get(link, 1))
        share = float(conditions.share.get(link, 1))
        stages = [
            self._stage(name, ops, round(conditions.slow.get(name, 1)), slower, share)
            for name, ops in zip(names, self.stages, strict=True)
        ]
        later = conditions.extra_latency_ticks.get(link, 0)
        hops = [ticks + later for ticks in self.hop_ticks[: len(stages) - 1]]
        back = self.return_ticks if len(stages) > 1 else 0
        limits = (self.n_blocks, self.block_size, self.max_running, self.max_tokens)
        shared = ((self.n_replicas, 1.0),) if self.shared == "one" else ()
        uses = ((replica, 1.0), *shared) if self.shared else ()
        per_token = self.wire_ticks_per_token * slower
        changes = bool(self.events)
        if self.occupied is not None:
            stages = [Overlapping(stage, self.occupied) for stage in stages]
        apart = self.shared == "apart"
        if apart:
            uses = ()
        found = plan(stages, hops, back, *limits, per_token, uses, changes, self.scheduler, self.admission_lag)
        ops = [_lasting(ops, apart=True) for ops in self.stages]
        return on_own_links(found, self._links(replica), share, ops) if apart else found

    def _stage(
        self, name: str, ops: list[dict[str, tuple[int, int, int]]], slow: int = 1, slow_link: int = 1,
        share: float = 1.0,
    ) -> Any:  # fmt: skip
        times = {"compute": slow, "fetch": slow, "exchange": slow_link}
        ops = [
            {part: tuple(times.get(part, 1) * c for c in form) for part, form in op.items()}
            for op in ops
        ]  # fmt: skip
        lasting = _lasting(ops, self.shared == "apart")
        exchanged = exchanged_over(share) if self.shared == "apart" else int
        if not self.noisy:
            return linear_stage(lasting, exchanged=exchanged)
        kinds = range(len(lasting))
        jitter = Factors(0.5, kinds, self.seed, "op_jitter", name)
        names = [f"{name}.{rank}" for rank in range(3)]
        ranks = tuple(Slices(1, self.seed, "arrival_skew", rank) for rank in names)
        small = None
        if not self.shared:  # flows last as long as their links let them
            factors = Factors(0.5, kinds, self.seed, "small_messages", name, "factor")
            delay = Slices(1, self.seed, "small_messages", name, "delay")
            small = Small(factors, delay_ticks(0.3, 3e-12, 0.1, 1.0, 1e-12, 9e-12), delay, 5)
        skew = Skew(exponential_ticks(4e-12), ranks, 2)
        stage = linear_stage(lasting, (len(ops),), jitter, skew, small, exchanged)
        return PacedStage(stage, Pace(self.seed, names, RESTLESS, "gpu"))


def _lasting(ops: list[dict[str, tuple[int, int, int]]], apart: bool) -> list[dict[str, tuple[int, int, int]]]:
    """Append an op whose wait no noise shortens, so that every step lasts longer than 0."""
    if apart:
        exchanges = [op.get("exchange", (0, 0, 0)) for op in ops]
        ops = [
            op | {"exchange": (constant, 0, prefill)}
            for op, (constant, _, prefill) in zip(ops, exchanges, strict=True)
        ]
    return [*ops, {"wait": (1, 0, 0), "exchange": (0, 0, 1)}]


def _row(source: Any, **values: float) -> NoiseRow:
    return NoiseRow.model_construct(source=source, device_kinds=("gpu",), values=values, basis="made up")


RESTLESS = Noise.model_construct(
    name="restless",
    rows=(
        _row("device_spread", compute=0.2, memory=0.1, outliers=0.3, outlier_least=1.1, outlier_most=2.0),
        _row("drift", compute=0.3, memory=0.2, time_s=3e-10),
        _row("diurnal", swing=0.5, period_s=3e-9),
        _row("clock_excursions", every_s=1e-10, lasts_s=3e-11, times_slower=2.0),
        _row("rare_stalls", every_s=7e-11, exponent=0.6, shortest_s=1e-12, longest_s=3e-11),
    ),
)
"""Noise sources that change everything within dozens of ticks."""


some_replicas = st.integers(1, 3)


event = st.tuples(
    st.sampled_from(["device_slow", "device_down", "link_slow", "link_down", "transfer"]),
    st.integers(0, 2), st.integers(0, 3), st.integers(0, 120), st.none() | st.integers(1, 60), st.integers(1, 3),
)  # fmt: skip


@st.composite
def disturbed(draw: st.DrawFn) -> Case:
    """A random run in which devices and links change, fail and recover, and replicas may share links."""
    case = draw(runs())
    events = tuple(draw(st.lists(event, max_size=4)))
    again_after = draw(st.none() | st.integers(100, 200))
    shared = draw(shared_links)
    # Exchanges of steps that overlap in a stage would share its links.
    occupied = None if shared == "apart" else case.occupied
    return replace(case, events=events, again_after=again_after, shared=shared, occupied=occupied)


shared_links = st.sampled_from(["", "", "own", "one", "one", "apart", "apart"])


@st.composite
def runs(draw: st.DrawFn, replicas: st.SearchStrategy[int] = some_replicas) -> Case:
    n_stages = draw(st.integers(1, 4))
    request = st.tuples(st.integers(0, 25), st.integers(1, 16), st.integers(1, 8))
    return Case(
        stages=tuple(draw(ops) for _ in range(n_stages)),
        hop_ticks=tuple(draw(st.lists(st.integers(0, 6), min_size=3, max_size=3))),
        wire_ticks_per_token=draw(st.integers(0, 3)),
        return_ticks=draw(st.integers(0, 6)),
        n_replicas=draw(replicas),
        n_blocks=draw(st.integers(3, 30)),
        block_size=draw(st.integers(1, 4)),
        max_running=draw(st.integers(1, 6)),
        max_tokens=draw(st.integers(1, 16)),
        requests=tuple(draw(st.lists(request, min_size=1, max_size=10))),
        concurrency=draw(st.none() | st.integers(1, 4)),
        router=draw(st.sampled_from(sorted(ROUTERS))),
        noisy=draw(st.booleans()),
        seed=draw(st.integers(0, 2**32)),
        horizon_ticks=draw(st.none() | st.integers(1, 300)),
        scheduler=draw(st.sampled_from(sorted(SCHEDULERS))),
        admission_lag=draw(st.integers(0, 3)),
        occupied=draw(st.none() | st.none() | st.sampled_from([0.0, 0.3, 0.7])),
    )


def crossing() -> Case:
    """
    Steps of two replicas that end at tick 19, a decode of replica 0 and a prompt of replica 1.

    The decode began first (6 against 10), but its last event begins last (18 against 11).
    """
    return Case(
        stages=([{"compute": (0, 2, 0)}],), hop_ticks=(), wire_ticks_per_token=0, return_ticks=0, n_replicas=2,
        n_blocks=30, block_size=4, max_running=1, max_tokens=16, requests=((0, 5, 2), (10, 8, 1)),
    )  # fmt: skip


@cases
@given(runs(st.just(1)))
def test_op_and_auto_agree_to_the_byte_on_one_replica(case: Case) -> None:
    """Simulating every op and whole services gives the same trace digest and the same end on one replica."""
    expected, actual = case.simulate("op"), case.simulate("auto")

    assert (expected.digest, expected.duration_ticks) == (actual.digest, actual.duration_ticks)


def test_a_preempted_request_may_be_admitted_at_the_next_step() -> None:
    """After a preemption auto decides again one step later, as op does, since the request may find blocks by then."""
    stage = [dict.fromkeys(("launch", "compute", "fetch", "wait", "exchange"), (0, 0, 0))]
    case = Case(
        stages=(stage,), hop_ticks=(), wire_ticks_per_token=0, return_ticks=0, n_replicas=1, n_blocks=3, block_size=2,
        max_running=2, max_tokens=2, requests=((0, 1, 4), (0, 1, 3)),
    )  # fmt: skip
    assert 1 == sum(case.simulate("op").requests["preemptions"])
    assert case.simulate("op").digest == case.simulate("auto").digest


def test_a_step_under_way_keeps_its_blocks_when_its_device_changes() -> None:
    """A device that changes within a decode step leaves no more free blocks than there are: one is preempted."""
    stage = [{"exchange": (0, 1, 0)}]
    case = Case(
        stages=(stage,), hop_ticks=(), wire_ticks_per_token=0, return_ticks=0, n_replicas=1, n_blocks=4, block_size=1,
        max_running=2, max_tokens=2, requests=((0, 1, 3), (0, 1, 3)),
        events=(("device_slow", 0, 0, 4, None, 2),),
    )  # fmt: skip
    assert 1 == sum(case.simulate("op").requests["preemptions"])
    assert case.simulate("op").digest == case.simulate("auto").digest


@cases
@given(runs(st.integers(2, 3)))
def test_op_and_auto_agree_on_every_row(case: Case) -> None:
    """Simulating every op and whole services gives the same tables on several replicas, rows of a tick sorted."""
    expected, actual = case.simulate("op"), case.simulate("auto")

    assert expected.rows().tolist() == actual.rows().tolist()
    for name, column in expected.requests.items():
        assert list(column) == list(actual.requests[name])


@cases
@example(crossing())
@given(runs(st.integers(2, 3)))
def test_op_and_auto_agree_to_the_byte_on_several_replicas(case: Case) -> None:
    """Rows of several replicas that are emitted at the same tick come in the same order at every fidelity."""
    assert case.simulate("op").digest == case.simulate("auto").digest


@cases
@given(runs())
def test_every_invariant_holds(case: Case) -> None:
    """No random run breaks an invariant."""
    assert [] == case.simulate("auto").violations()


@cases
@given(runs())
def test_the_same_run_twice_is_the_same_run(case: Case) -> None:
    """A run is deterministic: simulated twice it has the same digest."""
    assert case.simulate("auto").digest == case.simulate("auto").digest


@cases
@given(runs())
def test_every_request_is_served_without_a_horizon(case: Case) -> None:
    """Without a horizon every request gets all its tokens or fails for its length; preemption loses none."""
    run = replace(case, horizon_ticks=None).simulate("auto")
    requests = run.requests
    room = case.n_blocks * case.block_size
    n_tokens = requests["prompt_tokens"] + requests["output_tokens"]
    fits = (n_tokens <= 40) & (n_tokens - 1 <= room)

    assert np.where(fits, "finished", "failed").tolist() == requests["status"]
    assert np.where(fits, requests["output_tokens"], 0).tolist() == requests["tokens_emitted"].tolist()


@cases
@given(runs())
def test_a_horizon_only_cuts(case: Case) -> None:
    """A horizon only truncates: the rows are those of the run without it that come before it."""
    horizon = 60
    whole = replace(case, horizon_ticks=None).simulate("auto")
    cut = replace(case, horizon_ticks=horizon).simulate("auto")
    before = whole.tokens["emitted_at_ticks"] < horizon

    assert {name: column[before].tolist() for name, column in whole.tokens.items()} == {
        name: column.tolist() for name, column in cut.tokens.items()
    }


@cases
@given(runs(), st.integers(1, 6))
def test_time_has_no_unit(case: Case, power: int) -> None:
    """When every duration is 2^k times as long, every time is 2^k times as long, exactly."""
    factor = 2**power

    def longer(case: Case) -> Case:
        parts = [
            [{name: tuple(c * factor for c in form) for name, form in op.items()} for op in stage]
            for stage in case.stages
        ]
        return replace(
            case,
            stages=tuple(parts),
            hop_ticks=tuple(h * factor for h in case.hop_ticks),
            wire_ticks_per_token=case.wire_ticks_per_token * factor,
            return_ticks=case.return_ticks * factor,
            requests=tuple((a * factor, p, o) for a, p, o in case.requests),
            horizon_ticks=None,
        )

    quiet = replace(case, noisy=False, horizon_ticks=None)
    expected = _in_stages_that_scale(quiet, 1)
    actual = _in_stages_that_scale(longer(quiet), factor)

    assert (expected * factor).tolist() == actual.tolist()


def _in_stages_that_scale(case: Case, factor: int) -> Any:
    """Last token times of all requests, the lasting op of every stage being `factor` times as long too."""
    plans = [
        plan(
            [
                linear_stage([*ops, {"wait": (factor, 0, 0), "exchange": (0, 0, factor)}])
                for ops in case.stages
            ],
            case.hop_ticks[: len(case.stages) - 1],
            case.return_ticks if len(case.stages) > 1 else 0,
            case.n_blocks,
            case.block_size,
            case.max_running,
            case.max_tokens,
            case.wire_ticks_per_token,
        )
        for _ in range(case.n_replicas)
    ]  # fmt: skip
    arrivals, prompts, outputs = zip(*sorted(case.requests, key=lambda request: request[0]), strict=True)
    times = play(plans, load(arrivals, prompts, outputs, case.concurrency), ROUTERS[case.router], "auto", 40)
    last = times.requests["last_token_at_ticks"]
    return np.where(last < 0, 0, last)


@cases
@given(runs())
def test_first_come_is_first_scheduled_in_a_replica(case: Case) -> None:
    """The requests of a replica are first scheduled in the order of their arrival."""
    requests = case.simulate("auto").requests
    for replica in range(case.n_replicas):
        scheduled = requests["scheduled_at_ticks"][requests["replica"] == replica].tolist()
        begun = [tick for tick in scheduled if tick >= 0]

        assert begun == sorted(begun)
        assert all(later < 0 for tick, later in pairwise(scheduled) if tick < 0)


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(disturbed())
def test_op_and_auto_agree_under_events(case: Case) -> None:
    """Under changes, failures and shared links, op and auto give the same trace to the byte and the same end."""
    expected, actual = case.simulate("op"), case.simulate("auto")

    assert expected.rows().tolist() == actual.rows().tolist()
    assert {k: list(v) for k, v in expected.requests.items()} == {k: list(v) for k, v in actual.requests.items()}
    assert (expected.digest, expected.duration_ticks) == (actual.digest, actual.duration_ticks)


@cases
@given(disturbed())
def test_watching_changes_nothing_and_reports_every_step(case: Case) -> None:
    """A watched run is the same run; its stages serve one step after another, and every token ends one of them."""
    seen: list[Served] = []
    watched, expected = case.simulate("auto", seen.append), case.simulate("auto")

    assert (expected.digest, expected.duration_ticks) == (watched.digest, watched.duration_ticks)
    free_at: dict[tuple[int, int], int] = {}
    made: dict[tuple[int, int, int], int] = {}
    for served in seen:
        place = served.replica, served.stage
        assert case.occupied is not None or free_at.get(place, 0) <= served.began
        assert served.arrived <= served.began
        assert served.ended - served.began == sum(served.parts)
        free_at[place] = served.ended
        if served.stage == len(case.stages) - 1:
            for request in served.decoding + served.finishing:
                made[served.replica, served.step, request] = served.ended
    tokens = watched.tokens
    rows = zip(*(tokens[name].tolist() for name in ("replica", "step", "request", "emitted_at_ticks")), strict=True)
    assert made == {(replica, step, request): instant for replica, step, request, instant in rows}


@cases
@given(disturbed())
def test_every_invariant_holds_under_events(case: Case) -> None:
    """No slowdown, failure or shared link breaks an invariant."""
    assert [] == case.simulate("auto").violations()


@cases
@given(disturbed())
def test_no_request_is_lost_under_events(case: Case) -> None:
    """Every request ends finished with all its tokens, failed with a reason, or, at a horizon only, unfinished."""
    requests = case.simulate("auto").requests
    has_all = (requests["tokens_emitted"] == requests["output_tokens"]).tolist()
    for status, reason, complete in zip(requests["status"], requests["reason"], has_all, strict=True):
        assert (status == "finished") == complete
        assert (status == "failed") == bool(reason)
        assert status != "unfinished" or case.horizon_ticks is not None


def test_random_runs_cover_the_rare_cases() -> None:
    """Among the random runs there are preempted requests, chunked prompts, refused ones, and ties of arrivals."""
    seen = set()

    @settings(deadline=None, max_examples=150, database=None, derandomize=True)
    @given(runs())
    def look(case: Case) -> None:
        requests = case.simulate("auto").requests
        finished = np.array([status == "finished" for status in requests["status"]])
        if requests["preemptions"].any():
            seen.add("preempted")
        if (requests["prompt_tokens"][finished] > case.max_tokens).any():
            seen.add("chunked")
        seen.update(requests["status"])
        arrivals = [arrival for arrival, _, _ in case.requests]
        if len(set(arrivals)) < len(arrivals):
            seen.add("tied")

    look()

    assert seen >= {"preempted", "chunked", "finished", "failed", "unfinished", "tied"}


def livelock() -> Case:
    """
    Four stages, seven requests, and KV blocks for one long one.

    The blocks that the first admitted request lacks are held by requests in steps under way. It waits for them:
    if it were preempted instead, the others would be preempted in turn, without end.
    """
    op = {"launch": (2, 0, 0), "compute": (4, 0, 0), "fetch": (4, 0, 0), "wait": (2, 0, 0), "exchange": (4, 1, 1)}
    return Case(
        stages=([op], [op], [op] * 3, [op] * 2), hop_ticks=(4, 5, 0), wire_ticks_per_token=2, return_ticks=3,
        n_replicas=1, n_blocks=6, block_size=3, max_running=4, max_tokens=1,
        requests=((17, 8, 3), (18, 12, 4), (0, 7, 2), (1, 8, 8), (14, 7, 8), (15, 16, 2), (6, 11, 8)),
        concurrency=4,
    )  # fmt: skip


def test_a_full_pipeline_does_not_livelock() -> None:
    """Requests in a pipeline that all lack blocks do not preempt each other without end: all get their tokens."""
    assert {"finished"} == set(livelock().simulate("op").requests["status"])


@pytest.mark.slow
@settings(deadline=None, max_examples=5000)
@given(runs())
def test_many_random_runs(case: Case) -> None:
    """Fidelities and invariants, on many more random runs."""
    expected, actual = case.simulate("op"), case.simulate("auto")

    assert expected.rows().tolist() == actual.rows().tolist()
    assert [] == actual.violations()


@pytest.mark.soak
@settings(deadline=None, max_examples=1000, suppress_health_check=[HealthCheck.too_slow])
@given(disturbed())
def test_soak(case: Case) -> None:
    """In a thousand random runs with failures every invariant holds, no request is lost, and op and auto agree."""
    expected, actual = case.simulate("op"), case.simulate("auto")

    assert expected.digest == actual.digest
    assert [] == actual.violations()
    assert case.horizon_ticks is not None or "unfinished" not in actual.requests["status"]
