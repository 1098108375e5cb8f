"""
A pipeline by its closed form: stages and the wires between them.

Stages and wires are first-in first-out servers in a row; behind each wire comes its latency, the same for every step.
With services S, delays L behind them and times O after which a server takes the next step, the nth step starts at
server i at B[n, i] = max(B[n, i-1] + S[n, i-1] + L[i-1], B[n-1, i] + O[n-1, i]), and leaves no server before the step
ahead of it does. Later steps cannot touch earlier ones, so the whole way is known when a step enters. Measured from
X[i] = sum of S[j] + L[j] over the servers before i, the start at server i is the running maximum of the time of entry
and of what the steps ahead allow, less X: one `np.maximum.accumulate` for all servers (Baccelli et al.,
Synchronization and Linearity, 1992).
"""

from __future__ import annotations

from operator import mul
from typing import NamedTuple

import numpy as np
import simpy

from simcluster.kernel.clock import NORMAL, after, now
from simcluster.kernel.stage import Left, occupied_components
from simcluster.kernel.step import Step
from simcluster.numerics.ticks import MAX_TICK, Ticks
from simcluster.plans.replica_plan import PipelinePlan
from simcluster.stages.timed import Service


class Passage(NamedTuple):
    """A step on its way through a pipeline in closed form."""

    step: Step
    entered: int
    behind_prefill: bool
    """The step ahead carries prompts."""
    services: list[Service]
    """By kind of stage."""
    on_wires: list[int]
    """Ticks by kind of wire."""
    starts: Ticks | None
    """At each server; None of a step that waits nowhere."""


class Tandem:
    """
    A pipeline by its closed form: two events a step, one when there is a single stage.

    A step that enters when all others are through waits nowhere: its way is a sum over the kinds of servers. When it
    leaves each of them is found only if another one enters before it is through.
    """

    def __init__(self, env: simpy.Environment, plan: PipelinePlan, freed: Left, left: Left) -> None:
        self._env = env
        self._freed = freed
        self._left = left
        self._overlaps = False
        """Whether a stage has taken a step before it let the one ahead go."""
        self._set_plan(plan)
        self._empty()

    def _set_plan(self, plan: PipelinePlan) -> None:
        """Number the kinds of servers, of which many are alike."""
        models, wires = plan.stages, plan.wires
        self._models = tuple(dict.fromkeys(models))
        self._wires = tuple(dict.fromkeys(wires))
        self._kind = np.empty(2 * len(models) - 1, np.intp)
        """Of each server in order: the number of its model, or behind the models' that of its wire."""
        self._kind[0::2] = [self._models.index(model) for model in models]
        self._kind[1::2] = [len(self._models) + self._wires.index(wire) for wire in wires]
        counts = np.bincount(self._kind, minlength=len(self._models) + len(self._wires)).tolist()
        self._n_stages, self._n_wires = counts[: len(self._models)], counts[len(self._models) :]
        """Of each model, of each wire."""
        self._delays = np.zeros(len(self._kind), np.int64)
        self._delays[1::2] = [wire.latency_ticks for wire in wires]
        self._latency = sum(wire.latency_ticks for wire in wires)

    def _empty(self) -> None:
        """Be without steps."""
        self._busy = False
        self._ahead_has_prefill = False
        self._bounds = np.zeros(len(self._kind), np.int64)
        """Before when the next step cannot start at each server."""
        self._departures = self._bounds
        """When the last step leaves each server."""
        self._ahead: tuple[int, list[Service], list[int]] | None = None
        """Entry, services and times on wires of the last step if it waits nowhere; its bounds are not known yet."""
        self._empty_at = 0
        """When the last step is through."""

    @property
    def busy(self) -> bool:
        """Whether the first stage serves a step."""
        return self._busy

    def enter(self, step: Step) -> None:
        """Find the step's whole way, and come back when it leaves."""
        self._busy = True
        self._ahead_has_prefill, behind_prefill = step.has_prefill, self._ahead_has_prefill
        services = [model.service(step.number, step.batch, step.entered) for model in self._models]
        for service, count in zip(services, self._n_stages, strict=True):
            step.serve(service, count)
        first = services[self._kind.item(0)]
        self._overlaps = self._overlaps or any(service.occupied_ticks is not None for service in services)
        if not self._wires and not self._overlaps:
            step.in_first_stage = first.components
            after(self._env, first.ticks, NORMAL, lambda: self._leave_only_stage(step))
            return
        entered, starts = now(self._env), None
        on_wires = [wire.busy_ticks(step.batch.tokens) for wire in self._wires]
        travelled = sum(map(mul, self._n_wires, on_wires)) + self._latency
        ticks = sum(map(mul, self._n_stages, [service.ticks for service in services])) + travelled
        if entered >= self._empty_at:
            self._ahead = entered, services, on_wires
        elif ticks <= MAX_TICK:  # else the clock refuses it below
            starts, waited, waited_for_wires = self._follow(entered, services, on_wires)
            step.wait(waited - waited_for_wires, behind_prefill=behind_prefill)
            travelled += waited_for_wires
            ticks += waited
        step.travel(travelled)
        self._empty_at = entered + ticks
        occupied, step.in_first_stage = first.ticks, first.components
        if first.occupied_ticks is not None:
            occupied = first.occupied_ticks
            step.in_first_stage = occupied_components(first.components, occupied)
        self._set_out(Passage(step, entered, behind_prefill, services, on_wires, starts), occupied, ticks)

    def _set_out(self, passage: Passage, occupied: int, ticks: int) -> None:
        """Come back when the first stage can take the next step, and when this one leaves."""
        after(self._env, occupied, NORMAL, lambda: self._free(passage.step))
        after(self._env, ticks, NORMAL, lambda: self._left(passage.step))

    def _follow(self, entered: int, services: list[Service], on_wires: list[int]) -> tuple[Ticks, int, int]:
        """Let a step enter behind others: its starts, how long it waits, and how long of that for wires."""
        if self._ahead is not None:
            earlier, of_stages, of_wires = self._ahead
            ticks, occupied, way = self._times(of_stages, of_wires)
            self._bound(earlier + way, ticks, occupied, np.zeros_like(ticks))
            self._ahead = None
        ticks, occupied, way = self._times(services, on_wires)
        starts = np.maximum(self._bounds - way, entered)  # less X of the text above
        np.maximum.accumulate(starts, out=starts)
        waited, waited_for_wires = starts.item(-1) - entered, int((starts[1::2] - starts[:-1:2]).sum())
        starts += way
        self._bound(starts, ticks, occupied, self._departures)
        if occupied is not None:  # steps that are over wait in their stage for the one ahead to leave it
            held = self._departures - starts - ticks
            waited += held.item(-1)
            waited_for_wires -= int(held[:-1:2].sum())
        return starts, waited, waited_for_wires

    def _bound(self, starts: Ticks, ticks: Ticks, occupied: Ticks | None, ahead: Ticks) -> None:
        """Find when the step that starts so lets the next one start; `ahead` is when the step ahead departs."""
        self._bounds = self._departures = starts + ticks
        if occupied is not None:
            self._departures = np.maximum(self._departures, ahead)
            self._bounds = starts + occupied
            arrivals = (self._departures + self._delays)[:-1]
            np.maximum(self._bounds[1:], arrivals, out=self._bounds[1:])

    def _times(self, services: list[Service], on_wires: list[int]) -> tuple[Ticks, Ticks | None, Ticks]:
        """S, O and X of the text above, shape (servers,) each; no O where it is S."""
        of_kind = [service.ticks for service in services] + on_wires
        ticks = np.array(of_kind, np.int64)[self._kind]
        occupied = None
        if self._overlaps:
            of_kind = [s.ticks if s.occupied_ticks is None else s.occupied_ticks for s in services] + on_wires
            occupied = np.array(of_kind, np.int64)[self._kind]
        way = np.zeros_like(ticks)
        np.cumsum((ticks + self._delays)[:-1], out=way[1:])
        return ticks, occupied, way

    def change(self, plan: PipelinePlan) -> None:
        """Not for this pipeline, whose steps are known to their ends: no event concerns it."""
        raise AssertionError("a pipeline in closed form cannot change")

    def clear(self) -> None:
        """Likewise."""
        raise AssertionError("a pipeline in closed form cannot lose its steps")

    def _free(self, step: Step) -> None:
        self._busy = False
        self._freed(step)

    def _leave_only_stage(self, step: Step) -> None:
        self._free(step)
        self._left(step)
