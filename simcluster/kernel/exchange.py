"""Exchanges (collectives) of a stage as flows on the fabric, for shared links."""

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
    """
    The exchanges of one stage on the fabric.

    Args:
        env: the clock.
        fabric: the links.
        rounds: gives the rounds of an exchange (latency, then concurrent flows) by op and batch.
    """

    def __init__(self, env: simpy.Environment, fabric: Fabric, rounds: Rounds) -> None:
        self._env = env
        self._fabric = fabric
        self._rounds = rounds

    def simulate(self, op: int, batch: Batch) -> Events:
        """SimPy process: the rounds of an exchange one after the other; an interrupt cancels its flows."""
        return self._one_by_one(self._rounds(op, batch), None)

    def resume(self, op: int, batch: Batch, began: int) -> Events:
        """
        SimPy process: the rest of an exchange that began at tick `began` and was alone on its links so far.

        Its current flows are on the fabric when this call returns, before another flow can enter the links.
        """
        rounds = self._rounds(op, batch)
        index, left, flows_began = self._place(rounds, began)
        if flows_began >= 0:
            under_way = _Flows(self._env, self._fabric, rounds[index].flows, flows_began)
            return self._one_by_one(rounds[index + 1 :], under_way)
        rest = [FlowRound(left, rounds[index].flows), *rounds[index + 1 :]] if index < len(rounds) else []
        return self._one_by_one(rest, None)

    def flow_since(self, op: int, batch: Batch, began: int) -> int:
        """Tick at which the current flows of an exchange began, if it was alone so far; -1 without flows."""
        return self._place(self._rounds(op, batch), began)[2]

    def _place(self, rounds: Sequence[FlowRound], began: int) -> tuple[int, int, int]:
        """
        Locate the current round of an exchange that began at tick `began` and was alone so far.

        Returns:
            Index of the round, ticks left of its latency, and the tick at which its flows began (-1 before that).
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
        """SimPy process: wait for the flows under way, then simulate the rounds."""
        if under_way is not None:
            yield from under_way.wait()
        for latency_ticks, loads in rounds:
            if latency_ticks:
                yield self._env.timeout(latency_ticks)
            if loads:
                yield from _Flows(self._env, self._fabric, loads).wait()


class _Flows:
    """Flows that started together; over when the last of them is."""

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
        """SimPy process: wait for the last of them; an interrupt cancels them."""
        try:
            yield self._over
        except simpy.Interrupt:
            for flow in self._flows:
                self._fabric.cancel(flow)
            raise
