"""Random numbers keyed by names: who draws is written in the key, so nobody's draws shift when somebody is added."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

_VERSION = b"simcluster-1"

SOURCES = {
    "arrivals": "when requests come",
    "prompt_tokens": "how long their prompts are",
    "output_tokens": "how many tokens they ask for",
    "spread": "where in a step of a trace's clock they come",
    "events": "when events at random begin and end",
    "op_jitter": "how long each op takes",
    "arrival_skew": "how late each rank comes to a collective",
}
"""Everything that is drawn in a run, each from streams of its own."""
OF_DEVICES = ("op_jitter", "arrival_skew")
"""Sources with a stream for each device, which can be redrawn alone: `arrival_skew/gpu3`."""


def seed_of(seed: int, source_seeds: Mapping[str, int], source: str, device: str = "") -> int:
    """The seed of a source: its device's own, or else its own, or else that of the run."""
    return source_seeds.get(f"{source}/{device}", source_seeds.get(source, seed))


def stream(seed: int, *names: str) -> np.random.Philox:
    """
    The bit generator that belongs to a seed and a path of names.

    The key is a 128-bit blake2b hash of the seed and the names, each preceded by its length,
    so that ("ab", "c") and ("a", "bc") are different streams.

    Args:
        seed: of the run; any integer.
        names: from the general to the particular, such as "workload", "arrivals".

    Source:
        Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011 (Philox).
    """
    digest = blake2b(digest_size=16, person=_VERSION)
    for text in (str(seed), *names):
        part = text.encode()
        digest.update(len(part).to_bytes(8, "little") + part)
    return np.random.Philox(key=int.from_bytes(digest.digest(), "little"))


def uniforms(generator: np.random.Philox, n: int) -> npt.NDArray[np.float64]:
    """
    The next `n` uniform numbers of a stream, shape (n,), inside (0, 1) with both ends excluded.

    Taken from the raw 64-bit integers, because numpy keeps those stable between versions and its distributions not.
    52 bits and a half: with 53 the largest would round to exactly 1, where inverse distributions are infinite.
    """
    raw: npt.NDArray[np.uint64] = generator.random_raw(n)
    return (np.asarray(raw >> np.uint64(12), dtype=np.float64) + 0.5) * 2.0**-52
