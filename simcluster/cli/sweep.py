"""`simcluster sweep`: simulate a scenario at many points of a design."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from simcluster.cli.many_runs import run_progress, with_workers
from simcluster.cli.output_files import writable_folder
from simcluster.cli.printing import print_json
from simcluster.cli.problems import INPUT_ERROR, print_problems, report_problems

if TYPE_CHECKING:
    from simcluster.sweeps.plan import Plan

MAX_LISTED = 20
"""Failed runs that are printed one by one."""


@click.command()
@click.argument("sweep", metavar="SWEEP")
@click.option("-o", "--output", type=click.Path(file_okay=False, path_type=Path), default=Path("runs"),
              show_default=True, help="Folder for the sweep's folder.")  # fmt: skip
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE",
              help="Change a key of the base scenario, such as workload.requests=100.")  # fmt: skip
@click.option("--plot", type=click.Path(file_okay=False, path_type=Path), metavar="FOLDER",
              callback=writable_folder, help="Draw heat maps and the Pareto front into this folder.")  # fmt: skip
@with_workers
@click.option("--json", "as_json", is_flag=True, help="Print the summary and all rows as one JSON document.")
@report_problems
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
    NAME-sweep holds results.parquet with a row for each point, sweep.json, and the journal of all runs. An
    interrupted sweep is resumed by the same command: only missing runs are simulated. Infeasible points, such as
    models that do not fit, are reported with the reason; failed runs do not stop the others.
    """
    from simcluster.sweeps.plan import read
    from simcluster.sweeps.record import plain, record

    plan = read(sweep, settings)
    folder = output / f"{plan.name}-sweep"
    with run_progress(plan.name, plan.n_feasible, "runs") as done:
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
    print_problems([_failure(plan, one, settings) for one in failed[:MAX_LISTED]])
    if len(failed) > MAX_LISTED:
        print_problems([f"… and {len(failed) - MAX_LISTED:,} more, see {folder / 'sweep.json'}"])
    return INPUT_ERROR if failed else 0


def _failure(plan: Plan, failed: dict[str, Any], settings: tuple[str, ...]) -> str:
    """Describe a failed run, with the command that simulates it alone."""
    from simcluster.sweeps.plan import rate_text
    from simcluster.sweeps.spec import RATE_KEY
    from simcluster.sweeps.table import text

    values = dict(plan.file.set) | {s.key: s.value for s in plan.points[failed["point"]].point.settings}
    if failed["rate_req_per_s"] is not None:
        values[RATE_KEY] = rate_text(failed["rate_req_per_s"])
    changes = [f"{key}={text(value)}" for key, value in values.items()]
    replay = ["simcluster", "replay", plan.base, "--seed", str(failed["seed"])]
    for setting in (*settings, *changes):
        replay += ["--set", setting]
    return f"point {failed['point']}: failed: {failed['reason']}; to reproduce: {shlex.join(replay)}"
