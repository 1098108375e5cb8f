"""`simcluster fit`: fit calibration files to measured tables."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from simcluster.cli.problems import report_problems


@click.command()
@click.option("--data", required=True, type=click.Path(path_type=Path), metavar="FOLDER",
              help="Folder of kernels, collectives and end_to_end; may be below `measured`.")  # fmt: skip
@click.option("-o", "--output", type=click.Path(file_okay=False, path_type=Path), default=Path("calibration"),
              show_default=True, help="Folder for the calibration files.")  # fmt: skip
@click.option("--jobs", type=click.IntRange(1), default=None, help="Processes. Default: all cores.")
@report_problems
def fit(data: Path, output: Path, jobs: int | None) -> int:
    """
    Fit the constants of devices, links, engines and wafers to measured tables.

    Writes a calibration file for each, as simcluster ships them; equal tables give equal bytes. Fitting takes some
    minutes, most of them for the served runs.
    """
    import os

    from simcluster.calibrate.constants.calibration_files import fit as fit_files
    from simcluster.files.problems import InputError, Problem

    if not data.is_dir():
        raise InputError([Problem(str(data), 0, "", "no such folder", "expected the folder of measured tables")])
    files = fit_files(data, jobs or os.cpu_count() or 1, lambda text: click.echo(f"fitting {text}", file=sys.stderr))
    output.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        path = output / f"{name}.yaml"
        path.write_text(text, encoding="utf-8", newline="\n")
        click.echo(str(path))
    return 0
