"""Random numbers keyed by names: each entity has streams of its own, so adding one shifts no other's draws."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from simcluster.numerics.arrays import Floats

_VERSION = b"simcluster-1"


class Seeds(int):
    """
    The seed of a run, and other seeds for single noise sources.

    It can be passed wherever a seed can: `stream` looks up the seed of the source. A source is named by itself, or
    with a device, `arrival_skew/gpu3`, where each device has streams of its own.
    """

    _of: Mapping[str, int]

    def __new__(cls, seed: int, of: Mapping[str, int]) -> Seeds:
        """Take the seed of the run, and other seeds by source."""
        new = super().__new__(cls, seed)
        new._of = of
        return new

    def of(self, source: str, device: str = "") -> int:
        """Find the seed of a source: that of its device, or else its own, or else that of the run."""
        return self._of.get(f"{source}/{device}", self._of.get(source, int(self)))


def stream(seed: int, *names: str) -> np.random.Philox:
    """
    Make the bit generator that belongs to a seed and a path of names.

    The key is a 128-bit blake2b hash of the seed and the names, each preceded by its length,
    so that ("ab", "c") and ("a", "bc") are different streams.

    Args:
        seed: of the run; any integer, or `Seeds`.
        names: from general to specific, such as "workload", "arrivals".

    Source:
        Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011 (Philox).
    """
    if isinstance(seed, Seeds):
        source, *rest = names[1:] if names[0] == "workload" else names
        seed = seed.of(source, rest[0] if rest else "")
    digest = blake2b(digest_size=16, person=_VERSION)
    for text in (str(seed), *names):
        part = text.encode()
        digest.update(len(part).to_bytes(8, "little") + part)
    return np.random.Philox(key=int.from_bytes(digest.digest(), "little"))


def uniforms(generator: np.random.Philox, n: int) -> Floats:
    """
    Draw the next `n` uniform numbers of a stream, shape (n,), inside (0, 1) with both ends excluded.

    They are made from raw 64-bit integers, which numpy keeps stable between versions, unlike its distributions.
    52 bits and a half: with 53 the largest would round to exactly 1, where inverse distributions are infinite.
    """
    raw: npt.NDArray[np.uint64] = generator.random_raw(n)
    return (np.asarray(raw >> np.uint64(12), dtype=np.float64) + 0.5) * 2.0**-52
