"""`simcluster fit-noise`: fit a noise preset to measurements."""

from __future__ import annotations

from pathlib import Path

import click

from simcluster.cli.problems import report_problems

KINDS = ("ops", "collectives", "arrivals", "tokens")


@click.command("fit-noise")
@click.argument("tables", nargs=-1, required=True, metavar="KIND=TABLE...")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True,
              help="The preset to write; a scenario uses it with `noise: ./FILE.yaml`.")  # fmt: skip
@click.option("--devices", type=click.Choice(["gpu", "wafer", "lpu", "rdu"]), default="gpu", show_default=True,
              help="Kind of device that the preset is for.")  # fmt: skip
@report_problems
def fit_noise(tables: tuple[str, ...], output: Path, devices: str) -> int:
    """
    Fit noise sources to measured durations; write them as a preset, with the quality of the fit.

    Each TABLE is a CSV or Parquet file; the name of a column ends in its unit (_s, _ms, _us, _ns).
    KIND is what it holds:

    \b
    ops          duration_us; op, device, time_s if known: jitter, spread among devices, drift
    collectives  duration_us of one small exchange, repeated: its factor, shoulder and tail
    arrivals     collective, rank, arrived_us: how late ranks arrive
    tokens       request, time_s of every delivered token: pauses of the host
    """
    from simcluster.calibrate.noise import as_preset, fit, read_measured

    fits = {}
    for given in tables:
        kind, separator, name = given.partition("=")
        if not separator or kind not in KINDS:
            raise click.UsageError(f"'{given}': expected KIND=TABLE, KIND one of {', '.join(KINDS)}")
        found = fit(kind, read_measured(Path(name)), Path(name))
        fits[Path(name).name] = found
        click.echo(f"{name}: {', '.join(found.sources)}; {found.n_rows:,} rows, distance {found.distance:.3f}")
        for q, (measured, fitted) in found.quantiles.items():
            click.echo(f"  p{100 * q:g} {measured:.4g} measured, {fitted:.4g} fitted ({found.of})")
    output.write_text(as_preset(fits, devices), encoding="utf-8")
    click.echo(f"preset: {output}")
    return 0
