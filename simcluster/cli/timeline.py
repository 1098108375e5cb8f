"""`simcluster timeline`: write a run's timeline for a trace viewer."""

from __future__ import annotations

from pathlib import Path

import click

from simcluster.cli.output_files import ending_in
from simcluster.cli.problems import report_problems

SLICES = 200_000
"""Default of --limit."""


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("timeline.json.gz"),
              callback=ending_in("gz"),
              show_default=True, help="File for the timeline.")  # fmt: skip
@click.option(
    "--from", "begin", default="0 s", show_default=True, metavar="TIME", help="Where it begins, such as '2.5 s'."
)
@click.option("--to", "end", metavar="TIME", help="Where it ends; by default with the run.")
@click.option("--limit", type=click.IntRange(1, 10_000_000), default=SLICES, show_default=True,
              help="Largest number of slices, about; a longer timeline is cut.")  # fmt: skip
@report_problems
def timeline(run: Path, output: Path, begin: str, end: str | None, limit: int) -> int:
    """
    Write a timeline of a run: lanes for requests, devices and links.

    RUN is a run folder of `simcluster replay`; its scenario is simulated once more. The file is gzipped JSON in
    Chrome's trace event format, for https://ui.perfetto.dev.
    """
    from simcluster.timeline.write import write_timeline

    from_s = _seconds(begin, "--from")
    to_s = None if end is None else _seconds(end, "--to")
    if to_s is not None and to_s <= from_s:
        raise click.BadParameter(f"'{end}' is not after '{begin}'", param_hint="--to")
    notice = write_timeline(run, output, from_s, to_s, limit)
    if notice is not None:
        click.echo(f"{notice}; --from and --to choose a part", err=True)
    click.echo(str(output))
    return 0


def _seconds(text: str, option: str) -> float:
    from simcluster.files.units import UnitError, parse

    try:
        seconds = parse(text, "time")
    except UnitError as error:
        raise click.BadParameter(str(error), param_hint=option) from None
    if not 0 <= seconds <= 100 * 86_400:
        raise click.BadParameter(f"'{text}' is not a time of a run", param_hint=option)
    return seconds
