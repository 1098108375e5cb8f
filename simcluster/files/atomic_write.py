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
        OSError: the place cannot be written; with the name of the file, not of the one beside it.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name[:_LONGEST_NAME]}.", dir=path.parent)
    except OSError as error:
        raise _of(path, error) from None
    beside = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        beside.chmod(0o644)
        try:
            beside.replace(path)
        except OSError as error:
            raise _of(path, error) from None
    finally:
        beside.unlink(missing_ok=True)


def _of(path: Path, error: OSError) -> OSError:
    """The same error about this file."""
    return OSError(error.errno, error.strerror, str(path))
