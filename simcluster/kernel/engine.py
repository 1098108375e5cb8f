"""Simulate requests on replicas until all are done or the horizon is reached."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import simpy

from simcluster.kernel.clock import ARRIVE, after, now
from simcluster.kernel.delivery import Delivery
from simcluster.kernel.events import EventPlayer
from simcluster.kernel.fabric import Fabric
from simcluster.kernel.replica import Replica
from simcluster.kernel.request import Request
from simcluster.kernel.watch import Watch
from simcluster.noise.renewals import Renewals
from simcluster.numerics.ticks import Ticks
from simcluster.plans.conditions import EventPlan
from simcluster.plans.replica_plan import ReplicaPlan
from simcluster.policies.checks import require_replica
from simcluster.policies.routers import ROUTERS, Router
from simcluster.policies.views import ReplicaView, RouterView
from simcluster.trace.columns import ROWS_PER_BLOCK, Block
from simcluster.trace.recorder import Recorder
from simcluster.workload.materialise import Requests

MAX_RESTARTS = 100
"""Restarts after which a request fails; without a limit, replicas that fail too often would restart it forever."""


@dataclass(frozen=True)
class Surroundings:
    """The environment of the replicas of a simulation."""

    events: EventPlan | None = None
    """Slowdowns and failures of devices and links, and background transfers."""
    capacities_bytes_per_s: Sequence[float] = ()
    """Of the fabric's links by number; none without a fabric."""
    pauses: Sequence[Renewals | None] = ()
    """Of the hosts that deliver tokens, by replica, None for a host that never pauses; empty where none does."""


ALONE = Surroundings()
"""No events, no fabric and no pauses."""

_SHIPPED = frozenset(ROUTERS.values())
"""Routers of simcluster; their choices are not checked at run time, since tests check them."""


class Engine:
    """
    One simulation: its clock, its replicas and its requests.

    Args:
        plans: of the replicas, by number.
        router: chooses the replica of each request.
        load: the requests.
        fidelity: `auto`, or `op` to simulate every op as an event.
        sinks: called with every block of token rows.
        surroundings: events, fabric and host pauses.
        watch: called whenever a stage has served a step.
        rows_per_block: size of a block.
    """

    def __init__(
        self,
        plans: Sequence[ReplicaPlan],
        router: Router,
        load: Requests,
        fidelity: str,
        sinks: Iterable[Callable[[Block], None]],
        surroundings: Surroundings = ALONE,
        watch: Watch | None = None,
        rows_per_block: int = ROWS_PER_BLOCK,
    ) -> None:
        self._env = simpy.Environment()
        self._router = router
        self._load = load
        pauses, events = surroundings.pauses, surroundings.events
        self._delivery = Delivery(pauses, self.n_requests) if pauses else None
        deliver = None if self._delivery is None else self._delivery.deliver
        self._recorder = Recorder(sinks, len(plans), self._complete_until, rows_per_block, deliver)
        capacities = surroundings.capacities_bytes_per_s
        fabric = Fabric(self._env, capacities) if capacities else None
        self._replicas = [
            Replica(self._env, number, plan, fidelity, fabric, self._recorder, self._finished, watch)
            for number, plan in enumerate(plans)
        ]
        self._max_model_len = max(replica.max_model_len for replica in self._replicas)
        self._n_arrived = 0
        self._n_routed = 0
        self._n_replacing = 0
        self.requests: list[Request] = []
        """Requests that have arrived, in order."""
        self.failures: dict[int, str] = {}
        """Reasons of failed requests, by number."""
        self._given_up = ""
        """Reason why later requests of a closed loop fail: no replica will come up again."""
        self._stranded: list[Request] = []
        """Requests that wait for a replica to come up again."""
        self._events: EventPlayer | None = None
        if events is not None and events.events:
            self._events = EventPlayer(
                self._env, events, self._replicas, fabric, self._displace, self._recover, self._is_over
            )

    @property
    def n_requests(self) -> int:
        """Number of requests of the load."""
        return len(self._load.arrival_ticks)

    def run(self, horizon_ticks: int | None = None) -> int:
        """
        Simulate until no event is left, or until the horizon.

        Returns:
            The tick of the last token, or the horizon if requests were left.
        """
        if self._load.concurrency is None:
            self._await_next()
        else:
            self._n_replacing = min(self._load.concurrency, self.n_requests)
            after(self._env, 0, ARRIVE, self._replace)
        self._env.run(until=horizon_ticks)
        if horizon_ticks is None:
            for replica in self._replicas:
                replica.require_served()
            if self._stranded:
                self._give_up()
        else:
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
        """Return the tick before which the rows of all replicas are recorded."""
        instant = now(self._env)
        return min((r.complete_until for r in self._replicas if r.complete_until is not None), default=instant)

    def _await_next(self) -> None:
        """Schedule the arrival of the next request of an open loop."""
        if self._n_arrived < self.n_requests:
            due = int(self._load.arrival_ticks[self._n_arrived])
            after(self._env, due - now(self._env), ARRIVE, self._arrive_and_await)

    def _arrive_and_await(self) -> None:
        self._arrive()
        self._await_next()

    def _finished(self, request: Request) -> None:
        """Replace a finished request of a closed loop, after everything else that ends at this tick."""
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
        """Add the next request: route it, or refuse it if it is too long for every replica."""
        number = self._n_arrived
        self._n_arrived += 1
        load = self._load
        request = Request(number, now(self._env), int(load.prompt_tokens[number]), int(load.output_tokens[number]))
        self.requests.append(request)
        if request.prompt_tokens + request.output_tokens > self._max_model_len:
            self._refuse(request, f"longer than max_model_len ({self._max_model_len} tokens)")
            return
        self._route(request)

    def _route(self, request: Request) -> None:
        """Send a request to a replica that is up and can hold it; queue it while none is up."""
        down: Container[int] = self._events.down if self._events is not None else ()
        fitting = self._fitting(request)
        if any(r.number not in down for r in (fitting or self._replicas)):
            number = self._n_routed
            self._n_routed += 1
            if fitting:
                self._choose(request, fitting, down, number).arrive(request)
            else:
                self._refuse(request, "longer than the KV cache of a replica")
        else:
            self._stranded.append(request)

    def _choose(self, request: Request, fitting: list[Replica], down: Container[int], number: int) -> Replica:
        """Choose one of the fitting replicas; the router is called only if there are several replicas."""
        if len(self._replicas) == 1:
            return fitting[0]
        able = {replica.number for replica in fitting}
        view = RouterView(
            number,
            request.prompt_tokens,
            tuple(
                ReplicaView(r.number, r.pool, r.in_system, r.number in able and r.number not in down)
                for r in self._replicas
            ),
            request.number,
        )
        chosen = self._router(view)
        if self._router not in _SHIPPED:
            require_replica(self._router, request.number, view, chosen)
        return self._replicas[chosen]

    def _displace(self, requests: list[Request]) -> None:
        """Reroute the requests of a replica that went down."""
        for request in requests:
            if request.restarts > MAX_RESTARTS:
                self._refuse(request, f"its replica failed {request.restarts} times")
            else:
                self._route(request)

    def _recover(self) -> None:
        """Route the requests that waited for a replica to come up."""
        stranded, self._stranded = self._stranded, []
        for request in stranded:
            self._route(request)

    def _give_up(self) -> None:
        """Fail the requests that wait for a replica, and later ones of a closed loop: none will come up again."""
        assert self._events is not None
        self._given_up = next(iter(self._events.down.values()))
        for request in self._stranded:
            self.failures[request.number] = self._given_up
        self._stranded = []

    def _is_over(self, lost: set[int]) -> bool:
        """Whether no request is in a replica, still to arrive, or waiting for a replica that is not `lost`."""
        here = any(r.in_system for r in self._replicas)
        open_loop = self._load.concurrency is None
        to_come = self._n_arrived < self.n_requests and (open_loop or self._n_replacing > 0)
        wait = any(r.number not in lost for request in self._stranded for r in self._fitting(request))
        return not here and not to_come and not wait

    def _fitting(self, request: Request) -> list[Replica]:
        """The replicas that could hold a request, those that are down included."""
        n_tokens = request.prompt_tokens + request.output_tokens
        return [replica for replica in self._replicas if n_tokens <= replica.longest_tokens]

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
