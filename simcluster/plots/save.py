"""Write figures reproducibly: equal figures give equal bytes."""

from __future__ import annotations

import io
from contextlib import AbstractContextManager
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from simcluster.files.atomic_write import atomic_write
from simcluster.plots.formats import FORMATS

_PNG_DOTS_PER_INCH = 150


def save(figure: Figure, path: Path) -> None:
    """
    Write a figure as SVG, PNG or PDF, depending on the suffix.

    Neither time nor software version is written. The file is written under a temporary name and then renamed.

    Raises:
        ValueError: another suffix.
        OSError: the place cannot be written.
    """
    form = path.suffix.removeprefix(".").lower()
    if form not in FORMATS:
        known = ", ".join(f".{name}" for name in FORMATS)
        raise ValueError(f"'{path.name}' ends in '{path.suffix}'; expected one of {known}")
    with atomic_write(path) as file, _same_ids():
        figure.savefig(file, format=form, dpi=_PNG_DOTS_PER_INCH, metadata=FORMATS[form])


def svg(figure: Figure) -> str:
    """The SVG text of a figure, as `save` writes it."""
    written = io.BytesIO()
    with _same_ids():
        figure.savefig(written, format="svg", metadata=FORMATS["svg"])
    return written.getvalue().decode()


def _same_ids() -> AbstractContextManager[None]:
    """Names inside an SVG depend on its content only."""
    return matplotlib.rc_context({"svg.hashsalt": "simcluster"})
