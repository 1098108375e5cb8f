"""Garbage collection at longer intervals."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_ALLOCATIONS = 50_000


@contextmanager
def infrequent_gc() -> Iterator[None]:
    """
    Collect cycles after 50,000 allocations more than releases, where Python does after 700.

    Simulations and imports make next to no cycles and many objects that stay, which each collection would go through.
    """
    before = gc.get_threshold()
    gc.set_threshold(max(_ALLOCATIONS, before[0]) if before[0] else 0, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
