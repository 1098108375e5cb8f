"""Write a report so that it appears whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from simcluster.report.page import page
from simcluster.report.told import read_all


def write(folders: Sequence[str | Path], file: Path, *, interactive: bool = False) -> None:
    """
    Write the report of some run folders, replacing a former file of that name.

    Args:
        folders: at least one.
        file: where; its folder is made if it is not there.
        interactive: with zoom and hover.

    Raises:
        InputError: with what is wrong with any of the runs; then nothing is written.
        OSError: the place cannot be written.
    """
    text = page(read_all(folders), interactive=interactive)
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, beside = tempfile.mkstemp(prefix=f".{file.name[:80]}.", dir=file.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as written:
            written.write(text)
        Path(beside).chmod(0o644)
        Path(beside).replace(file)
    finally:
        Path(beside).unlink(missing_ok=True)
