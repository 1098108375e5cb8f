"""Read a sweep file and resolve all of its points, so that every error is reported before anything is simulated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath

from simcluster.catalog import entries
from simcluster.files import source
from simcluster.files.problems import Impossible, InputError, Problem, nearest
from simcluster.files.source import MAX_PROBLEMS, Document, Given, Path
from simcluster.files.validation import validate
from simcluster.scenario import files as scenarios
from simcluster.scenario.files import with_settings, with_value
from simcluster.scenario.resolved import Scenario
from simcluster.scenario.resolver import Resolver
from simcluster.sweeps import columns, design
from simcluster.sweeps.design import Point
from simcluster.sweeps.files import find
from simcluster.sweeps.spec import MAX_POINTS, RATE_KEY, Capacity, SweepFile

MAX_RUNS = 100_000
"""Points times seeds."""


@dataclass(frozen=True)
class Planned:
    """A point and its scenario under the first seed, or the reason why it is infeasible."""

    point: Point
    scenario: Scenario | None
    reason: str = ""


@dataclass(frozen=True)
class Plan:
    """A sweep ready to be simulated."""

    name: str
    base: str
    """The base scenario as the file names it, for a command line."""
    file: SweepFile
    points: tuple[Planned, ...]

    @property
    def n_feasible(self) -> int:
        """The number of feasible points."""
        return sum(planned.scenario is not None for planned in self.points)


def read(file: str, settings: Sequence[str] = ()) -> Plan:
    """
    Read a sweep and resolve all of its points.

    Args:
        file: a sweep file, or the name of a sweep that comes with simcluster.
        settings: changes of the base scenario as on the command line, but not of keys of the design.

    Raises:
        InputError: with every error of the sweep, of its base scenario, and of the values it sets.
    """
    path = find(file)
    document = source.read(path)
    sweep = validate(document, SweepFile)
    problems = [*(document.problem(*fault) for fault in design.faults(sweep)), *_size_problems(document, sweep)]
    has_points = not problems
    problems += [*_column_problems(document, sweep), *_setting_problems(sweep, settings)]
    points: tuple[Planned, ...] = ()
    base_path = FilePath()
    try:
        base, base_path = _base(document, sweep, settings)
        if has_points:
            points = tuple(_resolved(document, sweep, base, base_path))
            problems += _missing(document, sweep, points)
    except InputError as error:
        problems += error.problems
    if problems:
        raise InputError(problems)
    return Plan(path.stem, _shown_base(sweep, base_path), sweep, points)


def _base(document: Document, sweep: SweepFile, settings: Sequence[str]) -> tuple[Document, FilePath]:
    """The base scenario with the settings for all points, and its path."""
    at: Path = ("scenario",)
    try:
        named = FilePath(sweep.scenario)
        is_file = named.suffix in (".yaml", ".yml", ".json")
        path = document.folder(at) / named if is_file else scenarios.find(sweep.scenario)
        base = source.read(path)
    except InputError as error:
        raise InputError(
            problem if problem.line else document.problem(at, problem.found, problem.expected)
            for problem in error.problems
        ) from None
    if isinstance(base.data, dict) and "format" in base.data:
        found = "a resolved scenario"
        raise InputError([document.problem(at, found, "name the scenario it came from: its keys can be changed")])
    for key, value in sweep.set.items():
        base = with_value(base, tuple(key.split(".")), value, Given(document, ("set", key)))
    return with_settings(base, settings), path


def _shown_base(sweep: SweepFile, path: FilePath) -> str:
    return str(path) if FilePath(sweep.scenario).suffix else sweep.scenario


def _size_problems(document: Document, sweep: SweepFile) -> Iterator[Problem]:
    n_points = design.n_points(sweep.design)
    if n_points > MAX_POINTS:
        yield document.problem(("design",), f"{n_points:,} points", f"at most {MAX_POINTS:,} are allowed")
    elif n_points * sweep.seeds > MAX_RUNS:
        found = f"{n_points:,} points under {sweep.seeds:,} seeds"
        yield document.problem(("seeds",), found, f"at most {MAX_RUNS:,} runs are allowed")


def _column_problems(document: Document, sweep: SweepFile) -> Iterator[Problem]:
    """Errors in the columns of the front, and in the devices with prices."""
    known = (*columns.HIGHER, *columns.LOWER)
    absent = dict(columns.absent(sweep))
    for place, name in enumerate(sweep.pareto or ()):
        at: Path = ("pareto", place)
        if name not in known:
            yield document.problem(at, f"no column '{name[:60]}'", _hint(name, known))
        elif name in absent:
            yield document.problem(
                at, f"'{name}' without '{absent[name]}'", f"give '{absent[name]}', or leave it out"
            )
        elif name in (sweep.pareto or ())[:place]:
            yield document.problem(at, f"'{name}' again", "expected each column once")
    for device in sweep.cost.per_device_hour if sweep.cost else ():
        try:
            entries.device(device)
        except entries.UnknownName as error:
            yield document.problem(("cost", "per_device_hour", device), error.found, error.expected)


def _hint(name: str, known: Sequence[str]) -> str:
    hint = nearest(name, known)
    return hint if hint.startswith("did") else "expected a figure such as p99_ttft_ms, output_throughput, power_w"


def _setting_problems(sweep: SweepFile, settings: Sequence[str]) -> Iterator[Problem]:
    """Settings of the command line that the design would override."""
    keys = sweep.design.keys | ({RATE_KEY} if sweep.capacity is not None else set())
    for setting in settings:
        key = setting.partition("=")[0]
        if any(other == key or key.startswith(f"{other}.") for other in keys):
            yield Problem("--set", 0, key[:80], "a key of the design", "change it in the sweep file")


def _resolved(document: Document, sweep: SweepFile, base: Document, path: FilePath) -> Iterator[Planned]:
    """Every point with its scenario, or all errors that do not depend on combinations of values."""
    problems: dict[Problem, None] = {}
    for point in design.points(sweep.design):
        try:
            yield _point(document, sweep.capacity, base, path, point)
        except InputError as error:
            problems |= dict.fromkeys(error.problems)
            if len(problems) >= MAX_PROBLEMS:
                break
    if problems:
        raise InputError(problems)


def _point(document: Document, capacity: Capacity | None, base: Document, path: FilePath, point: Point) -> Planned:
    """
    Resolve the scenario of a point, at the lowest rate of a capacity search.

    Raises:
        InputError: a value is wrong in any combination.
    """
    for setting in point.settings:
        base = with_value(base, setting.path, setting.value, Given(document, setting.at))
    try:
        if capacity is None:
            return Planned(point, Resolver(base, path).scenario())
        key = tuple(RATE_KEY.split("."))
        ends = [
            Resolver(with_value(base, key, rate_text(rate), Given(document, ("capacity", end))), path).scenario()
            for end, rate in (("high", capacity.high), ("low", capacity.low))
        ]
        return Planned(point, ends[-1])
    except Impossible as error:
        return Planned(point, None, " · ".join(f"{p.found}; {p.expected}" for p in error.problems))


def rate_text(rate_req_per_s: float) -> str:
    """A rate as text in a scenario."""
    return f"{rate_req_per_s:.{design.DIGITS}g} req/s"


def at_rate(scenario: Scenario, rate_req_per_s: float) -> Scenario:
    """The scenario with another arrival rate, in the same world."""
    arrivals = scenario.workload["arrivals"] | {"rate": rate_text(rate_req_per_s)}
    return scenario.model_copy(update={"workload": scenario.workload | {"arrivals": arrivals}})


def _missing(document: Document, sweep: SweepFile, points: Sequence[Planned]) -> Iterator[Problem]:
    """Errors for missing prices and missing limits."""
    scenarios = [planned.scenario for planned in points if planned.scenario is not None]
    if sweep.cost is not None:
        for device in dict.fromkeys(name for scenario in scenarios for name in scenario.device_names):
            if device not in sweep.cost.per_device_hour:
                at: Path = ("cost", "per_device_hour")
                yield document.problem(at, f"no price of '{device}'", "expected a price for every device in use")
    needs_limits = sweep.capacity is not None or columns.ATTAINMENT in columns.objectives(sweep)
    if needs_limits and any(not scenario.limits_ms for scenario in scenarios):
        at = ("capacity",) if sweep.capacity is not None else ("pareto",)
        yield document.problem(at, "a scenario without limits", "expected 'slo' in the base scenario, or in 'set'")


def seeded(scenario: Scenario, seed: int) -> Scenario:
    """The scenario under another seed."""
    return scenario.model_copy(update={"seed": seed})
