"""`simcluster compare`: verdicts, exit codes, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from simcluster.cli import main

SCENARIO = """
model: llama-3.1-8b
topology: h100-8
workload:
  arrivals: {kind: poisson, rate: 20 req/s}
  prompt_tokens: {kind: fixed, value: 64}
  output_tokens: {kind: uniform, low: 4, high: 12}
  requests: 12
noise: {preset: datacenter, without: [op_jitter]}
slo: {ttft: 100 ms}
"""
SEEDS = ("--seeds", "6", "--jobs", "1")
SLOWER = ("--candidate-set", "deployment.slowdown=1.05")
ITL = ("--fail-if", "median_itl_ms > +2%")


@pytest.fixture(autouse=True)
def scenario(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scenario file in the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("s.yaml").write_text(SCENARIO)


def compared(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit code and JSON document of a comparison."""
    code = main(["compare", *arguments, "--json"])
    out, err = capsys.readouterr()
    assert "" == err
    return code, json.loads(out)


def test_the_same_is_identical(capsys: pytest.CaptureFixture[str]) -> None:
    """A scenario beside itself is identical, and no statistics are made."""
    assert main(["compare", "s.yaml", "s.yaml", *SEEDS]) == 0
    out, err = capsys.readouterr()

    assert "identical: every trace is the same" in out
    assert "verdict" not in out
    assert "" == err


def test_other_processes_are_identical(tmp_path: Path) -> None:
    """What one process wrote, others find identical, whatever the seed of their hashes."""
    command = [sys.executable, "-m", "simcluster", "compare", "base.yaml", "s.yaml", *SEEDS]
    for hash_seed, more in (("1", ["--update-baseline"]), ("2", []), ("3", [])):
        environment = {"PYTHONHASHSEED": hash_seed, "PATH": "/usr/bin:/bin"}
        done = subprocess.run([*command, *more], capture_output=True, text=True, env=environment, check=True)
    assert "identical" in done.stdout


def test_a_slowdown_fails_and_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    """Ops 5 % longer make ITL p50 5 % longer: exit 1, with the change by component, which sums to the change."""
    code, found = compared(capsys, "s.yaml", "s.yaml", *SLOWER, *SEEDS, *ITL)
    (row,) = [row for row in found["candidates"][0]["metrics"] if row["gate"]]

    assert (1, "FAIL", "compared", 6) == (
        code, row["verdict"], found["candidates"][0]["status"], found["candidates"][0]["changed_worlds"],
    )  # fmt: skip
    assert pytest.approx(0.05, abs=0.003) == row["change"]
    assert row["low"] > 0.02
    parts = row["change_by_component"]
    assert row["change"] == pytest.approx(sum(parts.values()), abs=1e-9)
    assert "weight_fetch" == next(iter(parts))
    assert [] == row["not_distinguished_from_largest"]
    assert all(low <= parts[name] <= high for name, (low, high) in row["bounds_by_component"].items())
    assert ["engine.slowdown: 1 → 1.05"] == found["candidates"][0]["differences"]


def test_a_small_change_passes(capsys: pytest.CaptureFixture[str]) -> None:
    """Ops 0.1 % longer stay within 2 %: exit 0."""
    code, found = compared(capsys, "s.yaml", "s.yaml", "--candidate-set", "deployment.slowdown=1.001", *SEEDS, *ITL)

    assert (0, "PASS") == (code, found["verdict"])


@pytest.mark.parametrize(
    ("option", "code"), [([], 3), (["--inconclusive", "pass"], 0), (["--inconclusive", "fail"], 1)]
)
def test_what_is_not_decided(option: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    """A change at its margin is inconclusive: exit 3, or as stated; the number of worlds it needs is reported."""
    arguments = ["s.yaml", "s.yaml", *SLOWER, *SEEDS, "--fail-if", "median_itl_ms > +5%"]
    found_code, found = compared(capsys, *arguments, *option)
    (row,) = [row for row in found["candidates"][0]["metrics"] if row["gate"]]

    assert (code, "INCONCLUSIVE") == (found_code, row["verdict"])
    assert row["needs"] > 6


def test_planned_looks(capsys: pytest.CaptureFixture[str]) -> None:
    """A second look is taken only while something is not decided, and looks share alpha."""
    arguments = ["s.yaml", "s.yaml", *SLOWER, "--seeds", "3,6", "--jobs", "1", "--fail-if"]
    _, once = compared(capsys, *arguments, "median_itl_ms > +1%")
    _, twice = compared(capsys, *arguments, "median_itl_ms > +5%")

    assert (3, 6) == (len(once["seeds"]), len(twice["seeds"]))
    assert 0.025 == once["level"] == twice["level"]
    assert [3, 6] == twice["looks"]


def test_limits_hold_for_the_candidate_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """A limit that the candidate is beyond fails it, even where it is identical to the base."""
    code, found = compared(capsys, "s.yaml", "s.yaml", *SEEDS, "--fail-if", "median_itl_ms > 1 ms")

    assert (1, "identical") == (code, found["candidates"][0]["status"])
    code, _ = compared(capsys, "s.yaml", "s.yaml", *SEEDS, "--fail-if", "slo_attainment < 90%")
    assert 0 == code


def test_gates_of_the_scenario_and_of_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    """The base's gates hold, or those of a file instead, or those of the command line with these."""
    Path("s.yaml").write_text(f"{SCENARIO}gates: [median_itl_ms > +9%]\n")
    Path("gates.yaml").write_text("gates: [median_itl_ms > +2%, p99_itl_ms > +50%]\n")

    def gates(*more: str) -> list[str]:
        _, found = compared(capsys, "s.yaml", "s.yaml", *SLOWER, *SEEDS, *more)
        return [row["gate"]["text"] for row in found["candidates"][0]["metrics"] if row["gate"]]

    assert ["median_itl_ms > +9%"] == gates()
    assert ["median_itl_ms > +2%", "p99_itl_ms > +50%"] == gates("--gates", "gates.yaml")
    assert ["median_itl_ms > +3%", "p99_itl_ms > +50%"] == gates(
        "--gates", "gates.yaml", "--fail-if", "median_itl_ms > +3%"
    )


def test_folders_of_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """Replications on disk say the same as the scenario they were made of."""
    main(["replay", "s.yaml", *SEEDS])
    main(["replay", "s.yaml", *SEEDS, "--set", "deployment.slowdown=1.05", "-o", "slow"])
    capsys.readouterr()
    code, of_folders = compared(capsys, "runs/s-seeds", "slow/s-seeds", *ITL)
    _, of_scenarios = compared(capsys, "s.yaml", "s.yaml", *SLOWER, *SEEDS, *ITL)

    assert 1 == code
    assert of_scenarios["candidates"][0]["metrics"] == of_folders["candidates"][0]["metrics"]
    assert 0 == compared(capsys, "runs/s-seeds", "s.yaml")[0]


@pytest.mark.parametrize(
    ("candidate", "hint"),
    [
        (
            ["--candidate-set", "seed=3"],
            "s.yaml: seeds: not comparable: 6 seeds from 3, while s.yaml has 6 seeds from 0",
        ),
        (["--candidate-set", "noise=none"], "s.yaml: noise: not comparable"),
        (["--candidate-set", "noise={preset: datacenter}"], "s.yaml: noise: not comparable"),
        (
            ["--candidate-set", "slo.ttft=200 ms"],
            "s.yaml: limits_ms: not comparable: ttft 200, while s.yaml has ttft 100",
        ),
        (["--candidate-set", "source_seeds.arrivals=7"], "s.yaml: source_seeds: not comparable"),
        (["--seeds", "20,10"], "expected ascending numbers"),
        (["--seeds", "0"], "expected numbers from 1 to 10000"),
        (["--fail-if", "p99_tfft_ms > +5%"], "did you mean 'p99_ttft_ms'?"),
        (["--candidate-set", "deployment.slowdwn=2"], "did you mean 'slowdown'?"),
        (["--indifference", "3"], "goes with --rank"),
        (["--rank", "p99_tfft_ms"], "did you mean 'p99_ttft_ms'?"),
        (["--rank", "p99_ttft_ms", *ITL], "takes limits"),
        (["--gates", "nowhere.yaml"], "no such file"),
    ],
)
def test_what_cannot_be_compared(candidate: list[str], hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Other seeds, noise or limits, and input that is wrong, exit with 2 and say what would be right."""
    assert main(["compare", "s.yaml", "s.yaml", *SEEDS, *candidate]) == 2
    out, err = capsys.readouterr()

    assert "" == out
    assert hint in err


def test_one_world_says_nothing_of_chance(capsys: pytest.CaptureFixture[str]) -> None:
    """With one world, a change cannot be judged."""
    assert main(["compare", "s.yaml", "s.yaml", *SLOWER, "--seeds", "1"]) == 2
    assert "expected at least two" in capsys.readouterr().err


def test_a_metric_that_is_gone_fails(capsys: pytest.CaptureFixture[str]) -> None:
    """Gaps that one side alone has are not measured, which fails; what neither has is no gate by default."""
    code, found = compared(
        capsys, "s.yaml", "s.yaml", *SEEDS, "--candidate-set", "workload.output_tokens={kind: fixed, value: 1}", *ITL
    )
    (row,) = [row for row in found["candidates"][0]["metrics"] if row["gate"]]
    assert (1, "FAIL", "not measured") == (code, row["verdict"], row["why"])

    single = ["--set", "workload.output_tokens={kind: fixed, value: 1}", *SLOWER]
    _, found = compared(capsys, "s.yaml", "s.yaml", *SEEDS, *single)
    gated = {row["metric"] for row in found["candidates"][0]["metrics"] if row["gate"]}
    assert "median_itl_ms" not in gated
    assert "p99_ttft_ms" in gated


def test_ranking(capsys: pytest.CaptureFixture[str]) -> None:
    """The faster of three is best, and one as good as it within the zone is too; limits come first."""
    for name, slowdown in (("a", 1.2), ("b", 1.0), ("c", 1.001)):
        Path(f"{name}.yaml").write_text(f"{SCENARIO}deployment: {{slowdown: {slowdown}}}\n")
    rank = ("--rank", "median_itl_ms")
    code, found = compared(capsys, "a.yaml", "b.yaml", "c.yaml", *SEEDS, *rank)
    names = [found["systems"][number]["name"] for number in found["order"]]

    assert (0, ["b", "c", "a"], [1, 2]) == (code, names, found["best"])
    relations = {(pair["better"], pair["other"]): pair["relation"] for pair in found["pairs"]}
    assert {(1, 2): "as good", (1, 0): "better", (2, 0): "better"} == relations

    code, found = compared(
        capsys,
        "a.yaml",
        "b.yaml",
        "c.yaml",
        *SEEDS,
        *rank,
        "--fail-if",
        "median_itl_ms < 7.5 ms",
        "--indifference",
        "1",
    )
    assert (0, [0]) == (code, found["best"])
    assert 1 == compared(capsys, "a.yaml", "b.yaml", *SEEDS, *rank, "--fail-if", "median_itl_ms > 1 ms")[0]
    assert main(["compare", "a.yaml", "b.yaml", *SEEDS, *rank]) == 0
    assert "best: b; alpha 0.05 over all pairs and limits" in capsys.readouterr().out


def test_baselines(capsys: pytest.CaptureFixture[str]) -> None:
    """A baseline is written with the scenario's gates, held against, and renewed with as many worlds."""
    Path("s.yaml").write_text(f"{SCENARIO}gates: [median_itl_ms > +2%]\n")
    assert main(["compare", "b/base.yaml", "s.yaml", *SEEDS, "--update-baseline"]) == 0
    assert "b/base.yaml: 6 worlds of s\n" == capsys.readouterr().out
    assert Path("b/base.yaml").stat().st_size < 10_000
    assert [Path("b/base.yaml")] == list(Path("b").iterdir())

    code, found = compared(capsys, "b/base.yaml", "s.yaml")
    assert (0, "identical") == (code, found["candidates"][0]["status"])
    code, found = compared(capsys, "b/base.yaml", "s.yaml", *SLOWER)
    assert (1, ["median_itl_ms"]) == (
        code,
        [row["metric"] for row in found["candidates"][0]["metrics"] if row["gate"]],
    )
    _, of_scenarios = compared(capsys, "s.yaml", "s.yaml", *SLOWER, *SEEDS)
    assert of_scenarios["candidates"][0]["metrics"][0] == found["candidates"][0]["metrics"][0]
    assert "weight_fetch" == next(iter(found["candidates"][0]["metrics"][0]["change_by_component"]))

    text = Path("b/base.yaml").read_text()
    main(["compare", "b/base.yaml", "s.yaml", "--update-baseline"])
    assert text == Path("b/base.yaml").read_text()
    main(["compare", "b/base.yaml", "s.yaml", "--update-baseline", "--fail-if", "p99_itl_ms > +9%"])
    assert '\ngates:\n  - "p99_itl_ms > +9%"\n' in Path("b/base.yaml").read_text()


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        (["--seed", "1"], "seeds: not comparable: 6 seeds from 1, while base.yaml has 6 seeds from 0"),
        (["--set", "noise=workstation"], "noise: not comparable"),
        (["--seeds", "5"], "base.yaml: seeds: not comparable: 6 worlds, not 5"),
        (["--seeds", "6,12"], "base.yaml: seeds: not comparable: 6 worlds, not 12"),
        (["--base-set", "seed=1"], "base.yaml: a baseline, to set seed=1; only scenarios can be changed"),
    ],
)
def test_a_baseline_of_other_worlds(change: list[str], hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Other seeds or noise than the baseline's are refused with exit code 2."""
    main(["compare", "base.yaml", "s.yaml", *SEEDS, "--update-baseline"])
    capsys.readouterr()
    assert main(["compare", "base.yaml", "s.yaml", *change]) == 2
    assert hint in capsys.readouterr().err


def test_other_definitions_of_metrics_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """A baseline whose metrics mean something else is refused, and so are folders of runs that do not say."""
    main(["compare", "base.yaml", "s.yaml", *SEEDS, "--update-baseline"])
    text = Path("base.yaml").read_text()
    Path("base.yaml").write_text(text.replace("simcluster-metrics-1", "simcluster-metrics-0"))
    assert main(["compare", "base.yaml", "s.yaml"]) == 2
    assert (
        "metric_definitions: not comparable: 'simcluster-metrics-1', while base.yaml has" in capsys.readouterr().err
    )


@pytest.mark.parametrize("place", ["s.yaml", "folder", "base.txt"])
def test_a_baseline_replaces_nothing_else(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Only a baseline or nothing may be where a baseline is written."""
    Path("folder").mkdir()
    assert main(["compare", place, "s.yaml", *SEEDS, "--update-baseline"]) == 2
    assert "expected a baseline, or a free place" in capsys.readouterr().err
    assert SCENARIO == Path("s.yaml").read_text()


def test_outputs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """JUnit, Markdown and the step's summary go to their files; annotations to stderr beside JSON."""
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "summary.md")
    Path("summary.md").write_text("before\n")
    arguments = ["compare", "s.yaml", "s.yaml", *SLOWER, *SEEDS, *ITL, "--json", "--github"]
    assert main([*arguments, "--junit", "j.xml", "--markdown", "m.md"]) == 1
    out, err = capsys.readouterr()

    assert 1 == json.loads(out)["exit_code"]
    title = "s (deployment.slowdown=1.05)%3A median_itl_ms > +2%25"
    assert err.startswith(f"::error file=s.yaml,line=1,title={title}::ITL p50 +5")
    assert "<failure" in Path("j.xml").read_text()
    assert f"before\n{Path('m.md').read_text()}" == Path("summary.md").read_text()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--rank", "median_itl_ms", "--junit", "j.xml"],
        ["--update-baseline", "--github"],
        ["--update-baseline", "--json"],
        ["--update-baseline", "--alpha", "0.01"],
        ["--update-baseline", "--inconclusive", "pass"],
        ["--update-baseline", "--rank", "median_itl_ms"],
        ["--rank", "median_itl_ms", "--seeds", "2,4"],
        ["--alpha", "0.7"],
    ],
)
def test_options_that_do_not_go_together(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """An option that would do nothing is refused."""
    assert main(["compare", "s.yaml", "s.yaml", *arguments]) == 2
    assert "" == capsys.readouterr().out


@pytest.mark.parametrize(
    "content",
    [
        "", "[]", "format: simcluster-baseline-3", "format: simcluster-baseline-1\nseeds: [0]", "\x00", "a: &b c",
        "format: simcluster-baseline-3\nseeds: [" + "9" * 5000 + "]", "format: [simcluster-baseline-3]",
        "format: simcluster-baseline-3\nworlds: {median_itl_ms: [1e999]}", "{" * 3000,
    ],
)  # fmt: skip
def test_hostile_files(content: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Errors in any file are reported with exit code 2 and without a traceback."""
    Path("x.yaml").write_text(content)
    for sides in (["x.yaml", "s.yaml"], ["s.yaml", "x.yaml"]):
        assert main(["compare", *sides]) == 2
    assert main(["compare", "s.yaml", "s.yaml", "--gates", "x.yaml"]) == 2
    out, err = capsys.readouterr()
    assert "" == out
    assert all(line.startswith("x.yaml") for line in err.splitlines())


@pytest.mark.parametrize("name", ["", "/", "nowhere.yaml", "x" * 5000, "a\0b", "/dev/null", "/dev/zero"])
def test_hostile_names(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Names that are no side, or no file to read, are input errors."""
    assert main(["compare", "s.yaml", name, *SEEDS]) == 2
    assert capsys.readouterr().err
