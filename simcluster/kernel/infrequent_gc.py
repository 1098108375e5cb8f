"""Less frequent garbage collection, for speed."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_ALLOCATIONS = 50_000


@contextmanager
def infrequent_gc() -> Iterator[None]:
    """
    Collect cycles once allocations exceed releases by 50,000; Python's default is 700.

    Simulations and imports create almost no cycles but many live objects, which every collection would traverse.
    """
    before = gc.get_threshold()
    gc.set_threshold(max(_ALLOCATIONS, before[0]) if before[0] else 0, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
