"""Write the report of run folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from simcluster.files.atomic_write import atomic_write
from simcluster.report.page import page
from simcluster.report.reported_run import read_all
from simcluster.variance.explain import explain


def write(folders: Sequence[str | Path], file: Path, *, interactive: bool = False) -> None:
    """
    Write the report of some run folders, replacing a file of that name.

    Args:
        folders: at least one.
        file: where; its folder is made if it does not exist.
        interactive: with zoom and hover.

    Raises:
        InputError: with the faults of all runs; then nothing is written.
        OSError: the place cannot be written.
    """
    runs = read_all(folders)
    text = page(runs, [explain([one.run]) for one in runs], interactive=interactive)
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(file) as written:
        written.write(text.encode())
