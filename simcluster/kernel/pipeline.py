"""
The pipeline of a replica: stages and the wires between them, played event by event or by their closed form.

Stages and wires are first-in first-out servers in a row; behind each wire comes its latency, the same for every step.
With services S and delays L behind them, the nth step leaves server i at
D[n, i] = max(D[n, i-1] + L[i-1], D[n-1, i]) + S[n, i]. Later steps cannot touch earlier ones, so the whole way is
known when a step enters. Measured from X[i] = sum of S[j] + L[j] over the servers before i, the start at server i is
the running maximum of the time of entry and of the previous departures less X: one `np.maximum.accumulate` for all
servers (Baccelli et al., Synchronization and Linearity, 1992).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import simpy

from simcluster.costs.service import StageModel
from simcluster.kernel.clock import NORMAL, after, now
from simcluster.kernel.stage import Stage
from simcluster.kernel.step import Step

Left = Callable[[Step], None]


@dataclass(frozen=True)
class Wire:
    """The way from one stage to the next: one step at a time is put on it, and arrives a latency later."""

    busy_ticks: Callable[[int], int]
    """How long a step of so many tokens takes to be put on it."""
    latency_ticks: int


class Pipeline(Protocol):
    """Stages in a row; calls back when a step leaves the first stage, and when it leaves the last."""

    @property
    def busy(self) -> bool:
        """Whether the first stage serves a step."""

    def enter(self, step: Step) -> None:
        """A step enters the first stage, which must be free."""


class Tandem:
    """A pipeline by its closed form: two events a step, one when there is a single stage."""

    def __init__(
        self,
        env: simpy.Environment,
        models: Sequence[StageModel],
        wires: Sequence[Wire],
        first_left: Left,
        last_left: Left,
    ) -> None:
        self._env = env
        self._first_left = first_left
        self._last_left = last_left
        self._busy = False
        self._ahead_has_prefill = False
        self._models = tuple(dict.fromkeys(models))
        self._model_of_stage = np.array([self._models.index(model) for model in models])
        self._stages_of_model = np.bincount(self._model_of_stage).tolist()
        self._wires = tuple(dict.fromkeys(wires))
        self._wire_of_hop = np.array([self._wires.index(wire) for wire in wires], np.intp)
        n_servers = 2 * len(models) - 1
        self._delays = np.zeros(n_servers, np.int64)
        self._delays[1::2] = [wire.latency_ticks for wire in wires]
        self._departures = np.zeros(n_servers, np.int64)

    @property
    def busy(self) -> bool:
        """Whether the first stage serves a step."""
        return self._busy

    def enter(self, step: Step) -> None:
        """Find the step's whole way, and come back when it leaves."""
        self._busy = True
        self._ahead_has_prefill, behind_prefill = step.has_prefill, self._ahead_has_prefill
        services = [model.service(step.number, step.batch) for model in self._models]
        for service, count in zip(services, self._stages_of_model, strict=True):
            step.serve(service, count)
        first = services[self._model_of_stage[0]]
        step.in_first_stage = first.components
        if len(self._model_of_stage) == 1:
            after(self._env, first.ticks, NORMAL, lambda: self._leave_both(step))
            return
        entered = now(self._env)
        ticks = np.empty_like(self._delays)
        ticks[0::2] = np.array([service.ticks for service in services])[self._model_of_stage]
        ticks[1::2] = np.array([wire.busy_ticks(step.batch.tokens) for wire in self._wires])[self._wire_of_hop]
        way = np.cumsum(ticks + self._delays) - ticks - self._delays  # X of the text above
        ahead = np.maximum.accumulate(np.maximum(self._departures - way, entered))
        self._departures = ahead + way + ticks
        waits = ahead - np.concatenate(([entered], ahead[:-1]))
        step.travel(int(ticks[1::2].sum() + self._delays.sum() + waits[1::2].sum()))
        step.wait(int(waits[0::2].sum()), behind_prefill=behind_prefill)
        after(self._env, int(self._departures[0]) - entered, NORMAL, lambda: self._leave_first(step))
        after(self._env, int(self._departures[-1]) - entered, NORMAL, lambda: self._last_left(step))

    def _leave_first(self, step: Step) -> None:
        self._busy = False
        self._first_left(step)

    def _leave_both(self, step: Step) -> None:
        self._leave_first(step)
        self._last_left(step)


class Chain:
    """A pipeline in which every stage is a process that plays its services event by event."""

    def __init__(
        self,
        env: simpy.Environment,
        models: Sequence[StageModel],
        wires: Sequence[Wire],
        first_left: Left,
        last_left: Left,
    ) -> None:
        self._env = env
        self._wires = wires
        self._free_at = [0] * len(wires)
        self._first_left = first_left
        self._last_left = last_left
        self._stages = [Stage(env, model, self._leaver(index)) for index, model in enumerate(models)]

    @property
    def busy(self) -> bool:
        """Whether the first stage serves a step."""
        return self._stages[0].busy

    def enter(self, step: Step) -> None:
        """A step enters the first stage."""
        self._stages[0].arrive(step)

    def _leaver(self, index: int) -> Left:
        """What happens when a step leaves stage `index`."""

        def leave(step: Step) -> None:
            if index == 0:
                step.in_first_stage = list(step.for_prefill)
                self._first_left(step)
            if index == len(self._stages) - 1:
                self._last_left(step)
            else:
                self._cross(step, index)

        return leave

    def _cross(self, step: Step, index: int) -> None:
        """The step goes over a wire, after those that are on it."""
        left = now(self._env)
        wire = self._wires[index]
        self._free_at[index] = max(left, self._free_at[index]) + wire.busy_ticks(step.batch.tokens)
        ticks = self._free_at[index] + wire.latency_ticks - left
        step.travel(ticks)
        after(self._env, ticks, NORMAL, lambda: self._stages[index + 1].arrive(step))
