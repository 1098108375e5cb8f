"""Play a set of requests on replicas until all are done or the horizon is reached."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import simpy

from simcluster.kernel.clock import ARRIVE, after, now
from simcluster.kernel.delivery import Delivery
from simcluster.kernel.events import EventPlayer
from simcluster.kernel.fabric import Fabric
from simcluster.kernel.replica import Replica
from simcluster.kernel.request import Request
from simcluster.kernel.steady import SteadyReplica
from simcluster.kernel.watched import Watch
from simcluster.noise.renewals import Renewals
from simcluster.numerics.ticks import Ticks
from simcluster.plans.conditions import EventPlan
from simcluster.plans.replica_plan import ReplicaPlan
from simcluster.policies.routers import Arrival, Router
from simcluster.trace.columns import ROWS_PER_BLOCK, Block
from simcluster.trace.recorder import Recorder
from simcluster.workload.materialise import Requests

MOST_RESTARTS = 100
"""Of a request whose replicas fail under it, after which it fails: they may fail faster than it can be served."""


def _kind(plan: ReplicaPlan, fidelity: str, watch: Watch | None) -> type[Replica]:
    """How a replica is played: many decode steps at a time where that is the same and nobody watches them."""
    alone = plan.n_stages == 1 and not plan.pipeline.rounds
    return SteadyReplica if plan.steady is not None and fidelity == "auto" and alone and watch is None else Replica


class Engine:
    """One simulation: its clock, its replicas, and the requests that are on their way."""

    def __init__(
        self,
        plans: Sequence[ReplicaPlan],
        router: Router,
        load: Requests,
        max_model_len: int,
        fidelity: str,
        sinks: Iterable[Callable[[Block], None]],
        rows_per_block: int = ROWS_PER_BLOCK,
        world: EventPlan | None = None,
        capacities_bytes_per_s: Sequence[float] = (),
        pauses: Sequence[Renewals] = (),
        watch: Watch | None = None,
    ) -> None:
        self._env = simpy.Environment()
        self._router = router
        self._load = load
        self._max_model_len = max_model_len
        self._delivery = Delivery(pauses, self.n_requests) if pauses else None
        deliver = None if self._delivery is None else self._delivery.deliver
        self._recorder = Recorder(sinks, len(plans), self._complete_until, rows_per_block, deliver)
        fabric = Fabric(self._env, capacities_bytes_per_s) if capacities_bytes_per_s else None
        self._replicas = [
            _kind(plan, fidelity, watch)(
                self._env, number, plan, fidelity, fabric, self._recorder, self._finished, watch
            )
            for number, plan in enumerate(plans)
        ]
        self._n_arrived = 0
        self._n_routed = 0
        self._n_replacing = 0
        self.requests: list[Request] = []
        """Every request that arrived, in order."""
        self.failures: dict[int, str] = {}
        """Why requests were refused, by number."""
        self._given_up = ""
        """Why requests of a closed loop never came."""
        self._stranded: list[Request] = []
        """Requests that wait for a replica to come up again."""
        self._weather: EventPlayer | None = None
        if world is not None and world.events:
            self._weather = EventPlayer(
                self._env, world, self._replicas, fabric, self._displace, self._recover, self._is_over
            )

    @property
    def n_requests(self) -> int:
        """Requests of the load."""
        return len(self._load.arrival_ticks)

    def run(self, horizon_ticks: int | None = None) -> int:
        """
        Play until nothing happens any more, or until the horizon.

        Returns:
            The tick at which the last thing happened, or the horizon if requests were left.
        """
        if self._load.concurrency is None:
            self._await_next()
        else:
            self._n_replacing = min(self._load.concurrency, self.n_requests)
            after(self._env, 0, ARRIVE, self._replace)
        self._env.run(until=horizon_ticks)
        if horizon_ticks is None and self._stranded:
            self._give_up()
        if horizon_ticks is not None:
            for replica in self._replicas:
                replica.settle(horizon_ticks)
        self._recorder.close()
        if horizon_ticks is not None and (
            self._n_arrived < self.n_requests or self._stranded or any(r.in_system for r in self._replicas)
        ):
            return horizon_ticks
        made = max((request.last_token for request in self.requests if request.last_token >= 0), default=0)
        return made if self._delivery is None else max(made, int(self._delivery.last_at.max(initial=0)))

    def _complete_until(self) -> int:
        """Before which tick the rows of all replicas are recorded."""
        instant = now(self._env)
        return min((r.complete_until for r in self._replicas if r.complete_until is not None), default=instant)

    def _await_next(self) -> None:
        """Open loop: the next request comes at its time."""
        if self._n_arrived < self.n_requests:
            due = int(self._load.arrival_ticks[self._n_arrived])
            after(self._env, due - now(self._env), ARRIVE, self._arrive_and_await)

    def _arrive_and_await(self) -> None:
        self._arrive()
        self._await_next()

    def _finished(self, request: Request) -> None:
        """Closed loop: one done, one to come, after everything else that ends at this instant."""
        if self._load.concurrency is not None:
            if not self._n_replacing:
                after(self._env, 0, ARRIVE, self._replace)
            self._n_replacing += 1

    def _replace(self) -> None:
        while self._n_replacing:
            self._n_replacing -= 1
            if self._n_arrived < self.n_requests:
                self._arrive()

    def _arrive(self) -> None:
        """One request arrives and is routed, or is refused when no replica could ever hold it."""
        number = self._n_arrived
        self._n_arrived += 1
        load = self._load
        request = Request(number, now(self._env), int(load.prompt_tokens[number]), int(load.output_tokens[number]))
        self.requests.append(request)
        n_tokens = request.prompt_tokens + request.output_tokens
        if n_tokens > self._max_model_len:
            self._refuse(request, f"longer than max_model_len ({self._max_model_len} tokens)")
            return
        self._route(request)

    def _route(self, request: Request) -> None:
        """To one of the replicas that are up; when none is, the request waits for one."""
        replicas = self._replicas
        if self._weather is not None and self._weather.down:
            replicas = [r for number, r in enumerate(replicas) if number not in self._weather.down]
            if not replicas:
                self._stranded.append(request)
                return
        chosen = replicas[0]
        if len(self._replicas) > 1:
            arrival = Arrival(self._n_routed, request.prompt_tokens, tuple(r.in_system for r in replicas))
            self._n_routed += 1
            chosen = replicas[self._router(arrival)]
        if not chosen.can_hold(request.prompt_tokens + request.output_tokens - 1):
            self._refuse(request, "longer than the KV cache of a replica")
            return
        chosen.arrive(request)

    def _displace(self, requests: list[Request]) -> None:
        """A replica went down: everybody who was there goes to another."""
        for request in requests:
            if request.restarts > MOST_RESTARTS:
                self._refuse(request, f"its replica failed {request.restarts} times")
            else:
                self._route(request)

    def _recover(self) -> None:
        """A replica is up again: who had none goes there."""
        stranded, self._stranded = self._stranded, []
        for request in stranded:
            self._route(request)

    def _give_up(self) -> None:
        """No replica will ever be up: who waits for one fails, and in a closed loop who waits to come."""
        assert self._weather is not None
        self._given_up = next(iter(self._weather.down.values()))
        for request in self._stranded:
            self.failures[request.number] = self._given_up
        self._stranded = []

    def _is_over(self, comes_back: bool) -> bool:
        """Whether no request is here or to come, but such as wait for a replica that never comes back."""
        here = any(r.in_system for r in self._replicas)
        open_loop = self._load.concurrency is None
        to_come = self._n_arrived < self.n_requests and (open_loop or self._n_replacing > 0)
        return not here and not to_come and not (self._stranded and comes_back)

    def _refuse(self, request: Request, reason: str) -> None:
        self.failures[request.number] = reason
        self._finished(request)

    def table(self) -> dict[str, Ticks | list[str]]:
        """The columns of `trace.REQUEST_COLUMNS` as int64 arrays, `status` and `reason` as lists."""
        arrived = self.requests
        late = range(len(arrived), self.n_requests)
        load = self._load
        open_loop = load.concurrency is None
        columns: dict[str, Ticks | list[str]] = {
            "request": np.arange(self.n_requests),
            "arrived_at_ticks": np.array(
                [r.arrived for r in arrived] + [int(load.arrival_ticks[n]) if open_loop else -1 for n in late],
                np.int64,
            ),
            "prompt_tokens": load.prompt_tokens.astype(np.int64),
            "output_tokens": load.output_tokens.astype(np.int64),
        }
        for name, attribute, absent in (
            ("replica", "replica", -1), ("scheduled_at_ticks", "scheduled", -1),
            ("first_token_at_ticks", "first_token", -1), ("last_token_at_ticks", "last_token", -1),
            ("tokens_emitted", "generated", 0), ("preemptions", "preemptions", 0), ("restarts", "restarts", 0),
        ):  # fmt: skip
            columns[name] = np.array([getattr(r, attribute) for r in arrived] + [absent for _ in late], np.int64)
        if self._delivery is not None:
            columns["first_token_at_ticks"] = self._delivery.first_at
            columns["last_token_at_ticks"] = self._delivery.last_at
        never = "failed" if self._given_up else "unfinished"
        columns["status"] = [self._status(request) for request in arrived] + [never for _ in late]
        columns["reason"] = [self.failures.get(n, "") for n in range(len(arrived))] + [self._given_up for _ in late]
        return columns

    def _status(self, request: Request) -> str:
        if request.number in self.failures:
            return "failed"
        return "finished" if request.generated == request.output_tokens else "unfinished"
