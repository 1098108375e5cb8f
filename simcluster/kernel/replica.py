"""A replica: one copy of the model with its requests and its pipeline."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
import simpy

from simcluster.kernel.adaptive import AdaptivePipeline
from simcluster.kernel.chain import Chain
from simcluster.kernel.clock import DECIDE, NORMAL, after, now
from simcluster.kernel.exchange import FlowExchange
from simcluster.kernel.fabric import Fabric
from simcluster.kernel.lane import Lane
from simcluster.kernel.pipeline import Pipeline
from simcluster.kernel.request import Request
from simcluster.kernel.runs import DecodeRuns, Links
from simcluster.kernel.step import Step
from simcluster.kernel.tandem import Tandem
from simcluster.kernel.watch import Watch
from simcluster.numerics.ticks import MAX_TICK
from simcluster.plans.replica_plan import PipelinePlan, ReplicaPlan
from simcluster.policies.checks import require_served
from simcluster.policies.schedulers import steady_decode_of
from simcluster.stages.timed import RunModel
from simcluster.trace.recorder import Recorder, Segment


class Replica:
    """
    Serves requests step by step.

    A step is formed when the first stage is free and a request can take part, after all other events of that tick.
    With several stages several steps are under way, but a request is in only one of them, except for successive
    chunks of its prompt.

    Args:
        env: the clock.
        number: number of the replica.
        plan: its stages, links, limits and scheduler.
        fidelity: `auto`, or `op` to simulate every op as an event.
        fabric: the shared links; None without a fabric.
        recorder: takes the token rows.
        finished: called with every request that got its last token.
        watch: called whenever a stage has served a step.
    """

    def __init__(
        self,
        env: simpy.Environment,
        number: int,
        plan: ReplicaPlan,
        fidelity: str,
        fabric: Fabric | None,
        recorder: Recorder,
        finished: Callable[[Request], None],
        watch: Watch | None = None,
    ) -> None:
        self._env = env
        self.number = number
        self.pool = plan.pool
        self.max_model_len = plan.max_model_len or MAX_TICK
        # All tokens but the last one need a KV entry.
        self.longest_tokens = min(self.max_model_len, plan.n_blocks * plan.block_size + 1)
        """Prompt and output tokens of the longest request that it can serve."""
        self._return_ticks = plan.return_ticks
        self._recorder = recorder
        self._fabric = None if plan.pipeline.sharing == "none" else fabric
        self._deciding = False
        self._epoch = 0
        """Number of failures, to recognise callbacks from before the latest one."""
        self.lane = Lane(number, plan, finished)
        op_by_op = fidelity != "auto" or plan.pipeline.sharing == "always"
        self._pipeline = self._pipeline_of(plan, op_by_op, watch)
        self._runs = None if op_by_op or watch is not None else self._runs_of(plan)

    def _pipeline_of(self, plan: ReplicaPlan, op_by_op: bool, watch: Watch | None) -> Pipeline:
        """How the pipeline is simulated; all ways give the same times."""
        calls = self._first_is_free, self._last_left
        fabric, is_closed = self._fabric, not op_by_op and watch is None
        if is_closed and fabric is None and not plan.may_change:
            return Tandem(self._env, plan.pipeline, *calls)
        found: AdaptivePipeline | Chain
        found = chain = Chain(self._env, plan.pipeline, op_by_op, fabric, *calls, self.number, watch)
        links = sorted({link for links in plan.pipeline.links for link in links}.union(
            *(wire.links for wire in plan.pipeline.wires)))  # fmt: skip
        if is_closed and plan.n_stages > 1:
            is_alone = (lambda: True) if fabric is None else (lambda: fabric.idle(links))
            found = AdaptivePipeline(self._env, plan.pipeline, chain, *calls, is_alone)
        if fabric is not None and not op_by_op:
            fabric.watch(links, found.refine)
        return found

    def _runs_of(self, plan: ReplicaPlan) -> DecodeRuns | None:
        """Set up fused runs of decode steps; None where stage or scheduler do not allow them."""
        rule, model = steady_decode_of(plan.scheduler), plan.pipeline.stages[0]
        if rule is None or plan.n_stages > 1 or not hasattr(model, "run"):
            return None
        links = self._links(plan.pipeline)
        runs = DecodeRuns(self._env, self.lane, cast(RunModel, model), rule, self._recorder, self._decide_when, links)
        if links is not None and self._fabric is not None:
            self._fabric.watch(plan.pipeline.links[0], runs.refine)
        return runs

    def _links(self, plan: PipelinePlan) -> Links | None:
        """Shared links of a replica with one stage; None if nothing else uses them."""
        if (fabric := self._fabric) is None:
            return None
        rounds = plan.rounds[0]
        exchange = None if rounds is None else FlowExchange(self._env, fabric, rounds)
        return Links(lambda: fabric.idle(plan.links[0]), exchange)

    @property
    def in_system(self) -> int:
        """Requests waiting or running here."""
        return self.lane.in_system

    @property
    def complete_until(self) -> int | None:
        """Tick before which all rows of this replica are recorded; None for the current tick."""
        return None if self._runs is None else self._runs.complete_until

    def arrive(self, request: Request) -> None:
        """Put a request in the queue."""
        if self._runs is None:
            self.lane.enqueue(request, self.lane.n_steps)
        else:
            n_begun, is_running = self._runs.cut_for_arrival()
            self.lane.enqueue(request, n_begun)
            if is_running:
                return
        self._decide_soon()

    def change(self, plan: ReplicaPlan) -> None:
        """Apply another plan to ops and sends that start from now on, after devices or links changed."""
        self._return_ticks = plan.return_ticks
        self._pipeline.change(plan.pipeline)
        if self._runs is not None:
            self._runs.change(cast(RunModel, plan.pipeline.stages[0]), self._links(plan.pipeline))

    def fail(self) -> list[Request]:
        """Stop and drop all steps and the KV cache; returns all its requests, to be recomputed."""
        if self._runs is not None:
            self._runs.fail()
        self._epoch += 1
        self._pipeline.clear()
        return self.lane.fail(now(self._env))

    def require_served(self) -> None:
        """
        Check, when no event is left, that no request is.

        Raises:
            PolicyError: its scheduler left some; those that come with simcluster leave none.
        """
        require_served(self.lane.scheduler, [*self.lane.running, *(request.number for request in self.lane.waiting)])

    def settle(self, horizon: int) -> None:
        """Record the tokens emitted before the horizon, at which the simulation stops."""
        if self._runs is not None:
            self._runs.settle(horizon)

    def _decide_soon(self) -> None:
        """Schedule the next scheduling decision for the end of this tick."""
        if not self._deciding:
            self._deciding = True
            after(self._env, 0, DECIDE, self._decide)

    def _decide_when(self, others_first: bool) -> None:
        """Decide at once if no other event of this tick is left (which saves an event), else at its end."""
        if not others_first and self._env.peek() > self._env.now and not self._deciding:
            self._decide()
        else:
            self._decide_soon()

    def _decide(self) -> None:
        self._deciding = False
        if self._runs is not None and self._runs.decide(self._pipeline.busy):
            return
        if not self._pipeline.busy and self.lane.in_system:
            step = self.lane.next_step(now(self._env))
            if step is not None:
                self._pipeline.enter(step)

    def _first_is_free(self, step: Step) -> None:
        """Form the next step; prompts cut into chunks are charged for their chunk until now."""
        for request in step.chunked:
            request.gather(step.in_first_stage, now(self._env))
        # While all requests are in steps under way there is nothing to decide; their return triggers a decision.
        if self.lane.has_candidates():
            self._decide_soon()

    def _last_left(self, step: Step) -> None:
        """Emit a token for every request whose latest token was computed by a step that left the last stage."""
        instant, lane = now(self._env), self.lane
        for request in step.chunked:
            request.chunks_under_way -= 1
        self._decide_soon()
        emitting = step.decoding + step.finishing
        for requests, components in ((step.decoding, step.for_decode), (step.finishing, step.for_prefill)):
            self._record(step.number, step.batch.sequences, requests, components)
        for request in emitting:
            request.emit(instant)
            if request.generated == request.output_tokens:
                lane.release(request)
            else:
                request.returning = self._return_ticks
        going_on = [request for request in emitting if request.generated < request.output_tokens]
        if self._return_ticks:
            epoch = self._epoch
            after(self._env, self._return_ticks, NORMAL, lambda: self._return(going_on, epoch))
        else:
            self._return(going_on, self._epoch)

    def _record(self, step: int, batch_size: int, requests: list[Request], components: list[int]) -> None:
        """Record one token of each request, whose step is charged with these components."""
        if not requests:
            return
        self._recorder.add(
            Segment(
                self.number,
                step,
                batch_size,
                now(self._env),
                components,
                np.array([[r.number for r in requests], [r.generated - step for r in requests]], np.int64),
                [(n, r.time_before_step) for n, r in enumerate(requests) if r.time_before_step is not None],
            )
        )

    def _return(self, requests: list[Request], epoch: int) -> None:
        """Make requests schedulable again, as their sampled tokens are back at the first stage."""
        if epoch == self._epoch:
            for request in requests:
                request.in_flight = False
            self._decide_when(others_first=False)
