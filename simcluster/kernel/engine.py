"""Play a set of requests on replicas until all are done or the horizon is reached."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import simpy

from simcluster.kernel.clock import ARRIVE, after, now
from simcluster.kernel.replica import Replica, ReplicaPlan
from simcluster.kernel.request import Request
from simcluster.kernel.steady import SteadyReplica
from simcluster.policies.routers import Arrival, Router
from simcluster.ticks import Ticks
from simcluster.trace import Block, Recorder


@dataclass(frozen=True)
class Load:
    """The requests to play, in order of arrival; arrays of shape (requests,)."""

    arrival_ticks: Ticks
    prompt_tokens: Ticks
    output_tokens: Ticks
    concurrency: int | None = None
    """Closed loop: so many requests at a time, the next one arrives when one is done; arrival times are not used."""


def _kind(plan: ReplicaPlan, fidelity: str) -> type[Replica]:
    """How a replica is played: many decode steps at a time where that is the same."""
    return SteadyReplica if plan.admit is not None and fidelity == "auto" and len(plan.stages) == 1 else Replica


class Engine:
    """One simulation: its clock, its replicas, and the requests that are on their way."""

    def __init__(
        self,
        plans: Sequence[ReplicaPlan],
        router: Router,
        load: Load,
        max_model_len: int,
        fidelity: str,
        sinks: Iterable[Callable[[Block], None]],
        rows_per_block: int = 2**15,
    ) -> None:
        self._env = simpy.Environment()
        self._plans = plans
        self._router = router
        self._load = load
        self._max_model_len = max_model_len
        self._recorder = Recorder(sinks, len(plans), self._complete_until, rows_per_block)
        self._replicas = [
            _kind(plan, fidelity)(self._env, number, plan, fidelity, self._recorder, self._finished)
            for number, plan in enumerate(plans)
        ]
        self._n_arrived = 0
        self._n_routed = 0
        self._n_replacing = 0
        self.requests: list[Request] = []
        """Every request that arrived, in order."""
        self.failures: dict[int, str] = {}
        """Why requests were refused, by number."""

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
        if horizon_ticks is not None:
            for replica in self._replicas:
                replica.settle(horizon_ticks)
        self._recorder.close()
        if horizon_ticks is not None and (
            self._n_arrived < self.n_requests or any(replica.in_system for replica in self._replicas)
        ):
            return horizon_ticks
        return max((request.last_token for request in self.requests if request.last_token >= 0), default=0)

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
        arrival = Arrival(self._n_routed, request.prompt_tokens, tuple(r.in_system for r in self._replicas))
        self._n_routed += 1
        chosen = self._router(arrival)
        if not self._plans[chosen].can_hold(n_tokens - 1):
            self._refuse(request, "longer than the KV cache of a replica")
            return
        self._replicas[chosen].arrive(request)

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
            ("tokens_emitted", "generated", 0), ("preemptions", "preemptions", 0),
        ):  # fmt: skip
            columns[name] = np.array([getattr(r, attribute) for r in arrived] + [absent for _ in late], np.int64)
        columns["status"] = [self._status(request) for request in arrived] + ["unfinished" for _ in late]
        columns["reason"] = [self.failures.get(n, "") for n in range(len(arrived))] + ["" for _ in late]
        return columns

    def _status(self, request: Request) -> str:
        if request.number in self.failures:
            return "failed"
        return "finished" if request.generated == request.output_tokens else "unfinished"
