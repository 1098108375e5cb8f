"""`simcluster check`: find errors in scenarios, topologies, sweeps and finished runs."""

from __future__ import annotations

from pathlib import Path

import click

from simcluster.cli.problems import INPUT_ERROR, VIOLATION, print_problems


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a key of every scenario.")
def check(files: tuple[str, ...], settings: tuple[str, ...]) -> int:
    """
    Report every error in scenarios, topologies, sweeps or runs, with file and line.

    FILE is a scenario (by path or by name), a topology file, a sweep file, or a run folder. A scenario is resolved as
    far as possible: names, units, whether the model fits; so is every point of a sweep. A run is checked against the
    named invariants, and so is every run in a folder of replications.
    """
    from simcluster.catalog.entries import UnknownName
    from simcluster.files.problems import InputError

    worst = 0
    for file in files:
        try:
            violations = _check(file, settings)
        except InputError as error:
            print_problems(error.problems)
            worst = max(worst, INPUT_ERROR)
        except UnknownName as error:
            print_problems([f"{file}: {error}"])
            worst = max(worst, INPUT_ERROR)
        else:
            print_problems(f"{file}: {violation}" for violation in violations)
            if violations:
                worst = VIOLATION
            else:
                click.echo(f"{file}: ok")
    return worst


def _check(file: str, settings: tuple[str, ...]) -> list[str]:
    """Check one file or folder; returns the invariants that a run violates."""
    from simcluster.files import source

    if source.is_folder(file):
        from simcluster.results.invariants import check_run
        from simcluster.results.replications import run_folders

        return [str(violation) for run in run_folders(Path(file)) for violation in check_run(run)]
    from simcluster.scenario.files import find
    from simcluster.scenario.load import load

    path = find(file)
    document = source.read(path)
    if isinstance(document.data, dict) and "model" not in document.data and _is_topology(document.data):
        from simcluster.topology.read import from_document

        from_document(document)
    elif isinstance(document.data, dict) and "design" in document.data:
        from simcluster.sweeps.plan import read

        read(file, settings)
    else:
        load(file, settings)
    return []


def _is_topology(data: dict[str, object]) -> bool:
    return any(key in data for key in ("generate", "nodes", "parts", "import"))
