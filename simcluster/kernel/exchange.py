"""Exchanges of a stage as flows on the fabric, for links that others use too."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import simpy

from simcluster.kernel.clock import now
from simcluster.kernel.fabric import Fabric
from simcluster.plans.replica_plan import FlowLoad, FlowRound, Rounds
from simcluster.work.batch import Batch

Events = Generator[simpy.Event, Any, None]


class FlowExchange:
    """The exchanges of one stage on the fabric."""

    def __init__(self, env: simpy.Environment, fabric: Fabric, rounds: Rounds) -> None:
        self._env = env
        self._fabric = fabric
        self._rounds = rounds

    def simulate(self, op: int, batch: Batch) -> Events:
        """Process: the rounds of an exchange one after the other; interrupted, it takes its flows off the links."""
        return self._one_by_one(self._rounds(op, batch), None)

    def resume(self, op: int, batch: Batch, began: int) -> Events:
        """
        Process: the rest of an exchange that began at this tick and was alone on its links so far.

        What is on its way now is on the links when this returns, before anything else enters them.
        """
        rounds = self._rounds(op, batch)
        index, left, flows_began = self._place(rounds, began)
        if flows_began >= 0:
            under_way = _Flows(self._env, self._fabric, rounds[index].flows, flows_began)
            return self._one_by_one(rounds[index + 1 :], under_way)
        rest = [FlowRound(left, rounds[index].flows), *rounds[index + 1 :]] if index < len(rounds) else []
        return self._one_by_one(rest, None)

    def flow_since(self, op: int, batch: Batch, began: int) -> int:
        """When the flow began that an exchange, alone since it began, has on its links now; -1 without any."""
        return self._place(self._rounds(op, batch), began)[2]

    def _place(self, rounds: Sequence[FlowRound], began: int) -> tuple[int, int, int]:
        """
        Where an exchange is now that began then and was alone.

        Returns:
            The number of its round, what is left of the latency of that, and when its flows began; -1 before that.
        """
        at, instant = began, now(self._env)
        for index, (latency_ticks, loads) in enumerate(rounds):
            at += latency_ticks
            if instant < at:
                return index, min(latency_ticks, at - instant), -1
            end = at + max((self._fabric.alone_ticks(load) for load in loads), default=0)
            if instant < end:
                return index, 0, at
            at = end
        return len(rounds), 0, -1

    def _one_by_one(self, rounds: Sequence[FlowRound], under_way: _Flows | None) -> Events:
        """Process: wait for the flows under way, then go through the rounds."""
        if under_way is not None:
            yield from under_way.wait()
        for latency_ticks, loads in rounds:
            if latency_ticks:
                yield self._env.timeout(latency_ticks)
            if loads:
                yield from _Flows(self._env, self._fabric, loads).wait()


class _Flows:
    """Flows that were put on the links together; over when the last of them is."""

    def __init__(
        self, env: simpy.Environment, fabric: Fabric, loads: Sequence[FlowLoad], began: int | None = None
    ) -> None:
        self._fabric = fabric
        self._over = env.event()
        self._n_left = len(loads)
        if began is None:
            self._flows = fabric.start_together(loads, self._one_is_over)
        else:
            self._flows = [fabric.start(load, self._one_is_over, began) for load in loads]

    def _one_is_over(self) -> None:
        self._n_left -= 1
        if not self._n_left:
            self._over.succeed()

    def wait(self) -> Events:
        """Process: wait for the last of them; interrupted, take them off the links."""
        try:
            yield self._over
        except simpy.Interrupt:
            for flow in self._flows:
                self._fabric.cancel(flow)
            raise
