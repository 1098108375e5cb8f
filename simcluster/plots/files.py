"""Write figures into a folder, a file each."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from matplotlib.figure import Figure

from simcluster.plots.save import save
from simcluster.plots.sheet import plain_style


def save_all(
    figures: Iterable[tuple[str, Figure | None]], folder: Path, format: Literal["svg", "png", "pdf"]
) -> list[Path]:
    """
    Draw figures into files `<name>.<format>`, replacing those of the same names.

    Args:
        figures: by name; each is made in turn, in matplotlib's default style, and None is left out.
        folder: created if missing.
        format: of the files.

    Returns:
        The files written.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with plain_style():
        for name, figure in figures:
            if figure is not None:
                path = folder / f"{name}.{format}"
                save(figure, path)
                written.append(path)
    return written
