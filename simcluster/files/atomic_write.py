"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_MAX_NAME = 80
"""Characters of the file's name that the name of the temporary file repeats."""


@contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """
    Open a temporary file for bytes in the same folder, which replaces the file at `path` at the end.

    After an error the temporary file is removed and the file at `path` stays as it was.

    Raises:
        OSError: the file cannot be written; with its own name, not that of the temporary file.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name[:_MAX_NAME]}.", dir=path.parent)
    except OSError as error:
        raise _renamed(path, error) from None
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        temporary.chmod(0o644)
        try:
            temporary.replace(path)
        except OSError as error:
            raise _renamed(path, error) from None
    finally:
        temporary.unlink(missing_ok=True)


def _renamed(path: Path, error: OSError) -> OSError:
    """Make the same error name this file."""
    return OSError(error.errno, error.strerror, str(path))
