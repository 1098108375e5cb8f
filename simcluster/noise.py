"""
Noise worlds: every source is a function of (seed, source, entity name, step, op), not a sequence of draws.

A stream is keyed by names and read by position, so that playing a step again gives the same numbers, and adding a
device or a source shifts nobody else's. Each draw uses 16 bits of a counter-based generator as one uniform and one
look-up of a quantile table: the inverse CDF at the mid-points of 65,536 equal slices. The table cuts an exponential
at 11.8 means, which no measured figure here resolves.
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist
from typing import Annotated, Literal, get_args

import numpy as np
import numpy.typing as npt
from pydantic import Field

from simcluster.hardware import DeviceKind
from simcluster.quantities import Frozen
from simcluster.streams import stream
from simcluster.ticks import Ticks, array_to_ticks

DEVICE_KINDS: tuple[DeviceKind, ...] = get_args(DeviceKind)
SLICES = 2**16
STEPS_PER_BLOCK = 256
"""Steps whose draws are read at once."""
FACTOR_BITS = 16
"""Factors are whole numbers of 2^-16."""
_WORDS_PER_COUNTER = 4  # a Philox 4x64 counter yields four 64-bit words


class OpJitterRow(Frozen):
    """Lognormal factor with mean 1 on every op, common to the ranks of a group."""

    source: Literal["op_jitter"] = "op_jitter"
    device_kinds: tuple[DeviceKind, ...]
    cv: float
    basis: str


class ArrivalSkewRow(Frozen):
    """Exponential delay of every rank at every collective: the group waits for its last rank."""

    source: Literal["arrival_skew"] = "arrival_skew"
    device_kinds: tuple[DeviceKind, ...]
    mean_s: float
    basis: str


NoiseRow = Annotated[OpJitterRow | ArrivalSkewRow, Field(discriminator="source")]


class Noise(Frozen):
    """The sources of a world; `basis` of each row says where its numbers come from or that they are assumed."""

    name: str
    rows: tuple[NoiseRow, ...] = ()

    def on(self, kind: DeviceKind) -> bool:
        """Whether anything is drawn on a kind of device."""
        return self.op_jitter_cv(kind) > 0 or self.arrival_skew_s(kind) > 0

    def op_jitter_cv(self, kind: DeviceKind) -> float:
        """Coefficient of variation of an op's time on a kind of device; 0 without the source."""
        return next((r.cv for r in self.rows if isinstance(r, OpJitterRow) and kind in r.device_kinds), 0.0)

    def changed(self, op_jitter_cv: float | None, arrival_skew_s: float | None) -> Noise:
        """The same world with some sources as a scenario states them; a source that is new here is on all devices."""
        rows: list[OpJitterRow | ArrivalSkewRow] = []
        basis = "stated in the scenario"
        kinds = {row.source: row.device_kinds for row in self.rows}
        if op_jitter_cv is not None:
            devices = kinds.get("op_jitter", DEVICE_KINDS)
            rows.append(OpJitterRow(device_kinds=devices, cv=op_jitter_cv, basis=basis))
        if arrival_skew_s is not None:
            devices = kinds.get("arrival_skew", DEVICE_KINDS)
            rows.append(ArrivalSkewRow(device_kinds=devices, mean_s=arrival_skew_s, basis=basis))
        changed = {row.source for row in rows}
        return Noise(name=self.name, rows=(*(row for row in self.rows if row.source not in changed), *rows))

    def arrival_skew_s(self, kind: DeviceKind) -> float:
        """Mean delay of a rank at a collective on a kind of device; 0 without the source."""
        return next((r.mean_s for r in self.rows if isinstance(r, ArrivalSkewRow) and kind in r.device_kinds), 0.0)


def _mid_points() -> npt.NDArray[np.float64]:
    return (np.arange(SLICES) + 0.5) / SLICES


@lru_cache(maxsize=64)
def lognormal_factors(cv: float) -> Ticks:
    """
    Quantiles of a lognormal with mean 1 and this coefficient of variation, in units of 2^-16, shape (65536,).

    Whole numbers, so that sums of them are exact and a last-bit difference between mathematical libraries does not
    reach a trace.
    """
    variance = math.log1p(cv * cv)
    sigma = math.sqrt(variance)
    normal = NormalDist()
    quantiles = [math.exp(sigma * normal.inv_cdf(u) - variance / 2) for u in _mid_points().tolist()]
    factors: Ticks = np.rint(np.array(quantiles) * 2**FACTOR_BITS).astype(np.int64)
    return factors


@lru_cache(maxsize=64)
def exponential_ticks(mean_s: float) -> Ticks:
    """Quantiles of an exponential delay with this mean, in ticks, shape (65536,)."""
    return array_to_ticks(np.array([-mean_s * math.log1p(-u) for u in _mid_points().tolist()]))


class Slices:
    """
    A stream of table indices by step: `at(step)` gives a row of `per_step` indices, the same whenever it is asked.

    Keeps one block of steps at hand, because steps are asked for in order nearly always.
    """

    def __init__(self, per_step: int, seed: int, *names: str) -> None:
        self._per_step = per_step
        self._key = (seed, names)
        self._words = -(-per_step // 4)
        self._block = -1
        self._indices = np.empty((0, 0), np.uint16)
        self._generator: np.random.Philox | None = None
        self._next_block = 0
        """That the generator stands at."""

    def at(self, step: int, n_steps: int = 1) -> npt.NDArray[np.uint16]:
        """The indices of successive steps, shape (n_steps, per_step)."""
        block, row = divmod(step, STEPS_PER_BLOCK)
        if block != self._block:
            self._indices, self._block = self.block(block), block
        found: npt.NDArray[np.uint16] = self._indices[row : row + n_steps]
        if len(found) == n_steps:
            return found
        return np.concatenate([found, self.at(step + len(found), n_steps - len(found))])

    def block(self, number: int) -> npt.NDArray[np.uint16]:
        """The indices of a whole block of steps, shape (STEPS_PER_BLOCK, per_step)."""
        if self._generator is None or number < self._next_block:
            seed, names = self._key
            self._generator, self._next_block = stream(seed, *names), 0
        n_words = STEPS_PER_BLOCK * self._words
        if number > self._next_block:
            self._generator.advance((number - self._next_block) * n_words // _WORDS_PER_COUNTER)
        self._next_block = number + 1
        words = self._generator.random_raw(n_words)
        return words.astype("<u8", copy=False).view("<u2").reshape(STEPS_PER_BLOCK, -1)[:, : self._per_step]
