"""`simcluster report`: one page with everything about some runs."""

from __future__ import annotations

from pathlib import Path

import click

from simcluster.cli.endings import ending_in
from simcluster.cli.problems import told


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("report.html"),
              show_default=True, callback=ending_in("html", "htm"), help="File for the page.")  # fmt: skip
@click.option("--interactive", is_flag=True, help="Add zoom and hover to the pictures.")
@told
def report(runs: tuple[Path, ...], output: Path, interactive: bool) -> int:
    """
    Write a page that compares runs: figures, pictures, assumptions, provenance.

    RUN is a folder that `simcluster replay` left; the first is what the others are compared with. The page is one
    HTML file that fetches nothing, neither does the interactive one.
    """
    from simcluster.report.write import write

    write(runs, output, interactive=interactive)
    click.echo(str(output))
    return 0
