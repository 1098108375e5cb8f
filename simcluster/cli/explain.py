"""`simcluster explain`: where the spread of latencies comes from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from simcluster.cli.many_runs import limits_reported, run_progress, with_workers
from simcluster.cli.output_files import writable_folder
from simcluster.cli.printing import print_json
from simcluster.cli.problems import report_problems

if TYPE_CHECKING:
    from simcluster.scenario.resolved import Scenario

SEEDS = 20


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--causal", is_flag=True, help="Exchange one source at a time; RUN may be a scenario then.")
@click.option("--seeds", type=click.IntRange(2, 10_000), metavar="N",
              help=f"Worlds that sources are exchanged in, with --causal.  [default: {SEEDS}]")  # fmt: skip
@click.option("--devices", "by_device", is_flag=True, help="Exchange the noise of each device alone too.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a key of the scenario.")
@click.option("--plot", type=click.Path(file_okay=False, path_type=Path), metavar="FOLDER",
              callback=writable_folder, help="Draw pictures of it into this folder.")  # fmt: skip
@with_workers
@click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON document.")
@report_problems
def explain(
    runs: tuple[str, ...],
    causal: bool,
    seeds: int | None,
    by_device: bool,
    settings: tuple[str, ...],
    plot: Path | None,
    jobs: int | None,
    scheduler: str | None,
    as_json: bool,
) -> int:
    """
    Explain where the spread of latencies comes from.

    RUN is a folder written by `simcluster replay`: of one run, or with --seeds of replications, which are explained
    together. For TTFT, TPOT, ITL and E2E the command prints the mean of each component, its exact share in the
    variance and in the worst values, and how the variance is divided among replications, requests and steps.

    Several runs are compared side by side: which ITL spreads most, from what, and what is assumed. The name of a
    scenario stands for a run of it, which is simulated first.

    With --causal, RUN is a scenario or a folder as above, and its scenario is simulated again in many worlds: in
    each, one source of randomness at a time is exchanged for that of another world, and the events of one device or
    link at a time are removed. This shows the effect of a source alone and with others, and the cost of a straggler.
    """
    if len(runs) > 1 and (causal or plot is not None):
        raise click.UsageError("--causal and --plot are for one run")
    what = runs[0]
    if causal and plot is not None:
        raise click.UsageError("--plot draws a run and does not go with --causal")
    if causal:
        return _causal(_scenario(what, settings), seeds or SEEDS, by_device, jobs, scheduler, as_json)
    if seeds is not None or by_device or settings or jobs is not None or scheduler is not None:
        raise click.UsageError("--seeds, --devices, --set, --jobs and --scheduler go with --causal")
    if len(runs) > 1:
        return _side_by_side(runs, as_json)
    from simcluster.results.read_run import require_scenarios
    from simcluster.results.replications import read_all
    from simcluster.variance.explain import explain as explained
    from simcluster.variance.explanation import explanation_as_json

    read = read_all(Path(what))
    require_scenarios(read)
    found = explained(read)
    if as_json:
        print_json(explanation_as_json(found))
    else:
        from simcluster.cli.shares import print_explanation

        print_explanation(found)
    if plot is not None:
        from simcluster.plots.explanation import draw_explanation

        for file in draw_explanation(read, found, plot, "svg"):
            click.echo(str(file), err=as_json)
    return 0


def _side_by_side(names: tuple[str, ...], as_json: bool) -> int:
    """Explain several runs; scenarios are simulated into a temporary folder."""
    from itertools import chain
    from tempfile import TemporaryDirectory

    from simcluster.files.source import is_folder
    from simcluster.results.read_run import require_scenarios
    from simcluster.results.replications import read_all
    from simcluster.results.run import record
    from simcluster.scenario.load import load
    from simcluster.variance.explain import explain as explained
    from simcluster.variance.explanation import explanation_as_json

    with TemporaryDirectory() as scratch:
        folders = []
        scenarios = {name: load(name) for name in names if not is_folder(name)}
        for name in names:
            folders.append(Path(name))
            if name in scenarios:
                folders[-1] = Path(scratch) / str(len(folders))
                with limits_reported(name):
                    record(scenarios[name], folders[-1])
        runs = [read_all(folder) for folder in folders]
        require_scenarios(chain.from_iterable(runs))
        found = [explained(some) for some in runs]
    if as_json:
        print_json([explanation_as_json(one) for one in found])
    else:
        from simcluster.cli.spreads import print_spreads

        print_spreads(found)
    return 0


def _causal(
    scenario: Scenario, n_seeds: int, by_device: bool, jobs: int | None, scheduler: str | None, as_json: bool
) -> int:
    """Simulate the scenario with parts of its world exchanged."""
    from simcluster.variance.what_if import n_runs, what_if, what_if_as_json

    n = n_runs(scenario, n_seeds, by_device)
    with run_progress(scenario.name, n, "runs") as done, limits_reported(scenario.name):
        found = what_if(scenario, n_seeds, by_device, jobs, scheduler, done)
    if as_json:
        print_json(what_if_as_json(found))
    else:
        from simcluster.cli.effects import print_effects

        print_effects(found)
    return 0


def _scenario(what: str, settings: tuple[str, ...]) -> Scenario:
    """The scenario of this name or file, or of this folder of a run or of replications."""
    from simcluster.files.source import is_folder
    from simcluster.results.replications import read_all
    from simcluster.results.run import RESOLVED
    from simcluster.scenario.load import load

    if not is_folder(what):
        return load(what, settings)
    run = read_all(Path(what))[0]
    return load(run.folder / RESOLVED, settings) if settings else run.scenario()
