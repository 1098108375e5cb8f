"""The part of a run that a timeline shows: served steps, found by simulating it again, and recorded tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from simcluster.files.problems import InputError, Problem
from simcluster.kernel.simulate import run_scenario
from simcluster.kernel.watch import Served
from simcluster.results.read_run import Columns, RunFolder
from simcluster.scenario.resolved import Scenario
from simcluster.timeline.chrome import Events, Lane

_PER_STEP = 2
"""Slices of a step in addition to those of its devices: its exchange and its transfer."""


@dataclass(frozen=True, eq=False)
class Window:
    """A part of a run, bounded by time and by number of slices."""

    from_ticks: int
    until_ticks: int
    served: tuple[Served, ...]
    """In order of their ends."""
    tokens: Columns
    """Rows of the token table emitted in the window."""
    is_cut: bool
    """Whether it was cut because of its number of slices."""


class _Enough(Exception):
    """The window has ended."""


def window(run: RunFolder, scenario: Scenario, from_ticks: int, to_ticks: int | None, limit: int) -> Window:
    """
    Simulate a run again and keep the steps and tokens in a window.

    A trace records when tokens were emitted and not what each stage did, so the scenario is simulated from its start
    until the window ends, with an observer of stages.

    Args:
        run: as recorded.
        scenario: of the run.
        from_ticks: begin of the window.
        to_ticks: its end; None for the end of the run.
        limit: largest number of slices, about.

    Raises:
        InputError: the simulation differs from the recorded run.
    """
    served: list[Served] = []
    n_slices = 0
    is_cut = False

    def watch(one: Served) -> None:
        nonlocal n_slices, is_cut
        if one.ended < from_ticks:
            return
        if to_ticks is not None and one.began > to_ticks:
            raise _Enough
        n_slices += _slices(one, scenario)
        if n_slices > limit and served:
            is_cut = True
            raise _Enough
        served.append(one)

    alike = scenario.model_copy(update={"fidelity": "auto"}) if scenario.fidelity == "op" else scenario
    with suppress(_Enough):
        run_scenario(alike, [], watch)
    end = max(run.end_ticks, from_ticks)
    until = served[-1].ended if is_cut else end if to_ticks is None else min(to_ticks, end)
    tokens = _tokens(run, from_ticks, until)
    _require_same(run, scenario, served, tokens)
    return Window(from_ticks, until, tuple(served), tokens, is_cut)


def _slices(one: Served, scenario: Scenario) -> int:
    """The number of slices of a served step, including those of its tokens."""
    stages = scenario.replicas[one.replica].stages
    n_tokens = len(one.decoding) + len(one.finishing) if one.stage == len(stages) - 1 else 0
    return len(stages[one.stage].devices) * (1 + sum(map(bool, one.parts))) + _PER_STEP + n_tokens


def _tokens(run: RunFolder, from_ticks: int, until_ticks: int) -> Columns:
    """Rows of the token table emitted in a window; the file is in order of emission."""
    parts: list[Columns] = list(_within(run, from_ticks, until_ticks))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}


def _within(run: RunFolder, from_ticks: int, until_ticks: int) -> Iterator[Columns]:
    for block in run.tokens():
        emitted = block["emitted_at_ticks"]
        kept = (emitted >= from_ticks) & (emitted <= until_ticks)
        if kept.any():
            yield {name: column[kept] for name, column in block.items()}
        if emitted[0] > until_ticks:
            return


def _require_same(run: RunFolder, scenario: Scenario, served: list[Served], tokens: Columns) -> None:
    """Require that no recorded token precedes the end of its step in this simulation."""
    if not tokens:
        return
    ends = {
        (one.replica, one.step): one.ended
        for one in served
        if one.stage == len(scenario.replicas[one.replica].stages) - 1
    }
    rows = zip(*(tokens[name].tolist() for name in ("replica", "step", "emitted_at_ticks")), strict=True)
    if any(emitted < ends.get((replica, step), 0) for replica, step, emitted in rows):
        found = "the simulation differs from the recorded run"
        raise InputError([Problem(str(run.folder), 0, "", found, "use the version that wrote it, or run it again")])


def clipped(
    events: Events, shown: Window, lane: Lane, name: str, began: int, ended: int, args: Mapping[str, Any]
) -> None:
    """A slice clipped to the window."""
    began, ended = max(began, shown.from_ticks), min(ended, shown.until_ticks)
    if began < ended:
        events.slice(lane, name, began, ended, args)
