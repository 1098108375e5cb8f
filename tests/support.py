"""Replicas made of made-up stages, and runs of them in memory, for tests that need no model and no device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from simcluster.costs.batch import Batch
from simcluster.costs.service import Charge, Jitter, OpTicks, Service, Skew, StageModel, TimedStage
from simcluster.invariants import Limits, Violation, check
from simcluster.kernel.engine import Engine, Load
from simcluster.kernel.pipeline import Wire
from simcluster.kernel.replica import ReplicaPlan
from simcluster.policies.routers import Router, round_robin
from simcluster.policies.schedulers import fcfs
from simcluster.run import Result
from simcluster.ticks import Ticks
from simcluster.trace import COMPONENT, COMPONENTS, TOKEN_COLUMNS, Block, Digest

UNBOUNDED = 10**9


class GivenService:
    """A stage whose service of a step is a given whole number of ticks, all of it compute."""

    def __init__(self, ticks: Callable[[int, Batch], int]) -> None:
        self._ticks = ticks

    def service(self, step: int, batch: Batch) -> Service:
        ticks = self._ticks(step, batch)
        components = [0] * len(COMPONENTS)
        components[COMPONENT["compute"]] = ticks
        zero = np.zeros(1, np.int64)
        return Service(
            ticks, components, list(components), lambda: OpTicks(zero, np.array([ticks]), zero, zero, zero)
        )


class LinearOps:
    """Made-up ops: each part lasts a + b x decode context + c x prefill tokens ticks, (a, b, c)."""

    def __init__(self, ops: Sequence[dict[str, tuple[int, int, int]]], charge: Charge) -> None:
        self._forms = {
            part: np.array([op.get(part, (0, 0, 0)) for op in ops], np.int64)  # (ops, 3)
            for part in ("launch", "compute", "fetch", "wait", "exchange")
        }
        self._charge = charge

    def ops(self, batch: Batch) -> OpTicks:
        sums = np.array([1, batch.decode_context, batch.prefill_tokens])
        return OpTicks(**{part: form @ sums for part, form in self._forms.items()})

    def components(self, batch: Batch) -> list[int]:
        return self._charge(self.ops(batch)).tolist()

    def run_ops(self, batch: Batch, n_steps: int) -> OpTicks:
        steps = [self.ops(_later(batch, n)) for n in range(n_steps)]
        return OpTicks(*(np.stack(part) for part in zip(*steps, strict=True)))

    def run_components(self, batch: Batch, n_steps: int) -> Ticks:
        return self._charge(self.run_ops(batch, n_steps))


def _later(batch: Batch, n_steps: int) -> Batch:
    """The decode batch so many steps on."""
    return batch._replace(decode_context=batch.decode_context + n_steps * batch.decode_tokens)


def linear_stage(
    ops: Sequence[dict[str, tuple[int, int, int]]],
    collectives: tuple[int, ...] = (),
    jitter: Jitter | None = None,
    skew: Skew | None = None,
) -> TimedStage:
    """A real stage over made-up ops; what they fetch is weights, KV entries and activations in turn."""
    names = ("weight_fetch", "kv_fetch", "compute")
    charge = Charge([names[index % 3] for index in range(len(ops))])
    return TimedStage(LinearOps(ops, charge), charge, collectives, jitter, skew)


def plan(
    stages: Sequence[StageModel],
    hop_ticks: Sequence[int] = (),
    return_ticks: int = 0,
    n_blocks: int = UNBOUNDED,
    block_size: int = 1,
    max_running: int = UNBOUNDED,
    max_tokens: int = UNBOUNDED,
    wire_ticks_per_token: int = 0,
) -> ReplicaPlan:
    """A replica of these stages; the way between them takes so many ticks, and so many for each token to be sent."""
    hops = hop_ticks or [0] * (len(stages) - 1)
    return ReplicaPlan(
        stages=tuple(stages),
        wires=tuple(Wire(lambda n_tokens: wire_ticks_per_token * n_tokens, ticks) for ticks in hops),
        return_ticks=return_ticks,
        n_blocks=n_blocks,
        block_size=block_size,
        max_running=max_running,
        max_tokens=max_tokens,
        scheduler=fcfs,
        steady=all(hasattr(stage, "run") for stage in stages),
    )


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
        """All rows of the token table in an order that does not depend on who was written first at a tick."""
        columns = [self.tokens[name] for name in TOKEN_COLUMNS]
        order = np.lexsort([self.tokens[name] for name in ("request", "replica", "emitted_at_ticks")])
        return np.stack(columns, axis=1)[order]

    def emitted(self, request: int) -> list[int]:
        """When a request's tokens were emitted."""
        return self.tokens["emitted_at_ticks"][self.tokens["request"] == request].tolist()


def load(
    arrivals: Sequence[int], prompts: Sequence[int], outputs: Sequence[int], concurrency: int | None = None
) -> Load:
    """Requests by their arrivals, prompt tokens and output tokens."""
    columns = (np.array(values, np.int64) for values in (arrivals, prompts, outputs))
    return Load(*columns, concurrency)


def play(
    plans: Sequence[ReplicaPlan],
    requests: Load,
    router: Router = round_robin,
    fidelity: str = "auto",
    max_model_len: int = UNBOUNDED,
    horizon_ticks: int | None = None,
    rows_per_block: int = 64,
) -> Played:
    """Run the kernel on these replicas."""
    blocks: list[Block] = []
    digest = Digest()
    sinks = [lambda block: blocks.append(block.copy()), digest.add_tokens]
    engine = Engine(plans, router, requests, max_model_len, fidelity, sinks, rows_per_block)
    duration_ticks = engine.run(horizon_ticks)
    table = engine.table()
    digest.add_requests(table)
    limits = Limits(
        kv_blocks=tuple(p.n_blocks for p in plans),
        block_size=plans[0].block_size,
        max_num_seqs=plans[0].max_running,
        max_num_batched_tokens=plans[0].max_tokens,
        n_stages=len(plans[0].stages),
    )
    return Played(columns(blocks), table, duration_ticks, digest.hexdigest(), limits)


def columns(blocks: Sequence[Block]) -> dict[str, Any]:
    """Blocks of rows as columns by name."""
    rows = np.concatenate(blocks) if blocks else np.empty((0, len(TOKEN_COLUMNS)), np.int64)
    return {name: rows[:, index] for index, name in enumerate(TOKEN_COLUMNS)}


def played(result: Result) -> Played:
    """The run of a scenario."""
    summary = result.summary
    limits = Limits.of(result.scenario)
    duration_ticks = round(summary["duration"] * 10**12)
    return Played(columns(result.blocks), result.requests_table, duration_ticks, summary["trace_digest"], limits)


def with_column(run: Played, table: str, name: str, row: int, value: Any) -> Played:
    """The same run with one entry of one of its tables changed."""
    tables = {"tokens": dict(run.tokens), "requests": dict(run.requests)}
    column = tables[table][name].copy()
    column[row] = value
    tables[table][name] = column
    return replace(run, tokens=tables["tokens"], requests=tables["requests"])
