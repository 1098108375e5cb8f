"""`simcluster compare`: whether a change makes latencies worse, and which of several systems is best."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from simcluster.cli.endings import writable
from simcluster.cli.many import counted, playable, with_workers
from simcluster.cli.outputs import Outputs, tell_comparison, tell_ranking
from simcluster.cli.problems import told

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simcluster.comparison.compare import Play
    from simcluster.comparison.side import Side
    from simcluster.scenario.gates import Gate

REGRESSION, INCONCLUSIVE = 1, 3


def _looks(_: click.Context, __: click.Parameter, value: str | None) -> tuple[int, ...]:
    """One number, or several with commas between them."""
    if value is None:
        return ()
    parts = value.split(",")
    if not all(
        part.isascii() and part.isdigit() and 1 <= len(part) <= 5 and 1 <= int(part) <= 10_000 for part in parts
    ):
        raise click.BadParameter("expected numbers from 1 to 10000, such as 20 or 20,40")
    return tuple(int(part) for part in parts)


@click.command()
@click.argument("base")
@click.argument("candidates", nargs=-1, required=True, metavar="CANDIDATE...")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a key of every scenario.")
@click.option("--base-set", multiple=True, metavar="KEY=VALUE", help="Change a key of BASE alone.")
@click.option("--candidate-set", multiple=True, metavar="KEY=VALUE", help="Change a key of the candidates alone.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), help="First seed instead of the scenarios' own.")
@click.option("--seeds", "looks", callback=_looks, metavar="N[,N...]",
              help="Worlds; of several numbers, the later are played only while something is not decided.  "
                   "[default: 20, or as many as runs and baselines have]")  # fmt: skip
@click.option("--alpha", type=click.FloatRange(1e-9, 0.5), metavar="P",
              help="Probability that any gate fails by chance.  [default: 0.05]")  # fmt: skip
@click.option("--fail-if", multiple=True, metavar="GATE",
              help="Such as 'p99_ttft_ms > +5%' or 'slo_attainment < 95%'; 'defaults' are twelve.")  # fmt: skip
@click.option("--gates", "gates_file", type=click.Path(path_type=Path), metavar="FILE", help="A file of gates.")
@click.option("--inconclusive", type=click.Choice(["pass", "fail"]), help="What is not decided counts as this.")
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
@click.option("--update-baseline", is_flag=True, help="Write what the candidate does to BASE, and compare nothing.")
@told
def compare(
    base: str,
    candidates: tuple[str, ...],
    settings: tuple[str, ...],
    base_set: tuple[str, ...],
    candidate_set: tuple[str, ...],
    seed: int | None,
    looks: tuple[int, ...],
    alpha: float | None,
    fail_if: tuple[str, ...],
    gates_file: Path | None,
    inconclusive: str | None,
    rank: str | None,
    indifference: float | None,
    jobs: int | None,
    scheduler: str | None,
    as_json: bool,
    junit: Path | None,
    markdown: Path | None,
    github: bool,
    update_baseline: bool,
) -> int:
    """
    Tell whether a change makes a system worse, and why.

    BASE and CANDIDATE are scenarios, folders that `simcluster replay` left, or baseline files. Scenarios are played
    in the same worlds; where every trace is the same, they are identical, and nothing more is asked. Else each gate
    fails, passes or is inconclusive, as bounds on the change in these worlds allow.

    Exit codes: 0 nothing fails, 1 a gate failed, 2 the sides cannot be compared or the input is wrong, 3 something is
    not decided.
    """
    from simcluster.comparison.compare import judge_sides
    from simcluster.comparison.comparison import ALPHA
    from simcluster.comparison.looks import planned
    from simcluster.comparison.read import read

    outputs = Outputs(as_json, junit, markdown, github)
    if (rank is not None or update_baseline) and outputs.of_gates:
        raise click.UsageError(
            "--junit, --markdown and --github tell of gates, which --rank and --update-baseline do not judge"
        )
    if indifference is not None and rank is None:
        raise click.UsageError("--indifference goes with --rank")
    stated, play = _stated(gates_file, fail_if), _player(jobs, scheduler)
    if update_baseline:
        if len(candidates) > 1 or base_set or as_json or (rank, alpha, inconclusive) != (None, None, None):
            raise click.UsageError(
                "--update-baseline judges nothing: expected one candidate, --set, --seed and gates"
            )
        side = read(candidates[0], candidate_set, settings, seed)
        _require_scenario([side], settings, seed)
        return _update(Path(base), side, stated, looks, play)
    sides = [read(base, base_set, settings, seed)]
    sides += [read(candidate, candidate_set, settings, seed) for candidate in candidates]
    _require_scenario(sides, settings, seed)
    plan, alpha = planned(sides, looks), ALPHA if alpha is None else alpha
    if rank is not None:
        zone = 0.02 if indifference is None else indifference / 100
        return _ranked(sides, rank, zone, stated, alpha, plan, play, inconclusive, outputs)
    found = judge_sides(sides, stated, alpha, plan, play)
    code = _exit_code(found.verdict, inconclusive)
    tell_comparison(found, code, inconclusive == "fail", outputs)
    return code


def _require_scenario(sides: Sequence[Side], settings: tuple[str, ...], seed: int | None) -> None:
    """Hold that what is to be changed is there."""
    if (settings or seed is not None) and not any(side.kind == "scenario" for side in sides):
        raise click.UsageError("--set and --seed change scenarios, and there is none")


def _update(base: Path, candidate: Side, stated: tuple[Gate, ...] | None, looks: tuple[int, ...], play: Play) -> int:
    """Write a baseline."""
    from simcluster.comparison.compare import update_baseline

    side = update_baseline(base, candidate, stated, looks, play)
    click.echo(f"{base}: {len(side.rows)} worlds of {side.name}")
    return 0


def _stated(gates_file: Path | None, fail_if: tuple[str, ...]) -> tuple[Gate, ...] | None:
    """The gates of the command line; None without any."""
    from simcluster.comparison.read import parse_gates, read_gates
    from simcluster.scenario.gates import last_of_each

    if gates_file is None and not fail_if:
        return None
    of_file = read_gates(gates_file) if gates_file is not None else ()
    own = parse_gates(fail_if, "--fail-if")
    return last_of_each([*of_file, *own])


def _player(jobs: int | None, scheduler: str | None) -> Play:
    """What brings sides to a number of worlds, with a bar on a terminal."""
    from simcluster.comparison.looks import n_runs
    from simcluster.comparison.play import play_on

    def play(sides: Sequence[Side], n_worlds: int) -> list[Side]:
        with counted(sides[0].name, n_runs(sides, n_worlds), "runs") as done, playable(sides[0].name):
            return play_on(sides, n_worlds, jobs, scheduler, done)

    return play


def _ranked(
    sides: list[Side], metric: str, zone: float, stated: tuple[Gate, ...] | None, alpha: float,
    plan: tuple[int, ...], play: Play, inconclusive: str | None, outputs: Outputs,
) -> int:  # fmt: skip
    """Rank systems instead of holding them against the first."""
    from simcluster.comparison.looks import require_same_worlds
    from simcluster.comparison.ranking import rank
    from simcluster.files.problems import nearest
    from simcluster.scenario.gates import METRICS

    if metric not in METRICS or not METRICS[metric].may_gate:
        known = [name for name, one in METRICS.items() if one.may_gate]
        raise click.UsageError(f"--rank {metric[:80]}: {nearest(metric[:80], known)}")
    if len(plan) > 1:
        raise click.UsageError("--rank looks once: expected one number of --seeds")
    if any(gate.is_change for gate in stated or ()):
        raise click.UsageError("--rank takes limits, such as 'slo_attainment < 95%', and no changes")
    require_same_worlds(sides, plan[0])
    found = rank(play(sides, plan[0]), metric, zone, stated or (), alpha)
    code = _exit_code(found.verdict, inconclusive)
    tell_ranking(found, code, outputs)
    return code


def _exit_code(verdict: str, inconclusive: str | None) -> int:
    if verdict == "INCONCLUSIVE":
        return {None: INCONCLUSIVE, "pass": 0, "fail": REGRESSION}[inconclusive]
    return REGRESSION if verdict == "FAIL" else 0
