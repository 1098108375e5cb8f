"""
The steps of a run that made tokens: how many of each size, and a sample of them in bounded memory.

The trace has a row for each token; rows of one step follow one another, but for the end of a block of rows, so that a
step may lie in two blocks.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from simcluster.noise.slices import STEPS_PER_BLOCK
from simcluster.numerics.ticks import Ticks
from simcluster.results.read_run import Columns, RunFolder

MAX_SAMPLED = 2**13
"""Steps of a sample, of all replicas together."""
SIZES_PER_OCTAVE = 16
"""Sizes between a number of tokens and twice as many: steps of one size differ too little to use other algorithms."""
_MAX_SIZE = 2**16
_MAX_STRIDE = 2**40


class Steps(NamedTuple):
    """Steps of one replica."""

    numbers: Ticks
    """Ascending, shape (steps,)."""
    ends: Ticks
    """When their first token was emitted, shape (steps,)."""


class Sample(NamedTuple):
    """Blocks of successive steps of one replica at equal distances."""

    steps: Ticks
    """Numbers and ends, shape (2, steps)."""
    stride: int
    """Distance of the blocks, in blocks."""

    def at_most(self, most: int) -> Sample:
        """A sample of at most `most` steps: the distance of its blocks is doubled as often as needed."""
        steps, stride = self
        while steps.shape[1] > most and stride < _MAX_STRIDE:
            stride *= 2
            steps = _every(steps, stride)
        return Sample(steps, stride)


class SizeOfSteps(NamedTuple):
    """Steps of about the same number of tokens."""

    replica: int
    n_steps: int
    """A step that lies in two blocks of rows counts as two small ones."""
    n_tokens: int
    """Sum over these steps; a whole prompt counts at the step of its first token."""
    n_outputs: int
    """Tokens made."""


class StepSummary(NamedTuple):
    """The steps of a run."""

    n_steps: int
    samples: dict[int, Sample]
    """Keyed by replica, ascending."""
    sizes: list[SizeOfSteps]
    """Sorted by replica and number of tokens."""

    def sample(self, most: int) -> dict[int, Steps]:
        """At most that many steps of each replica, keyed by replica."""
        return {replica: Steps(*one.at_most(most).steps) for replica, one in self.samples.items()}


class StepCounter:
    """Counts the steps of a run from its token rows, block by block."""

    columns = ("request", "token", "replica", "step", "emitted_at_ticks")

    def __init__(self, run: RunFolder) -> None:
        self._prompts = run.requests["prompt_tokens"]
        n_replicas = int(run.requests["replica"].max(initial=0)) + 1
        self._most = max(MAX_SAMPLED // n_replicas, STEPS_PER_BLOCK)
        self._n_steps = 0
        self._last = np.full((2, 1), -1)
        self._parts: dict[int, list[Ticks]] = {}
        self._strides: dict[int, int] = {}
        self._sums: Counter[tuple[int, int, int]] = Counter()

    def add(self, block: Columns) -> None:
        """Count a block of rows."""
        rows = np.stack([block["replica"], block["step"], block["emitted_at_ticks"]])
        changes = np.any(np.diff(rows[:2], axis=1, prepend=self._last) != 0, axis=0)
        self._add_to_sample(rows[:, changes])
        self._last = rows[:2, -1:]
        changes[0] = True
        starts = np.flatnonzero(changes)
        tokens = np.where(block["token"] == 0, self._prompts[block["request"]], 1)
        self._add_sizes(rows[0, starts], np.add.reduceat(tokens, starts), np.diff(starts, append=len(tokens)))

    def _add_to_sample(self, steps: Ticks) -> None:
        """Sample new steps, given as replica, number and end, shape (3, steps)."""
        self._n_steps += steps.shape[1]
        for replica in np.unique(steps[0]).tolist():
            parts, stride = self._parts.setdefault(replica, []), self._strides.setdefault(replica, 1)
            parts.append(_every(steps[1:, steps[0] == replica], stride))
            if sum(part.shape[1] for part in parts) > self._most:
                sample = Sample(np.hstack(parts), stride).at_most(self._most)
                self._parts[replica], self._strides[replica] = [sample.steps], sample.stride

    def _add_sizes(self, replicas: Ticks, n_tokens: Ticks, n_outputs: Ticks) -> None:
        """Count steps by size, given as replica, tokens and outputs, shape (steps,) each."""
        sizes = np.rint(np.log2(n_tokens) * SIZES_PER_OCTAVE).astype(np.int64)
        keys, places = np.unique(replicas * _MAX_SIZE + sizes, return_inverse=True)
        columns = np.bincount(places), np.bincount(places, n_tokens), np.bincount(places, n_outputs)
        for place, column in enumerate(columns):
            for key, value in zip(keys.tolist(), column.tolist(), strict=True):
                self._sums[*divmod(key, _MAX_SIZE), place] += int(value)

    def summary(self) -> StepSummary:
        """The steps counted so far."""
        samples = {
            replica: Sample(np.hstack(parts), self._strides[replica])
            for replica, parts in sorted(self._parts.items())
        }
        keys = sorted({key[:2] for key in self._sums})
        sizes = [SizeOfSteps(key[0], *(self._sums[*key, place] for place in range(3))) for key in keys]
        return StepSummary(self._n_steps, samples, sizes)


_KEPT: WeakKeyDictionary[RunFolder, StepSummary] = WeakKeyDictionary()


def step_summary(run: RunFolder) -> StepSummary:
    """
    The steps of a run, from a pass over its tokens unless one was made before.

    Raises:
        InputError: the token table is damaged.
    """
    if run not in _KEPT:
        counter = StepCounter(run)
        for block in run.tokens(counter.columns):
            counter.add(block)
        keep(run, counter)
    return _KEPT[run]


def keep(run: RunFolder, counter: StepCounter) -> None:
    """Keep what was counted in a pass over all tokens of a run, as long as the run folder is in use."""
    _KEPT[run] = counter.summary()


def _every(steps: Ticks, stride: int) -> Ticks:
    """The steps in blocks whose number is a multiple of `stride`; rows are step numbers and ends, shape (2, n)."""
    return steps[:, steps[0] // STEPS_PER_BLOCK % stride == 0]
