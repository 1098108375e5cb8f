"""`simcluster compare`: report whether a change makes latencies worse, or which of several systems is best."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from simcluster.cli.many_runs import limits_reported, run_progress, with_workers
from simcluster.cli.output_files import writable
from simcluster.cli.outputs import Outputs, report_comparison, report_ranking
from simcluster.cli.problems import report_problems

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simcluster.comparison.side import Side
    from simcluster.scenario.gates import Gate

REGRESSION, INCONCLUSIVE = 1, 3


def _looks(_: click.Context, __: click.Parameter, value: str | None) -> tuple[int, ...]:
    """Parse `20`, or `20,40` for several."""
    if value is None:
        return ()
    parts = value.split(",")
    if not all(
        part.isascii() and part.isdigit() and 1 <= len(part) <= 5 and 1 <= int(part) <= 10_000 for part in parts
    ):
        raise click.BadParameter("expected numbers from 1 to 10000, such as 20 or 20,40")
    return tuple(int(part) for part in parts)


class Options(NamedTuple):
    """The options of the command, as click parsed them."""

    settings: tuple[str, ...]
    base_set: tuple[str, ...]
    candidate_set: tuple[str, ...]
    seed: int | None
    looks: tuple[int, ...]
    alpha: float | None
    fail_if: tuple[str, ...]
    gates_file: Path | None
    inconclusive: str | None
    rank: str | None
    indifference: float | None
    jobs: int | None
    scheduler: str | None
    as_json: bool
    junit: Path | None
    markdown: Path | None
    github: bool
    update_baseline: bool

    @property
    def outputs(self) -> Outputs:
        """Where the result goes."""
        return Outputs(self.as_json, self.junit, self.markdown, self.github)

    def require_consistent(self, n_candidates: int) -> None:
        """Raise a UsageError for options that exclude each other."""
        if (self.rank is not None or self.update_baseline) and self.outputs.of_gates:
            raise click.UsageError(
                "--junit, --markdown and --github report gates, which --rank and --update-baseline do not judge"
            )
        if self.indifference is not None and self.rank is None:
            raise click.UsageError("--indifference goes with --rank")
        judging = (self.rank, self.alpha, self.inconclusive) != (None, None, None)
        if self.update_baseline and (n_candidates > 1 or self.base_set or self.as_json or judging):
            raise click.UsageError(
                "--update-baseline judges nothing: expected one candidate, --set, --seed and gates"
            )

    def gates(self) -> tuple[Gate, ...] | None:
        """The gates of the command line; None without any."""
        from simcluster.comparison.read import parse_gates, read_gates
        from simcluster.scenario.gates import last_of_each

        if self.gates_file is None and not self.fail_if:
            return None
        from_file = read_gates(self.gates_file) if self.gates_file is not None else ()
        return last_of_each([*from_file, *parse_gates(self.fail_if, "--fail-if")])

    def simulate(self, sides: Sequence[Side], n_worlds: int) -> list[Side]:
        """Simulate what sides lack to `n_worlds`, with a progress bar on a terminal."""
        from simcluster.comparison.looks import n_runs
        from simcluster.comparison.worlds import simulate_worlds

        with run_progress(sides[0].name, n_runs(sides, n_worlds), "runs") as done, limits_reported(sides[0].name):
            return simulate_worlds(sides, n_worlds, self.jobs, self.scheduler, done)

    def exit_code(self, verdict: str) -> int:
        """The exit code for a verdict."""
        if verdict == "INCONCLUSIVE":
            return {None: INCONCLUSIVE, "pass": 0, "fail": REGRESSION}[self.inconclusive]
        return REGRESSION if verdict == "FAIL" else 0


@click.command()
@click.argument("base")
@click.argument("candidates", nargs=-1, required=True, metavar="CANDIDATE...")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a key of every scenario.")
@click.option("--base-set", multiple=True, metavar="KEY=VALUE", help="Change a key of BASE alone.")
@click.option("--candidate-set", multiple=True, metavar="KEY=VALUE", help="Change a key of the candidates alone.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), help="First seed instead of the scenarios' own.")
@click.option("--seeds", "looks", callback=_looks, metavar="N[,N...]",
              help="Worlds to simulate; of several numbers, the later only while a gate is inconclusive.  "
                   "[default: 20, or as many as runs and baselines have]")  # fmt: skip
@click.option("--alpha", type=click.FloatRange(1e-9, 0.5), metavar="P",
              help="Probability that any gate fails by chance.  [default: 0.05]")  # fmt: skip
@click.option("--fail-if", multiple=True, metavar="GATE",
              help="Such as 'p99_ttft_ms > +5%' or 'slo_attainment < 95%'; 'defaults' are twelve.")  # fmt: skip
@click.option("--gates", "gates_file", type=click.Path(path_type=Path), metavar="FILE", help="A file of gates.")
@click.option("--inconclusive", type=click.Choice(["pass", "fail"]), help="Treat inconclusive gates as pass or fail.")
@click.option("--rank", metavar="METRIC", help="Rank BASE and the candidates by this metric instead.")
@click.option("--indifference", type=click.FloatRange(0, 100), metavar="PERCENT",
              help="With --rank: a difference that does not matter.  [default: 2]")  # fmt: skip
@with_workers
@click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON document.")
@click.option("--junit", type=click.Path(path_type=Path), metavar="FILE", callback=writable,
              help="Write JUnit XML.")  # fmt: skip
@click.option("--markdown", type=click.Path(path_type=Path), metavar="FILE", callback=writable,
              help="Write Markdown.")  # fmt: skip
@click.option("--github", is_flag=True, help="Add to the summary of the GitHub step, and annotate scenario files.")
@click.option(
    "--update-baseline", is_flag=True, help="Write the candidate's results to BASE as a baseline; compare nothing."
)
@report_problems
def compare(base: str, candidates: tuple[str, ...], **given: Any) -> int:
    """
    Report whether a change makes a system worse, and why.

    BASE and CANDIDATE are scenarios, run folders of `simcluster replay`, or baseline files. Scenarios are simulated
    in the same worlds. Where every trace is equal, they are identical, and nothing is judged. Otherwise each gate
    fails, passes or is inconclusive, depending on the bounds of the change in these worlds.

    Exit codes: 0 no gate fails, 1 a gate failed, 2 the sides cannot be compared or the input is wrong, 3 a gate is
    inconclusive.
    """
    options = Options(**given)
    options.require_consistent(len(candidates))
    if options.update_baseline:
        return _update(Path(base), candidates[0], options)
    from simcluster.comparison.comparison import ALPHA
    from simcluster.comparison.looks import planned
    from simcluster.comparison.read import read

    gates = options.gates()
    sides = [read(base, options.base_set, options.settings, options.seed)]
    sides += [read(candidate, options.candidate_set, options.settings, options.seed) for candidate in candidates]
    _require_scenario(sides, options)
    looks, alpha = planned(sides, options.looks), ALPHA if options.alpha is None else options.alpha
    if options.rank is not None:
        return _rank(sides, options.rank, gates or (), alpha, looks, options)
    from simcluster.comparison.compare import judge_sides

    found = judge_sides(sides, gates, alpha, looks, options.simulate)
    code = options.exit_code(found.verdict)
    report_comparison(found, code, options.inconclusive == "fail", options.outputs)
    return code


def _require_scenario(sides: Sequence[Side], options: Options) -> None:
    """Require a scenario where one is to be changed."""
    if (options.settings or options.seed is not None) and not any(side.kind == "scenario" for side in sides):
        raise click.UsageError("--set and --seed change scenarios, but no side is a scenario")


def _update(base: Path, candidate: str, options: Options) -> int:
    """Write a baseline."""
    from simcluster.comparison.compare import update_baseline
    from simcluster.comparison.read import read

    gates = options.gates()
    side = read(candidate, options.candidate_set, options.settings, options.seed)
    _require_scenario([side], options)
    side = update_baseline(base, side, gates, options.looks, options.simulate)
    click.echo(f"{base}: {len(side.rows)} worlds of {side.name}")
    return 0


def _rank(
    sides: list[Side], metric: str, limits: Sequence[Gate], alpha: float, looks: tuple[int, ...], options: Options
) -> int:
    """Rank systems by a metric instead of comparing them with the first."""
    from simcluster.comparison.looks import require_same_worlds
    from simcluster.comparison.ranking import rank
    from simcluster.files.problems import nearest
    from simcluster.scenario.gates import METRICS

    if metric not in METRICS or not METRICS[metric].may_gate:
        known = [name for name, one in METRICS.items() if one.may_gate]
        raise click.UsageError(f"--rank {metric[:80]}: {nearest(metric[:80], known)}")
    if len(looks) > 1:
        raise click.UsageError("--rank looks once: expected one number of --seeds")
    if any(gate.is_change for gate in limits):
        raise click.UsageError("--rank takes limits, such as 'slo_attainment < 95%', and no changes")
    require_same_worlds(sides, looks[0])
    zone = 0.02 if options.indifference is None else options.indifference / 100
    found = rank(options.simulate(sides, looks[0]), metric, zone, limits, alpha)
    code = options.exit_code(found.verdict)
    report_ranking(found, code, options.outputs)
    return code
