"""
The KV cache of a replica as a counter: how many blocks are free, and how many each request holds.

Blocks have no identity here, so nothing is matched or evicted; what is available is what is free.
"""

from __future__ import annotations

from simcluster.kernel.request import Request
from simcluster.policies.views import blocks_for


class KvCache:
    """KV blocks of `block_size` tokens, `n_blocks` of them."""

    __slots__ = ("available", "block_size", "n_blocks")

    def __init__(self, n_blocks: int, block_size: int) -> None:
        self.n_blocks = n_blocks
        self.block_size = block_size
        self.available = n_blocks
        """Blocks that can be taken; below 0 when more were given out than there are."""

    def can_hold(self, n_tokens: int) -> bool:
        """Whether there is room for `n_tokens` of one request when it is alone."""
        return blocks_for(n_tokens, self.block_size) <= self.n_blocks

    def grow(self, request: Request, n_tokens: int) -> None:
        """Compute `n_tokens` more of a request, whose entries take blocks."""
        request.computed += n_tokens
        needed = blocks_for(request.computed, self.block_size) - request.blocks
        request.blocks += needed
        self.available -= needed

    def take(self, n_blocks: int) -> None:
        """Take blocks for requests that decode together, whose own counts are brought up to date later."""
        self.available -= n_blocks

    def release(self, request: Request) -> None:
        """Give back all blocks of a request."""
        self.available += request.blocks
        request.blocks = 0

    def clear(self) -> None:
        """Lose all entries; the requests forget their blocks by themselves."""
        self.available = self.n_blocks


class Growth:
    """
    KV blocks that requests take which each get one token in every step.

    A request whose entries before step s are base + s in number takes a block in every step in which that is a
    multiple of the block size; so counting requests by base modulo block size says what any steps take.
    """

    def __init__(self, block_size: int) -> None:
        self._block_size = block_size
        self._n_requests = 0
        self._phases = [0] * block_size
        """Requests that take a block in the steps with this number, modulo the block size."""

    def add(self, first_step: int, count: int = 1) -> None:
        """Count a request in, or with -1 out, that takes a block in this step and every block size later."""
        self._phases[first_step % self._block_size] += count
        self._n_requests += count

    def blocks(self, step: int, n_steps: int) -> int:
        """Blocks that `n_steps` steps from this one on take."""
        size = self._block_size
        if n_steps == 1:
            return self._phases[step % size]
        rounds, rest = divmod(n_steps, size)
        phase = step % size
        more = sum(self._phases[phase : phase + rest]) + sum(self._phases[: max(0, phase + rest - size)])
        return rounds * self._n_requests + more

    def steps_within(self, step: int, max_steps: int, available: int) -> int:
        """Steps from this one on for which the available blocks last, at most `max_steps`."""
        if self._n_requests * (max_steps // self._block_size + 1) <= available:
            return max_steps  # no request takes more blocks than that
        if self.blocks(step, max_steps) <= available:
            return max_steps
        fits, exceeds = 0, max_steps
        while exceeds - fits > 1:
            middle = (fits + exceeds) // 2
            if self.blocks(step, middle) <= available:
                fits = middle
            else:
                exceeds = middle
        return fits
