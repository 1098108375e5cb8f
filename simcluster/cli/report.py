"""`simcluster report`: one HTML page about one or several runs."""

from __future__ import annotations

from pathlib import Path

import click

from simcluster.cli.output_files import ending_in
from simcluster.cli.problems import report_problems


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("report.html"),
              show_default=True, callback=ending_in("html", "htm"), help="File for the page.")  # fmt: skip
@click.option("--interactive", is_flag=True, help="Add zoom and hover to the figures.")
@report_problems
def report(runs: tuple[Path, ...], output: Path, interactive: bool) -> int:
    """
    Write a page that compares runs: tables, figures, assumptions, provenance.

    RUN is a run folder of `simcluster replay`; the others are compared with the first. The page is one HTML file that
    loads nothing from elsewhere, with --interactive too.
    """
    from simcluster.report.write import write

    write(runs, output, interactive=interactive)
    click.echo(str(output))
    return 0
