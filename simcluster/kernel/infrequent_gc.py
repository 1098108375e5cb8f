"""How often Python looks for garbage while it works for us."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_ALLOCATIONS = 50_000


@contextmanager
def looked_for_seldom() -> Iterator[None]:
    """
    Look for cycles of garbage after 50,000 allocations more than releases, where Python does after 700.

    Simulations and imports make next to no cycles and many things that stay, which would be looked through each time.
    """
    before = gc.get_threshold()
    gc.set_threshold(max(_ALLOCATIONS, before[0]) if before[0] else 0, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
