"""
Uniform draws by position: a stream of table indices, keyed by names and read by step.

Simulating a step again gives the same numbers, and adding a device or a source shifts no other's numbers. Each draw
uses 16 bits of a counter-based generator as one uniform and one look-up of a quantile table, see `noise.tables`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from simcluster.numerics.streams import stream

STEPS_PER_BLOCK = 512
"""Steps whose draws are generated at once."""
_WORDS_PER_COUNTER = 4  # a Philox 4x64 counter yields four 64-bit words


class Slices:
    """
    A stream of table indices by step: `at(step)` returns a row of `per_step` indices, always the same for a step.

    One block of steps is cached, because steps are nearly always read in order.
    """

    def __init__(self, per_step: int, seed: int, *names: str) -> None:
        self._per_step = per_step
        self._key = (seed, names)
        self._words = -(-per_step // 4)
        self._block = -1
        self._indices = np.empty((0, 0), np.uint16)
        self._generator: np.random.Philox | None = None
        self._next_block = 0
        """Number of the block that the generator yields next."""

    def at(self, step: int, n_steps: int = 1) -> npt.NDArray[np.uint16]:
        """Find the indices of successive steps, shape (n_steps, per_step)."""
        block, row = divmod(step, STEPS_PER_BLOCK)
        if block != self._block:
            self._indices, self._block = self.block(block), block
        found: npt.NDArray[np.uint16] = self._indices[row : row + n_steps]
        if len(found) == n_steps:
            return found
        return np.concatenate([found, self.at(step + len(found), n_steps - len(found))])

    def block(self, number: int) -> npt.NDArray[np.uint16]:
        """Find the indices of a whole block of steps, shape (STEPS_PER_BLOCK, per_step)."""
        return self.padded(number)[:, : self._per_step]

    def padded(self, number: int) -> npt.NDArray[np.uint16]:
        """Find the same, padded with unused columns to whole 64-bit words, so that the array is contiguous."""
        if self._generator is None or number < self._next_block:
            seed, names = self._key
            self._generator, self._next_block = stream(seed, *names), 0
        n_words = STEPS_PER_BLOCK * self._words
        if number > self._next_block:
            self._generator.advance((number - self._next_block) * n_words // _WORDS_PER_COUNTER)
        self._next_block = number + 1
        words = self._generator.random_raw(n_words)
        return words.astype("<u8", copy=False).view("<u2").reshape(STEPS_PER_BLOCK, -1)
