"""`simcluster sweep`: one scenario at many points of a design."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from simcluster.cli.endings import writable_folder
from simcluster.cli.many import counted, with_workers
from simcluster.cli.printed import print_json
from simcluster.cli.problems import INPUT_ERROR, tell, told

if TYPE_CHECKING:
    from simcluster.sweeps.plan import Plan

MOST_TOLD = 20
"""Failed runs that are told one by one."""


@click.command()
@click.argument("sweep", metavar="SWEEP")
@click.option("-o", "--output", type=click.Path(file_okay=False, path_type=Path), default=Path("runs"),
              show_default=True, help="Folder for the sweep's folder.")  # fmt: skip
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE",
              help="Change a key of the base scenario, such as workload.requests=100.")  # fmt: skip
@click.option("--plot", type=click.Path(file_okay=False, path_type=Path), metavar="FOLDER",
              callback=writable_folder, help="Draw heat maps and the Pareto front into a folder too.")  # fmt: skip
@with_workers
@click.option("--json", "as_json", is_flag=True, help="Print the summary and all rows as one JSON document.")
@told
def sweep(
    sweep: str,
    output: Path,
    settings: tuple[str, ...],
    plot: Path | None,
    jobs: int | None,
    scheduler: str | None,
    as_json: bool,
) -> int:
    """
    Simulate a scenario at many points: grids, variants and samples over its keys.

    SWEEP is a file, or the name of a sweep that comes with simcluster (see `simcluster show sweeps`). Its folder
    NAME-sweep holds results.parquet with a row for each point, sweep.json, and the journal of all runs. The same
    command takes up what a killed one left there, and plays only what is missing. Points that cannot be, such as
    models that do not fit, are told with the reason; runs that fail do not stop the others.
    """
    from simcluster.sweeps.plan import read
    from simcluster.sweeps.record import plain, record

    plan = read(sweep, settings)
    folder = output / f"{plan.name}-sweep"
    with counted(plan.name, plan.n_possible, "runs") as done:
        summary, rows = record(plan, folder, jobs, scheduler, done)
    if as_json:
        print_json(summary | {"rows": [{name: plain(value) for name, value in row.items()} for row in rows]})
    else:
        from simcluster.cli.points import print_points

        print_points(plan, summary, rows)
    if plot is not None:
        from simcluster.plots.sweep import draw

        for file in draw(plan, rows, plot):
            click.echo(str(file), err=as_json)
    if not as_json:
        click.echo(f"sweep: {folder}")
    failed = summary["failed"]
    tell([_failure(plan, one, settings) for one in failed[:MOST_TOLD]])
    if len(failed) > MOST_TOLD:
        tell([f"… and {len(failed) - MOST_TOLD:,} more, see {folder / 'sweep.json'}"])
    return INPUT_ERROR if failed else 0


def _failure(plan: Plan, failed: dict[str, Any], settings: tuple[str, ...]) -> str:
    """A run that failed, and how to play it alone."""
    from simcluster.sweeps.plan import rate_text
    from simcluster.sweeps.spec import RATE_KEY
    from simcluster.sweeps.table import text

    values = dict(plan.file.set) | {s.key: s.value for s in plan.points[failed["point"]].point.settings}
    if failed["rate_req_per_s"] is not None:
        values[RATE_KEY] = rate_text(failed["rate_req_per_s"])
    said = [f"{key}={text(value)}" for key, value in values.items()]
    alone = ["simcluster", "replay", plan.base, "--seed", str(failed["seed"])]
    for setting in (*settings, *said):
        alone += ["--set", setting]
    return f"point {failed['point']}: failed: {failed['reason']}; alone: {shlex.join(alone)}"
