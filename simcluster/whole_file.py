"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_LONGEST_NAME = 80
"""Characters of a file's name that the one beside it repeats."""


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """
    A file to write bytes to, beside its place; at the end it is renamed to it, replacing what was there.

    After an error nothing is left of it, and what was there stays.

    Raises:
        OSError: the place cannot be written.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name[:_LONGEST_NAME]}.", dir=path.parent)
    beside = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        beside.chmod(0o644)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
