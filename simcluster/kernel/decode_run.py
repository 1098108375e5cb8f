"""
A run of decode steps that one batch makes in a row, found at once.

While nobody joins and nobody leaves, the scheduler decides the same again and the contexts grow by a token a step.
What arrives meanwhile cuts the run at the end of the step that is being made then; steps that are over stand.
"""

from __future__ import annotations

import numpy as np

from simcluster.costs.batch import Batch
from simcluster.costs.service import RunModel
from simcluster.kernel.clock import MAX_TICK
from simcluster.kernel.request import Request
from simcluster.policies.schedulers import blocks_for
from simcluster.trace import N_KEYS, Block

MOST_STEPS = 512
"""Of one run, which bounds its memory."""


def n_steps(requests: list[Request], most_steps: int, free_blocks: int, block_size: int) -> int:
    """
    Steps until the first request gets its last token, until a KV block would be missing, or at most so many.

    At least one: the scheduler has already found room for the next step.
    """
    most = min(most_steps, min([request.output_tokens - request.generated for request in requests]))
    if len(requests) * blocks_for(most, block_size) <= free_blocks:
        return most  # nobody takes more than that
    if n_new_blocks(requests, most, block_size) <= free_blocks:
        return most
    fits, exceeds = 1, most
    while exceeds - fits > 1:
        middle = (fits + exceeds) // 2
        if n_new_blocks(requests, middle, block_size) <= free_blocks:
            fits = middle
        else:
            exceeds = middle
    return fits


def n_new_blocks(requests: list[Request], steps: int, block_size: int) -> int:
    """KV blocks that so many decode steps of these requests take."""
    return sum(blocks_for(request.computed + steps, block_size) - request.blocks for request in requests)


class DecodeRun:
    """The steps of a run, with the times at which they end; `n_steps` of them are still meant to be made."""

    def __init__(self, model: RunModel, first_step: int, started: int, requests: list[Request], steps: int) -> None:
        self.requests = requests
        self.started = started
        self.first_step = first_step
        self.n_steps = steps
        n_requests = len(requests)
        context = sum(request.computed + 1 for request in requests)
        batch = Batch(n_requests, context, outputs=n_requests, sequences=n_requests)
        self._components = model.run(first_step, batch, steps)  # (steps, components)
        if started + self._components.sum(dtype=np.float64) > MAX_TICK:
            raise OverflowError("simulated time passes 106 days, the most that a trace can hold")
        self.ends = started + np.cumsum(self._components.sum(axis=1))  # (steps,)

    @property
    def ends_at(self) -> int:
        """When the last step that is meant to be made ends."""
        return int(self.ends[self.n_steps - 1])

    def cut(self, tick: int) -> bool:
        """Stop after the step that is being made at this tick; whether that changes anything."""
        n_steps = int(np.searchsorted(self.ends, tick)) + 1
        is_shorter = n_steps < self.n_steps
        if is_shorter:
            self.n_steps = n_steps
        return is_shorter

    def over_before(self, tick: int) -> int:
        """How many of its steps end before this tick."""
        return min(int(np.searchsorted(self.ends, tick)), self.n_steps)

    def fill(self, rows: Block, steps: int, replica: int) -> None:
        """Write the token rows of the first steps, shape (steps * requests, columns), in the order of emission."""
        n_requests = len(self.requests)
        by_step = rows.reshape(steps, n_requests, rows.shape[1])
        number = np.arange(steps)
        by_step[:, :, 0] = [request.number for request in self.requests]
        by_step[:, :, 1] = number[:, None] + [request.generated for request in self.requests]
        by_step[:, :, 2] = replica
        by_step[:, :, 3] = self.first_step + number[:, None]
        by_step[:, :, 4] = n_requests
        by_step[:, :, 5] = self.ends[:steps, None]
        by_step[:, :, N_KEYS:] = self._components[:steps, None, :]
        for row, request in zip(by_step[0], self.requests, strict=True):
            if request.head_start is not None:
                row[N_KEYS:] += request.head_start
