"""
The KV cache of a replica as a counter of free blocks and of the blocks that each request holds.

Left out: block identity, hence prefix matching and eviction; the available blocks are the free ones.
"""

from __future__ import annotations

from simcluster.kernel.request import Request
from simcluster.policies.views import blocks_for


class KvCache:
    """A pool of `n_blocks` KV blocks of `block_size` tokens each."""

    __slots__ = ("available", "block_size", "n_blocks")

    def __init__(self, n_blocks: int, block_size: int) -> None:
        self.n_blocks = n_blocks
        self.block_size = block_size
        self.available = n_blocks
        """Free blocks; below 0 if more were allocated than exist."""

    def grow(self, request: Request, n_tokens: int) -> None:
        """Add `n_tokens` computed tokens to a request and allocate their blocks."""
        request.computed += n_tokens
        needed = blocks_for(request.computed, self.block_size) - request.blocks
        request.blocks += needed
        self.available -= needed

    def take(self, n_blocks: int) -> None:
        """Allocate blocks for a cohort, whose requests' own counts are updated later."""
        self.available -= n_blocks

    def release(self, request: Request) -> None:
        """Free all blocks of a request."""
        self.available += request.blocks
        request.blocks = 0

    def clear(self) -> None:
        """Free all blocks; the requests' own counts must be reset by the caller."""
        self.available = self.n_blocks


class Growth:
    """
    Counts the KV blocks that requests allocate while each gets one token per step.

    A request with base + s entries before step s allocates a block in every step in which that is a multiple of the
    block size. Counting requests by their phase modulo the block size thus gives the blocks of any range of steps.
    """

    def __init__(self, block_size: int) -> None:
        self._block_size = block_size
        self._n_requests = 0
        self._phases = [0] * block_size
        """Requests that allocate a block in step s, by s modulo block size."""

    def add(self, first_step: int, count: int = 1) -> None:
        """Add (or with count -1 remove) a request that allocates a block in this step and every block size later."""
        self._phases[first_step % self._block_size] += count
        self._n_requests += count

    def blocks(self, step: int, n_steps: int) -> int:
        """Blocks allocated in `n_steps` steps from this one on."""
        size = self._block_size
        if n_steps == 1:
            return self._phases[step % size]
        rounds, rest = divmod(n_steps, size)
        phase = step % size
        more = sum(self._phases[phase : phase + rest]) + sum(self._phases[: max(0, phase + rest - size)])
        return rounds * self._n_requests + more

    def steps_within(self, step: int, max_steps: int, available: int) -> int:
        """Number of steps from this one on for which the available blocks suffice, at most `max_steps`."""
        if self._n_requests * (max_steps // self._block_size + 1) <= available:
            return max_steps  # an upper bound of the blocks suffices
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
