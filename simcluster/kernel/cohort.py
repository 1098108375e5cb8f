"""
Requests that decode together: each gets one token per step, so its state follows from the number of steps.

A request with `generated` tokens before step s has base s - generated; before any later step t it has t - base.
Only sums over all requests are maintained; a request's own state is not touched between joining and leaving.
"""

from __future__ import annotations

from heapq import heappop, heappush

import numpy as np

from simcluster.kernel.kv_cache import Growth
from simcluster.kernel.request import Request
from simcluster.numerics.ticks import TICKS_PER_S, Ticks
from simcluster.policies.views import RequestView, blocks_for


class Cohort:
    """Decoding requests in the order in which they joined."""

    def __init__(self, block_size: int) -> None:
        self._block_size = block_size
        self._clear()

    def _clear(self) -> None:
        self.requests: list[Request] = []
        self.growth = Growth(self._block_size)
        """Counts the KV blocks that each step allocates."""
        self._rows = np.empty((2, 16), np.int64)
        """Numbers and negated bases of the requests, shape (2, capacity)."""
        self._last_steps: list[tuple[int, int, Request]] = []
        """Heap of (steps completed when the request has its last token, order of joining, request)."""
        self._n_joined = 0
        self._known = 0
        """Sum over the requests of prompt tokens − base."""
        self._members: Ticks | None = None
        """Cached result of `members`; None after a request joined or left."""

    def __len__(self) -> int:
        return len(self.requests)

    def join(self, request: Request, step: int) -> None:
        """Add a request from this step on; its KV cache lacks its last token only."""
        base, n = step - request.generated, len(self.requests)
        self.requests.append(request)
        if n == self._rows.shape[1]:
            self._rows = np.concatenate([self._rows, np.empty_like(self._rows)], axis=1)
        self._rows[0, n], self._rows[1, n] = request.number, -base
        heappush(self._last_steps, (base + request.output_tokens, self._n_joined, request))
        self._n_joined += 1
        self._known += request.prompt_tokens - base
        self.growth.add(base + 1 - request.prompt_tokens)
        self._members = None

    def views(self, step: int) -> list[RequestView]:
        """What a scheduler sees of the requests before this step."""
        found = []
        for request, offset in zip(self.requests, self._rows[1].tolist(), strict=False):
            prompt_tokens, generated = request.prompt_tokens, step + offset
            computed = prompt_tokens + generated - 1
            blocks, arrived_s = blocks_for(computed, self._block_size), request.arrived / TICKS_PER_S
            found.append(RequestView(request.number, 1, computed, blocks, prompt_tokens, generated, arrived_s))
        return found

    def context(self, step: int) -> int:
        """Sum over the requests of the KV entries that each attends to in this step."""
        return self._known + len(self.requests) * step

    def last_step(self) -> int:
        """Number of steps completed when the first request has its last token."""
        return self._last_steps[0][0]

    def members(self) -> Ticks:
        """Numbers of the requests, and token index − step number of each, shape (2, requests)."""
        if self._members is None:
            self._members = self._rows[:, : len(self.requests)].copy()
        return self._members

    def pop_finished(self, step: int, tick: int) -> list[Request]:
        """Remove the requests that got their last token at this tick, after `step` steps."""
        finished = []
        while self._last_steps and self._last_steps[0][0] == step:
            request = heappop(self._last_steps)[2]
            place, n = self.requests.index(request), len(self.requests)
            base = -self._rows.item(1, place)
            del self.requests[place]
            self._rows[:, place : n - 1] = self._rows[:, place + 1 : n]
            self._known -= request.prompt_tokens - base
            self.growth.add(base + 1 - request.prompt_tokens, -1)
            self._bring_up_to_date(request, step - base, tick)
            finished.append(request)
        if finished:
            self._members = None
        return finished

    def dissolve(self, step: int, tick: int) -> None:
        """Remove all requests at this tick, after `step` steps."""
        for request, offset in zip(self.requests, self._rows[1].tolist(), strict=False):
            self._bring_up_to_date(request, step + offset, tick)
        self._clear()

    def _bring_up_to_date(self, request: Request, generated: int, tick: int) -> None:
        """Write the state into the request itself; its latest token came at this tick."""
        request.generated = generated
        request.computed = request.prompt_tokens + generated - 1
        request.blocks = blocks_for(request.computed, self._block_size)
        request.accounted = request.last_token = tick
