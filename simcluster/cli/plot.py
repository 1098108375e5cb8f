"""`simcluster plot`: figures of runs, several overlaid."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from simcluster.cli.problems import report_problems
from simcluster.plots.formats import FORMATS


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(file_okay=False, path_type=Path), default=Path("plots"),
              show_default=True, help="Folder for the figures.")  # fmt: skip
@click.option("--format", "suffix", type=click.Choice(list(FORMATS)), default="svg", show_default=True)
@report_problems
def plot(runs: tuple[Path, ...], output: Path, suffix: Literal["svg", "png", "pdf"]) -> int:
    """
    Draw latency distributions, latency over time and components of runs.

    RUN is a run folder of `simcluster replay`. Several runs share the figures, so that they can be compared.
    """
    from simcluster.plots.latency import draw
    from simcluster.results.read_run import read_runs

    for file in draw(read_runs(runs), output, suffix):
        click.echo(str(file))
    return 0
