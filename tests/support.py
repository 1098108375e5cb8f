"""Replicas of synthetic stages, and runs of them in memory, for tests that need no model and no device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from simcluster.kernel.engine import Engine, Surroundings
from simcluster.kernel.watch import Watch
from simcluster.numerics.maxmin import Uses
from simcluster.numerics.ticks import TICKS_PER_S
from simcluster.plans.conditions import EventPlan
from simcluster.plans.replica_plan import FlowLoad as Flowing
from simcluster.plans.replica_plan import FlowRound, PipelinePlan, ReplicaPlan, Rounds, Wire
from simcluster.policies.routers import Router, round_robin
from simcluster.policies.schedulers import SCHEDULERS
from simcluster.results.invariants import Limits, ReplicaLimits, Violation, check
from simcluster.results.run import Result
from simcluster.stages.factors import Factors
from simcluster.stages.step_noise import Skew, Small, StepNoise
from simcluster.stages.timed import NO_WORK, Detail, OpRow, OpTicks, Service, StageModel, TimedStage
from simcluster.trace.columns import COMPONENT, COMPONENTS, TOKEN_COLUMNS, Block
from simcluster.trace.digest import Digest
from simcluster.work.batch import Batch
from simcluster.workload.materialise import Requests

UNBOUNDED = 10**9


class GivenService:
    """
    A stage whose service of a step is a given whole number of ticks, all of it compute.

    It takes the next step after `occupied` ticks, or when a step leaves.
    """

    def __init__(
        self, ticks: Callable[[int, Batch], int], occupied: Callable[[int, Batch], int] | None = None
    ) -> None:
        self._ticks = ticks
        self._occupied = occupied

    def service(self, step: int, batch: Batch, entered: int) -> Service:
        ticks = self._ticks(step, batch)
        components = [0] * len(COMPONENTS)
        components[COMPONENT["compute"]] = ticks
        zero, table = np.zeros(1, np.int64), np.array([components])
        detail = Detail(OpTicks(zero, np.array([ticks]), zero, zero, zero), table, table)
        occupied = None if self._occupied is None else self._occupied(step, batch)
        return Service(ticks, components, list(components), lambda: detail, occupied)


class Overlapping:
    """A stage that takes the next step after a share of its service time."""

    def __init__(self, stage: StageModel, share: float) -> None:
        self._stage = stage
        self._share = share

    def service(self, step: int, batch: Batch, entered: int) -> Service:
        given = self._stage.service(step, batch, entered)
        occupied = round(self._share * given.ticks)
        return Service(given.ticks, given.components, given.decode_components, given.detail, occupied)


class LinearOps:
    """
    Synthetic ops: each part (a, b, c) lasts a + b x decode context + c x prefill tokens, in ticks.

    `exchanged` maps the context-free ticks of an exchange to its duration.
    """

    PARTS = ("launch", "compute", "fetch", "wait", "exchange")

    def __init__(
        self, ops: Sequence[dict[str, tuple[int, int, int]]], exchanged: Callable[[int], int] = lambda ticks: ticks
    ) -> None:
        self._exchanged = exchanged
        self._forms = [[op.get(part, (0, 0, 0)) for part in self.PARTS] for op in ops]
        self.kind_of_op = range(len(ops))
        names = ("weight_fetch", "kv_fetch", "compute")
        self.fetch_components = [COMPONENT[names[index % 3]] for index in range(len(ops))]

    def rows(self, tokens: Batch) -> list[OpRow]:
        exchanges = (form[-1] for form in self._forms)
        return [NO_WORK._replace(exchange=self._exchanged(a + c * tokens.prefill_tokens)) for a, _, c in exchanges]

    def context_rows(self, batch: Batch) -> list[tuple[int, OpRow]]:
        return [(kind, self._row(form, batch.decode_context, batch)) for kind, form in enumerate(self._forms)]

    def run_rows(self, batch: Batch, n_steps: int) -> list[tuple[int, OpRow]]:
        contexts = batch.decode_context + batch.decode_tokens * np.arange(n_steps)
        return [(kind, self._row(form, contexts, batch)) for kind, form in enumerate(self._forms)]

    def _row(self, form: list[tuple[int, int, int]], contexts: Any, batch: Batch) -> OpRow:
        *parts, exchange = form
        of_contexts = exchange[1] * contexts
        return OpRow(*(a + b * contexts + c * batch.prefill_tokens for a, b, c in parts), of_contexts)


def linear_stage(
    ops: Sequence[dict[str, tuple[int, int, int]]],
    collectives: tuple[int, ...] = (),
    jitter: Factors | None = None,
    skew: Skew | None = None,
    small: Small | None = None,
    exchanged: Callable[[int], int] = lambda ticks: ticks,
) -> TimedStage:
    """A `TimedStage` of synthetic ops, which fetch weights, KV entries and activations in turn."""
    noise = StepNoise(range(len(ops)), collectives, jitter, skew, small) if jitter or skew or small else None
    return TimedStage(LinearOps(ops, exchanged), noise)


def plan(
    stages: Sequence[StageModel],
    hop_ticks: Sequence[int] = (),
    return_ticks: int = 0,
    n_blocks: int = UNBOUNDED,
    block_size: int = 1,
    max_running: int = UNBOUNDED,
    max_tokens: int = UNBOUNDED,
    wire_ticks_per_token: int = 0,
    uses: Uses = (),
    may_change: bool = False,
    scheduler: str = "fcfs",
    admission_lag: int = 0,
) -> ReplicaPlan:
    """
    Plan a replica of these stages; a send takes `hop_ticks`, and `wire_ticks_per_token` for each token.

    With `uses`, exchanges and sends are flows on these links; a third of an exchange is latency.
    """
    hops = hop_ticks or [0] * (len(stages) - 1)

    def load(n_tokens: int) -> Flowing:
        return Flowing(wire_ticks_per_token * n_tokens / TICKS_PER_S, uses)

    wires = tuple(Wire(lambda n_tokens: wire_ticks_per_token * n_tokens, ticks, load) for ticks in hops)
    rounds = tuple(_rounds(stage, uses) for stage in stages) if uses else ()
    return ReplicaPlan(
        pipeline=PipelinePlan(tuple(stages), wires, rounds, "always" if uses else "none"),
        may_change=may_change,
        return_ticks=return_ticks,
        n_blocks=n_blocks,
        block_size=block_size,
        max_running=max_running,
        max_tokens=max_tokens,
        scheduler=SCHEDULERS[scheduler],
        admission_lag=admission_lag,
    )


def on_own_links(
    plan: ReplicaPlan, links: Sequence[int], share: float, ops: Sequence[Sequence[dict[str, tuple[int, int, int]]]]
) -> ReplicaPlan:
    """
    Put a replica on links that other flows use at times: one for each stage, then one for each wire.

    `share` is the fraction of their bandwidth that is left. The stages must be made of `ops` with
    `exchanged_over(share)`, and exchanges must not depend on contexts.
    """
    n_stages, pipeline = plan.n_stages, plan.pipeline

    def rounds_over(link: int, forms: Sequence[dict[str, tuple[int, int, int]]]) -> Rounds:
        def rounds(op: int, batch: Batch) -> list[FlowRound]:
            constant, _, per_prefill = forms[op].get("exchange", (0, 0, 0))
            return [FlowRound(*_cut(constant + per_prefill * batch.prefill_tokens, link))]

        return rounds

    def wire_over(link: int, wire: Wire) -> Wire:
        def load(n_tokens: int) -> Flowing:
            return Flowing(wire.busy_ticks(n_tokens) / TICKS_PER_S, ((link, 1.0),))

        return Wire(lambda n_tokens: load(n_tokens).alone_ticks(share), wire.latency_ticks, load)

    shared = PipelinePlan(
        pipeline.stages,
        tuple(map(wire_over, links[n_stages:], pipeline.wires)),
        tuple(map(rounds_over, links, ops)),
        "sometimes",
        tuple(frozenset({link}) for link in links[:n_stages]),
    )
    return replace(plan, pipeline=shared)


def _cut(ticks: int, link: int) -> tuple[int, tuple[Flowing, ...]]:
    """Split an exchange of `ticks` into latency, a third, and a flow."""
    return ticks // 3, (Flowing((ticks - ticks // 3) / TICKS_PER_S, ((link, 1.0),)),)


def exchanged_over(share: float) -> Callable[[int], int]:
    """Return the duration of an exchange, by its nominal ticks, alone on a link with this share of its bandwidth."""

    def exchanged(ticks: int) -> int:
        latency_ticks, (load,) = _cut(ticks, 0)
        return latency_ticks + load.alone_ticks(share)

    return exchanged


def _rounds(stage: StageModel, uses: Uses) -> Rounds:
    """Exchanges of a stage as one round each."""

    def rounds(op: int, batch: Batch) -> list[FlowRound]:
        ticks = int(stage.service(0, batch, 0).ops().exchange[op])
        return [FlowRound(ticks // 3, (Flowing((ticks - ticks // 3) / TICKS_PER_S, uses),))]

    return rounds


@dataclass(frozen=True, eq=False)
class Played:
    """A run in memory."""

    tokens: dict[str, Any]
    """Columns of the token table."""
    requests: dict[str, Any]
    duration_ticks: int
    digest: str
    limits: Limits

    def violations(self) -> list[Violation]:
        return check(self.tokens, self.requests, self.limits)

    def rows(self) -> Block:
        """All rows of the token table, sorted so that the order within a tick does not matter."""
        columns = [self.tokens[name] for name in TOKEN_COLUMNS]
        order = np.lexsort([self.tokens[name] for name in ("request", "replica", "emitted_at_ticks")])
        return np.stack(columns, axis=1)[order]

    def emitted(self, request: int) -> list[int]:
        """Ticks at which a request's tokens were emitted."""
        return self.tokens["emitted_at_ticks"][self.tokens["request"] == request].tolist()


def load(
    arrivals: Sequence[int], prompts: Sequence[int], outputs: Sequence[int], concurrency: int | None = None
) -> Requests:
    """Make requests from arrivals, prompt tokens and output tokens."""
    columns = (np.array(values, np.int64) for values in (arrivals, prompts, outputs))
    return Requests(*columns, concurrency)


def play(
    plans: Sequence[ReplicaPlan],
    requests: Requests,
    router: Router = round_robin,
    fidelity: str = "auto",
    max_model_len: int = UNBOUNDED,
    horizon_ticks: int | None = None,
    rows_per_block: int = 64,
    events: EventPlan | None = None,
    capacities_bytes_per_s: Sequence[float] = (),
    watch: Watch | None = None,
) -> Played:
    """Simulate these replicas."""
    blocks: list[Block] = []
    digest = Digest()
    sinks = [blocks.append, digest.add_tokens]
    plans = [replace(plan, max_model_len=max_model_len) for plan in plans]
    surroundings = Surroundings(events, capacities_bytes_per_s)
    engine = Engine(plans, router, requests, fidelity, sinks, surroundings, watch, rows_per_block)
    duration_ticks = engine.run(horizon_ticks)
    table = engine.table()
    digest.add_requests(table)
    limits = Limits(
        tuple(ReplicaLimits(p.n_blocks, p.block_size, p.max_running, p.max_tokens, p.n_stages) for p in plans)
    )
    return Played(columns(blocks), table, duration_ticks, digest.hexdigest(), limits)


def columns(blocks: Sequence[Block]) -> dict[str, Any]:
    """Convert blocks of rows to columns by name."""
    rows = np.concatenate([np.empty((len(TOKEN_COLUMNS), 0), np.int64), *blocks], axis=1)
    return dict(zip(TOKEN_COLUMNS, rows, strict=True))


def played(result: Result) -> Played:
    """Convert the result of a scenario."""
    summary = result.summary
    limits = Limits.of(result.scenario)
    duration_ticks = round(summary["duration"] * 10**12)
    return Played(columns(result.blocks), result.requests_table, duration_ticks, summary["trace_digest"], limits)


def with_column(run: Played, table: str, name: str, row: int, value: Any) -> Played:
    """Copy a run with one entry of one of its tables changed."""
    tables = {"tokens": dict(run.tokens), "requests": dict(run.requests)}
    column = tables[table][name].copy()
    column[row] = value
    tables[table][name] = column
    return replace(run, tokens=tables["tokens"], requests=tables["requests"])
