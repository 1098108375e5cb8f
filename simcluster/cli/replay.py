"""`simcluster replay`: simulate scenarios and write run folders."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from simcluster.cli.many_runs import limits_reported, progress_bar, run_progress, with_workers
from simcluster.cli.output_files import ending_in
from simcluster.cli.printing import print_json
from simcluster.cli.problems import report_problems
from simcluster.cli.timeline import SLICES

if TYPE_CHECKING:
    from simcluster.scenario.resolved import Scenario

RUN_TIMELINE = "timeline.json.gz"
"""The file name of a timeline in a run folder."""


def _timeline_file(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Check the file; hint at a scenario in its place, since the option takes the next word for its value."""
    if value is None or value == RUN_TIMELINE:
        return value
    try:
        ending_in("gz")(context, parameter, Path(value))
    except click.BadParameter as error:
        hint = "" if value.endswith(".gz") else "; a scenario goes before it"
        raise click.BadParameter(f"{error.message}{hint}") from None
    return value


class Options(NamedTuple):
    """The options of the command, as click parsed them."""

    output: Path
    seed: int | None
    settings: tuple[str, ...]
    fidelity: str | None
    seeds: int | None
    jobs: int | None
    scheduler: str | None
    timeline: str | None
    as_json: bool

    def require_consistent(self, n_scenarios: int) -> None:
        """Raise a UsageError for options that exclude each other."""
        if self.timeline is not None and self.seeds is not None:
            raise click.UsageError(
                "--timeline takes one run; with --seeds, `simcluster timeline` writes that of a seed"
            )
        if self.timeline not in (None, RUN_TIMELINE) and n_scenarios > 1:
            several = f"is one file for {n_scenarios} runs; without a FILE each run has {RUN_TIMELINE} in its folder"
            raise click.UsageError(f"--timeline {self.timeline} {several}")
        if self.seeds is None and (self.jobs is not None or self.scheduler is not None):
            raise click.UsageError("--jobs and --scheduler go with --seeds")


@click.command()
@click.argument("scenarios", nargs=-1, required=True, metavar="SCENARIO...")
@click.option("-o", "--output", type=click.Path(file_okay=False, path_type=Path), default=Path("runs"),
              show_default=True, help="Folder for the run folders.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), help="Seed instead of the scenarios' own.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE",
              help="Change a key of every scenario, such as workload.requests=100.")  # fmt: skip
@click.option("--fidelity", type=click.Choice(["auto", "op", "message"]),
              help="How finely events are simulated; auto and op give equal results.")  # fmt: skip
@click.option("--seeds", type=click.IntRange(1, 10_000), metavar="N",
              help="Simulate each scenario under N successive seeds, with intervals over them.")  # fmt: skip
@with_workers
@click.option("--timeline", is_flag=False, flag_value=RUN_TIMELINE, metavar="[FILE]", callback=_timeline_file,
              help=f"Write the timeline too: {RUN_TIMELINE} in the run's folder, or FILE, named *.gz.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the summaries as one JSON document.")
@report_problems
def replay(scenarios: tuple[str, ...], **given: Any) -> int:
    """
    Simulate scenarios and write a run folder for each.

    SCENARIO is a file, a resolved scenario of a former run, or the name of one that comes with simcluster
    (see `simcluster show scenarios`). A run folder holds tokens.parquet, requests.parquet, summary.json,
    scenario.resolved.yaml and provenance.json. With --seeds, a folder of run folders takes its place, with
    replications.json and replications.parquet next to them; an interrupted command is resumed there.
    With --timeline, each run is simulated once more to write what `simcluster timeline` writes.
    """
    options = Options(**given)
    options.require_consistent(len(scenarios))
    resolved = _load(scenarios, options)
    if options.seeds is not None:
        return _replicate(resolved, options.seeds, options)
    return _simulate(resolved, options)


def _simulate(scenarios: list[Scenario], options: Options) -> int:
    """Simulate each scenario once."""
    from simcluster.results.run import record

    folders = _folders(scenarios, options.output)
    summaries = []
    for scenario, folder in zip(scenarios, folders, strict=True):
        with _progress(scenario) as advance, limits_reported(scenario.name):
            summaries.append(record(scenario, folder, advance))
    if options.as_json:
        print_json(summaries)
    else:
        from simcluster.cli.summary import print_summaries

        print_summaries(summaries, folders)
    if options.timeline is not None:
        for folder in folders:
            file = folder / RUN_TIMELINE if options.timeline == RUN_TIMELINE else Path(options.timeline)
            _write_timeline(folder, file, options.as_json)
    return 0


def _write_timeline(folder: Path, file: Path, as_json: bool) -> None:
    """Write the timeline of a run, and print its place."""
    from simcluster.timeline.write import write_timeline

    notice = write_timeline(folder, file, 0.0, None, SLICES)
    if notice is not None:
        click.echo(f"{notice}; `simcluster timeline {folder} --from` and --to choose a part", err=True)
    click.echo(f"timeline: {file}", err=as_json)


def _replicate(scenarios: list[Scenario], n_seeds: int, options: Options) -> int:
    """Simulate each scenario under several seeds."""
    from simcluster.results.replications import replicate

    summaries = []
    folders = _numbered(options.output, [f"{scenario.name}-seeds" for scenario in scenarios])
    for scenario, folder in zip(scenarios, folders, strict=True):
        with run_progress(scenario.name, n_seeds, "runs") as done, limits_reported(scenario.name):
            summaries.append(replicate(scenario, n_seeds, folder, options.jobs, options.scheduler, done))
    if options.as_json:
        print_json(summaries)
    else:
        from simcluster.cli.intervals import print_replications

        print_replications(summaries, folders)
    return 0


def _load(scenarios: tuple[str, ...], options: Options) -> list[Scenario]:
    """Load all scenarios, or report the problems of all."""
    from simcluster.files.problems import all_or_problems
    from simcluster.scenario.load import load

    settings = options.settings
    if options.fidelity == "message":  # needs the graph, which is part of a resolved scenario
        settings = (*settings, "fidelity=message")
    resolved = all_or_problems(lambda name: load(name, settings, options.seed), scenarios)
    if options.fidelity is None:
        return resolved
    return [scenario.model_copy(update={"fidelity": options.fidelity}) for scenario in resolved]


def _folders(scenarios: list[Scenario], output: Path) -> list[Path]:
    """A folder for each run: name and seed, numbered where these repeat."""
    return _numbered(output, [f"{scenario.name}-seed{scenario.seed}" for scenario in scenarios])


def _numbered(output: Path, names: list[str]) -> list[Path]:
    """Folders of these names; those that repeat are numbered."""
    folders: list[Path] = []
    for base in names:
        taken = sum(folder.name == base or folder.name.startswith(f"{base}.") for folder in folders)
        folders.append(output / (f"{base}.{taken + 1}" if taken else base))
    return folders


@contextmanager
def _progress(scenario: Scenario) -> Iterator[Callable[[int], None] | None]:
    """Show a progress bar over output tokens on a terminal; nothing in a pipe."""
    if not sys.stderr.isatty():
        yield None
        return
    from simcluster.scenario.requests import requests_of

    total = int(requests_of(scenario).output_tokens.sum())
    with progress_bar("{task.completed:,} tokens") as shown:
        task = shown.add_task(scenario.name, total=total)
        yield lambda n_tokens: shown.advance(task, n_tokens)
