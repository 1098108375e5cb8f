"""`simcluster replay`: simulate scenarios and leave run folders."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from simcluster.cli.endings import ending_in
from simcluster.cli.many import bar, counted, playable, with_workers
from simcluster.cli.printed import print_json
from simcluster.cli.problems import told
from simcluster.cli.timeline import SLICES

if TYPE_CHECKING:
    from simcluster.scenario.resolved import Scenario

BESIDE = "timeline.json.gz"
"""Name of a timeline in the folder of its run."""


def _timeline_file(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """A stated file; a scenario in its place is told, since the option takes the next word for its value."""
    if value is None or value == BESIDE:
        return value
    try:
        ending_in("gz")(context, parameter, Path(value))
    except click.BadParameter as error:
        hint = "" if value.endswith(".gz") else "; a scenario goes before it"
        raise click.BadParameter(f"{error.message}{hint}") from None
    return value


@click.command()
@click.argument("scenarios", nargs=-1, required=True, metavar="SCENARIO...")
@click.option("-o", "--output", type=click.Path(file_okay=False, path_type=Path), default=Path("runs"),
              show_default=True, help="Folder for the run folders.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), help="Seed instead of the scenarios' own.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE",
              help="Change a key of every scenario, such as workload.requests=100.")  # fmt: skip
@click.option("--fidelity", type=click.Choice(["auto", "op", "message"]),
              help="How events are played; with auto and op the results are equal.")  # fmt: skip
@click.option("--seeds", type=click.IntRange(1, 10_000), metavar="N",
              help="Play each scenario under N successive seeds, with intervals over them.")  # fmt: skip
@with_workers
@click.option("--timeline", "timeline", is_flag=False, flag_value=BESIDE, metavar="[FILE]", callback=_timeline_file,
              help=f"Write the timeline too: {BESIDE} in the run's folder, or FILE, a name in .gz.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the summaries as one JSON document.")
@told
def replay(
    scenarios: tuple[str, ...],
    output: Path,
    seed: int | None,
    settings: tuple[str, ...],
    fidelity: str | None,
    seeds: int | None,
    jobs: int | None,
    scheduler: str | None,
    timeline: str | None,
    as_json: bool,
) -> int:
    """
    Simulate scenarios and leave a run folder for each.

    SCENARIO is a file, a resolved scenario of a former run, or the name of one that comes with simcluster
    (see `simcluster show scenarios`). A run folder holds tokens.parquet, requests.parquet, summary.json,
    scenario.resolved.yaml and provenance.json. With --seeds, a folder of run folders takes its place, with
    replications.json and replications.parquet beside them; what a killed command left there is taken up again.
    With --timeline, each run is played once more, watched, for what `simcluster timeline` writes of it.
    """
    from simcluster.results.run import record

    if timeline is not None and seeds is not None:
        raise click.UsageError("--timeline is of one run; with --seeds, `simcluster timeline` writes that of a seed")
    if timeline not in (None, BESIDE) and len(scenarios) > 1:
        several = f"is one file for {len(scenarios)} runs; without a FILE each run has {BESIDE} in its folder"
        raise click.UsageError(f"--timeline {timeline} {several}")
    if seeds is None and (jobs is not None or scheduler is not None):
        raise click.UsageError("--jobs and --scheduler go with --seeds")
    if fidelity == "message":  # needs the graph, which is part of a resolved scenario
        settings = (*settings, "fidelity=message")
    resolved = _load(scenarios, settings, seed)
    if fidelity is not None:
        resolved = [scenario.model_copy(update={"fidelity": fidelity}) for scenario in resolved]
    if seeds is not None:
        return _replicated(resolved, output, seeds, jobs, scheduler, as_json)
    folders = _folders(resolved, output)
    summaries = []
    for scenario, folder in zip(resolved, folders, strict=True):
        with _progress(scenario) as advance, playable(scenario.name):
            summaries.append(record(scenario, folder, advance))
    if as_json:
        print_json(summaries)
    else:
        from simcluster.cli.summary import print_summaries

        print_summaries(summaries, folders)
    if timeline is not None:
        for folder in folders:
            _write_timeline(folder, folder / BESIDE if timeline == BESIDE else Path(timeline), as_json)
    return 0


def _write_timeline(folder: Path, file: Path, as_json: bool) -> None:
    """What `simcluster timeline` writes of a run, and where it went."""
    from simcluster.timeline.write import write_timeline

    notice = write_timeline(folder, file, 0.0, None, SLICES)
    if notice is not None:
        click.echo(f"{notice}; `simcluster timeline {folder} --from` and --to choose a part", err=True)
    click.echo(f"timeline: {file}", err=as_json)


def _replicated(
    scenarios: list[Scenario], output: Path, n_seeds: int, jobs: int | None, scheduler: str | None, as_json: bool
) -> int:
    """Each scenario under several seeds."""
    from simcluster.results.replications import replicate

    summaries = []
    folders = _numbered(output, [f"{scenario.name}-seeds" for scenario in scenarios])
    for scenario, folder in zip(scenarios, folders, strict=True):
        with counted(scenario.name, n_seeds, "runs") as done, playable(scenario.name):
            summaries.append(replicate(scenario, n_seeds, folder, jobs, scheduler, done))
    if as_json:
        print_json(summaries)
    else:
        from simcluster.cli.intervals import print_replications

        print_replications(summaries, folders)
    return 0


def _load(scenarios: tuple[str, ...], settings: tuple[str, ...], seed: int | None) -> list[Scenario]:
    """All scenarios, or the problems of all."""
    from simcluster.files.problems import all_or_problems
    from simcluster.scenario.load import load

    return all_or_problems(lambda name: load(name, settings, seed), scenarios)


def _folders(scenarios: list[Scenario], output: Path) -> list[Path]:
    """One folder per run: name and seed, numbered when that is not enough."""
    return _numbered(output, [f"{scenario.name}-seed{scenario.seed}" for scenario in scenarios])


def _numbered(output: Path, names: list[str]) -> list[Path]:
    """Folders of these names, a number behind those that repeat."""
    folders: list[Path] = []
    for base in names:
        taken = sum(folder.name == base or folder.name.startswith(f"{base}.") for folder in folders)
        folders.append(output / (f"{base}.{taken + 1}" if taken else base))
    return folders


@contextmanager
def _progress(scenario: Scenario) -> Iterator[Callable[[int], None] | None]:
    """A progress bar over output tokens on a terminal; nothing in a pipe."""
    if not sys.stderr.isatty():
        yield None
        return
    from simcluster.scenario.requests import requests_of

    total = int(requests_of(scenario).output_tokens.sum())
    with bar("{task.completed:,} tokens") as shown:
        task = shown.add_task(scenario.name, total=total)
        yield lambda n_tokens: shown.advance(task, n_tokens)
