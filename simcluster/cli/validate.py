"""`simcluster validate`: simulate measured runs, and report the errors."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from simcluster.cli.output_files import ending_in
from simcluster.cli.printing import bare_table, print_json
from simcluster.cli.problems import INPUT_ERROR, print_problems, report_problems
from simcluster.files.units import number
from simcluster.plots.formats import FORMATS

if TYPE_CHECKING:
    from simcluster.calibrate.runs.simulated import Outcome
    from simcluster.files.problems import Problem

SUITES = ("kernels", "collectives", "end-to-end", "wafer", "mlperf", "splitwise")


@click.command()
@click.option("--suite", type=click.Choice([*SUITES, "all"]), help="Measurements of a data folder, see --data.")
@click.option("--data", type=click.Path(path_type=Path), metavar="FOLDER",
              help="Measured tables, for every suite but wafer, whose numbers are part of simcluster.")  # fmt: skip
@click.option("--cases", "case_files", multiple=True, type=click.Path(path_type=Path), metavar="FILE.csv",
              help="Measured serving runs, one per row, columns as in docs/accuracy.md.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--plot", type=click.Path(path_type=Path), metavar="FILE.svg",
              callback=ending_in(*FORMATS), help="Draw predicted against measured.")  # fmt: skip
@click.option("--jobs", type=click.IntRange(1), default=None, help="Processes. Default: all cores.")
@report_problems
def validate(
    suite: str | None,
    data: Path | None,
    case_files: tuple[Path, ...],
    as_json: bool,
    plot: Path | None,
    jobs: int | None,
) -> int:
    """
    Compare simulations with measurements.

    A case with an unknown model, device or parallelism is skipped and listed; if none is left, the exit code is 2.
    Kernels, collectives and served runs of a data folder are judged on the half that was not used for the fit.
    """
    import os

    from simcluster.calibrate.runs.cases import tables
    from simcluster.files.problems import InputError, Problem

    if not suite and not case_files:
        raise click.UsageError("nothing to validate: give --suite, --cases or both")
    if suite not in (None, "wafer") and (data is None or not data.is_dir()):
        missing = "no --data" if data is None else f"no folder '{data}'"
        raise InputError([Problem("--data", 0, "", missing, "expected the folder of measured tables")])
    n_jobs = jobs or os.cpu_count() or 1
    found: dict[str, Any] = {}
    if case_files:
        found["cases"] = _cases(case_files, n_jobs)
    names = SUITES if suite == "all" else (suite,) if suite else ()
    measured = tables(data or Path())
    for name in names:
        found[name] = SUITE[name](measured, n_jobs)
    if plot is not None:
        _draw(found, plot)
    if as_json:
        whole = next(iter(found.values())) if len(found) == 1 else {"suites": found}
        print_json(whole)
    else:
        for name, part in found.items():
            if name != "cases" or part["cases"]:
                _print(name, part)
    if "cases" in found and not found["cases"]["cases"]:
        print_problems([_nothing_to_simulate(case_files, found["cases"]["skipped"]), *found["cases"]["skipped"]])
        return INPUT_ERROR
    return 0


def _nothing_to_simulate(files: Sequence[Path], skipped: Sequence[str]) -> Problem:
    from simcluster.files.problems import Problem

    found = f"none of {len(skipped):,} rows can be simulated" if skipped else "no rows"
    return Problem(", ".join(map(str, files)), 0, "", found, "expected a row for each measured run")


def _cases(files: Sequence[Path], jobs: int) -> dict[str, Any]:
    from simcluster.calibrate.runs.cases import read, unknown_columns
    from simcluster.calibrate.runs.error_table import document

    cases = [case for file in files for case in read(file)]
    print_problems(problem for file in files for problem in unknown_columns(file))
    return document(_simulated(cases, jobs))


def _simulated(cases: Sequence[Any], jobs: int) -> list[Outcome]:
    from simcluster.calibrate.runs.simulated import simulate_all

    if not sys.stderr.isatty():
        return simulate_all(cases, jobs)
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(file=sys.stderr), transient=True) as bar:
        task = bar.add_task("cases", total=len(cases))
        return simulate_all(cases, jobs, progress=lambda: bar.advance(task))


def _kernels(measured: Path, jobs: int) -> dict[str, Any]:
    from simcluster.calibrate.constants.kernels import judge
    from simcluster.catalog.calibration.gpu import shipped

    return {"rows": list(judge(shipped("h100-sxm"), measured / "kernels"))}


def _collectives(measured: Path, jobs: int) -> dict[str, Any]:
    from simcluster.calibrate.constants.collective_tables import SYSTEMS
    from simcluster.calibrate.constants.collectives import judge
    from simcluster.calibrate.constants.collectives import measured as tables_of
    from simcluster.catalog.calibration.collectives import fabric

    points = tables_of(measured / "collectives")
    return {"rows": [row for link in SYSTEMS for row in judge(fabric(link), points)]}


def _end_to_end(measured: Path, jobs: int) -> dict[str, Any]:
    """Judge the half of the served runs that the engines were not fitted to, and the other for comparison."""
    from simcluster.calibrate.constants.engines import fitted_half
    from simcluster.calibrate.runs.cases import read
    from simcluster.calibrate.runs.error_table import document

    cases = read(measured / "end_to_end" / "silicon_h100.csv")
    half = {case.line for case in fitted_half(cases)}
    outcomes = _simulated(cases, jobs)
    found = document([outcome for outcome in outcomes if outcome.case.line not in half])
    fitted = document([outcome for outcome in outcomes if outcome.case.line in half])
    return {**found, "fitted_half": {key: fitted[key] for key in ("cases", "tpot", "ttft")}}


def _wafer(measured: Path, jobs: int) -> dict[str, Any]:
    from simcluster.calibrate.runs.wafer_speeds import judge

    return {"rows": list(judge())}


def _mlperf(measured: Path, jobs: int) -> dict[str, Any]:
    from simcluster.calibrate.runs.mlperf import judge

    return {"rows": list(judge(measured / "end_to_end" / "mlperf_llama2_70b_h100.csv", jobs))}


def _splitwise(measured: Path, jobs: int) -> dict[str, Any]:
    from simcluster.calibrate.runs.error_table import statistics
    from simcluster.calibrate.runs.splitwise import MEASURED, judge

    rows = list(judge(measured / "end_to_end" / "splitwise_llama2_70b.csv"))
    errors = {
        key: statistics([row[f"{key}_err_pct"] / 100 for row in rows if f"{key}_err_pct" in row]) for key in MEASURED
    }
    return {**errors, "rows": rows}


SUITE: dict[str, Callable[[Path, int], dict[str, Any]]] = {
    "kernels": _kernels, "collectives": _collectives, "end-to-end": _end_to_end, "wafer": _wafer, "mlperf": _mlperf,
    "splitwise": _splitwise,
}  # fmt: skip


def _draw(found: dict[str, Any], path: Path) -> None:
    """Draw the serving runs among the results."""
    from simcluster.plots.predicted import predicted_against_measured

    rows = [row for name in ("cases", "end-to-end") for row in found.get(name, {}).get("rows", [])]
    if not rows and "cases" in found:
        return  # already reported
    if not rows:
        raise click.UsageError("--plot draws serving runs: give --cases, or --suite end-to-end")
    path.parent.mkdir(parents=True, exist_ok=True)
    predicted_against_measured(rows, path)


def _print(name: str, part: dict[str, Any]) -> None:
    """Print one suite as a table."""
    from rich.console import Console

    from simcluster.calibrate.runs.error_table import HEADER, summary_rows

    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else 200, highlight=False)
    console.print(f"{name}", style="bold")
    if "groups" in part:
        header: Sequence[str] = HEADER
        lines = [tuple(line) for line in summary_rows(part)]
    else:
        shown = [row for row in part["rows"] if "skipped" not in row]
        header = list(dict.fromkeys(key for row in shown for key in row))
        lines = [tuple(_text(row.get(key)) for key in header) for row in shown]
    table = bare_table()
    for index, column in enumerate(header):
        table.add_column(column, justify="left" if index == 0 else "right", overflow="fold")
    for line in lines:
        table.add_row(*line)
    console.print(table)
    skipped = [
        *part.get("skipped", []),
        *(f"{_name(row)}: {row['skipped']}" for row in part.get("rows", []) if "skipped" in row),
    ]
    for text in skipped:
        console.print(f"skipped {text}", markup=False, soft_wrap=True)
    console.print()


def _name(row: dict[str, Any]) -> str:
    return ", ".join(str(value) for key, value in row.items() if key != "skipped")


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return number(value) if isinstance(value, float) else str(value)
