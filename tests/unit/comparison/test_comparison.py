"""Comparisons of sides with known values, and what text, JUnit, Markdown and GitHub say of them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from junitparser import JUnitXml
from made_sides import side, times

from simcluster.comparison import baseline, github
from simcluster.comparison.as_json import of_comparison
from simcluster.comparison.comparison import Comparison, compare_sides
from simcluster.comparison.junit import junit
from simcluster.comparison.markdown import markdown
from simcluster.comparison.words import verdict_text
from simcluster.files.problems import InputError
from simcluster.files.source import parse as parse_document
from simcluster.scenario.gates import parse_all

BASE = {
    "median_itl_ms": [10.0, 11.0, 12.0, 13.0],
    "p99_itl_ms": [20.0, 22.0, 21.0, 25.0],
    "median_ttft_ms": [100.0, 140.0, 90.0, 120.0],
    "output_throughput": [300.0, 310.0, 290.0, 305.0],
}
SLOWER = {
    "median_itl_ms": times(BASE["median_itl_ms"], 1.05, 1.051, 1.049, 1.0505),
    "p99_itl_ms": times(BASE["p99_itl_ms"], 1.001, 0.999, 1.0),
    "median_ttft_ms": times(BASE["median_ttft_ms"], 1.2, 0.9, 1.1, 0.95),
    "output_throughput": times(BASE["output_throughput"], 0.97),
}
GATES = parse_all(
    ["median_itl_ms > +2%", "p99_itl_ms > +5%", "median_ttft_ms > +3%", "output_throughput < -2%", "p99_itl_ms > 1 s"]
)
SHARES = {"compute": 0.75, "wait_for_peers": 0.25}


@pytest.fixture
def found() -> Comparison:
    """A regression with its cause, one that is exact, one not decided, and two that pass."""
    base = side("base", BASE, parts={"median_itl_ms": SHARES})
    more = {"compute": 0.8 / 1.05, "wait_for_peers": 0.25 / 1.05}
    return compare_sides(base, [side("slow|er", SLOWER, trace="b", parts={"median_itl_ms": more})], GATES)


def test_verdicts(found: Comparison) -> None:
    """Each gate has its verdict, at the level that the gates share; the worst is that of the whole."""
    (candidate,) = found.candidates
    verdicts = {str(row.gate): row.verdict for row in candidate.rows}

    assert {
        "median_itl_ms > +2%": "FAIL", "p99_itl_ms > +5%": "PASS", "median_ttft_ms > +3%": "INCONCLUSIVE",
        "output_throughput < -2%": "FAIL", "p99_itl_ms > 1000 ms": "PASS",
    } == verdicts  # fmt: skip
    assert "FAIL" == found.verdict
    assert 0.01 == pytest.approx(found.level)
    assert 5 == found.n_gates
    assert 4 == candidate.changed_worlds


def test_the_cause_is_named(found: Comparison) -> None:
    """The change is split by component, the largest first, and so is the sentence."""
    row = found.candidates[0].rows[0]

    assert pytest.approx(0.05, abs=1e-4) == row.causes.parts["compute"].change
    assert re.fullmatch(
        r"ITL p50 \+5\.\d\d % \(.* to .*\), allowed \+2 %: compute \+5\.0\d ± 0\.\d\d", verdict_text(row)
    )


def test_a_cause_that_is_not_sure_says_so() -> None:
    """What may as well be the largest is named beside it, wherever causes are reported."""
    shares = [
        {"median_itl_ms": {"compute": 0.5 + wobble, "stall": 0.5 - wobble}} for wobble in (0.01, -0.01, 0.02, 0)
    ]
    base = side("a", BASE, parts={"median_itl_ms": {"compute": 0.5, "stall": 0.5}})
    found = compare_sides(base, [side("b", SLOWER, trace="b", parts=shares)], GATES)
    said = "(compute not distinguished from stall)"

    assert verdict_text(found.candidates[0].rows[0]).endswith(said)
    assert f"{said} |" in markdown(found)
    assert ["stall"] == of_comparison(found, 1)["candidates"][0]["metrics"][0]["not_distinguished_from_largest"]


def test_equal_traces_are_identical_whatever_the_values() -> None:
    """Equal digests end it: no statistics are made."""
    found = compare_sides(side("a", BASE), [side("b", BASE)], parse_all(["median_itl_ms > +2%"]))

    assert ("identical", (), "PASS") == (found.candidates[0].status, found.candidates[0].rows, found.verdict)


def test_candidates_share_alpha() -> None:
    """Twice as many candidates halve the level of each bound."""
    candidates = [side(name, SLOWER, trace=name) for name in "bc"]

    assert 0.005 == pytest.approx(compare_sides(side("a", BASE), candidates, GATES).level)


def test_what_was_decided_stays(found: Comparison) -> None:
    """At a second look only what was not decided is judged again."""
    base = side("base", {name: values * 2 for name, values in BASE.items()})
    slower = side("slower", {name: values * 2 for name, values in SLOWER.items()}, trace="b")
    again = compare_sides(base, [slower], GATES, looks=(4, 8), former=found)
    worlds = {str(row.gate): row.worlds for row in again.candidates[0].rows}

    assert 8 == worlds.pop("median_ttft_ms > +3%")
    assert {4} == set(worlds.values())


def test_junit_is_read_by_another_tool(found: Comparison, tmp_path: Path) -> None:
    """A failure for FAIL, skipped for INCONCLUSIVE, or a failure as well where it counts as one."""
    path = tmp_path / "j.xml"
    path.write_text(junit(found), encoding="utf-8")
    suites = JUnitXml.fromfile(str(path))

    assert (5, 2, 1, 0) == (suites.tests, suites.failures, suites.skipped, suites.errors)
    results = {case.name: [type(result).__name__ for result in case.result] for suite in suites for case in suite}
    assert ["Failure"] == results["median_itl_ms > +2%"]
    assert ["Skipped"] == results["median_ttft_ms > +3%"]
    assert [] == results["p99_itl_ms > +5%"]
    path.write_text(junit(found, inconclusive_fails=True), encoding="utf-8")
    assert 3 == JUnitXml.fromfile(str(path)).failures


def test_junit_of_the_same() -> None:
    """What is identical is one case that passes."""
    text = junit(compare_sides(side("a", BASE), [side("b\x07", BASE)], GATES[:1]))
    suites = JUnitXml.fromstring(text.encode())

    assert (1, 0) == (suites.tests, suites.failures)


def test_markdown(found: Comparison) -> None:
    """A table whose rows have as many cells as its head, what fails first; names are no markup."""
    lines = markdown(found).splitlines()
    rows = [line for line in lines if line.startswith("|")]

    assert lines[0] == "### base → slow\\|er: fail"
    assert {9} == {len(re.findall(r"(?<!\\)\|", row)) for row in rows}
    assert rows[2].startswith("| ITL p50 | 11.5 ms | 12.08 ms | +5.")
    assert "| **FAIL** | compute +5.0" in rows[2]
    assert "<details><summary>2 ok, 0 not judged</summary>" in lines


def test_markdown_is_rendered_by_another_tool() -> None:
    """Rendered, there are tables with nine cells a row, and names that look like markup are text."""
    from markdown_it import MarkdownIt

    name = "<script>|*a* [b](c) `d` # &lt; _e_"
    found = compare_sides(side(name, BASE), [side("other", SLOWER, trace="b")], GATES)
    html = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown(found))

    assert 2 * 8 == html.count("<th ") + html.count("<th>")
    assert 8 * 5 == html.count("<td ") + html.count("<td>")
    assert "&lt;script&gt;|*a* [b](c) `d` # &amp;lt; _e_ → other: fail</h3>" in html


def test_a_summary_fits() -> None:
    """A step summary is cut at a line so that GitHub shows it, with what was there before."""
    text = "a line of text\n" * 100_000
    n_before = 500_000
    fitted = github.fitted(text, n_before)

    assert github.MAX_SUMMARY_BYTES - 100 < len(fitted.encode()) + n_before <= github.MAX_SUMMARY_BYTES
    assert fitted.endswith("a line of text\n\n\nThe rest exceeds the size limit of a step summary.\n")
    assert "short\n" == github.fitted("short\n", n_before)
    assert "" == github.fitted(text, github.MAX_SUMMARY_BYTES)


def test_annotations_point_at_the_gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FAIL is an error at the line of the gate in the scenario's file; elsewhere given gates point at the first."""
    monkeypatch.chdir(tmp_path)
    Path("s.yaml").write_text("model: x\ngates:\n  - p99_itl_ms > +5%\n  - median_itl_ms > +2 %\n")
    gates = [*GATES[:1], *GATES[2:4]]
    found = compare_sides(side("a", BASE), [side("b", SLOWER, trace="b", file="s.yaml")], gates)
    commands = github.annotated(found)

    assert ["error", "error", "warning"] == [re.match("::(\\w+) ", command)[1] for command in commands]  # type: ignore[index]
    assert any(
        c.startswith("::error file=s.yaml,line=4,title=b%3A median_itl_ms > +2%25::ITL p50 +5") for c in commands
    )
    assert any(c.startswith("::error file=s.yaml,line=1,title=b%3A output_throughput") for c in commands)


def test_the_worst_ten() -> None:
    """Of more than ten regressions those that are furthest beyond their gates are annotated."""
    names = [
        f"{s}_{latency}_ms" for latency in ("ttft", "tpot", "itl", "e2el") for s in ("mean", "median", "p95", "p99")
    ]
    base = {name: [1.0, 2.0] for name in names}
    slow = {name: times([1.0, 2.0], 1.1 + number / 10) for number, name in enumerate(names)}
    found = compare_sides(
        side("a", base), [side("b", slow, trace="b")], parse_all([f"{name} > +2%" for name in names])
    )
    commands = github.annotated(found)

    assert 10 == len(commands)
    assert [name in command for name, command in zip(reversed(names), commands, strict=False)] == [True] * 10


def test_json_is_complete(found: Comparison) -> None:
    """The document can be written and has every gate with its bounds and verdict."""
    data = json.loads(json.dumps(of_comparison(found, 1), allow_nan=False))
    metrics = data["candidates"][0]["metrics"]

    assert ("simcluster-comparison-1", 1, "FAIL") == (data["format"], data["exit_code"], data["verdict"])
    assert 5 == sum(row["gate"] is not None for row in metrics)
    assert all(row["low"] <= row["change"] <= row["high"] for row in metrics if row["gate"]["of"] == "change")


def test_a_baseline_reads_back() -> None:
    """What is written is read back to the same, None and awkward names included."""
    values = BASE | {"p99_ttft_ms": [None, 1.0, 2.0, None]}
    gates = ["p99_itl_ms > +5%", "median_itl_ms > +2%"]
    written = side('na"me: #1', values, gates=gates, parts={"median_itl_ms": SHARES})
    text = baseline.dump(written)
    read = baseline.from_document(parse_document(text, 'na"me: #1.yaml'))

    assert ("baseline", written.rows, written.world) == (read.kind, read.rows, read.world)
    assert (written.name, written.gates, written.traces, written.parts) == (
        read.name, read.gates, read.traces, read.parts,
    )  # fmt: skip
    assert text == baseline.dump(read)


def test_a_metric_that_moves_changes_three_lines() -> None:
    """Beside traces and digests: the metric's mean for the reader, its values, and what it is made of."""
    moved = BASE | {"median_itl_ms": SLOWER["median_itl_ms"]}
    sides = [
        side("a", values, parts={"median_itl_ms": {"compute": share}, "p99_itl_ms": {"compute": 1.0}})
        for values, share in ((BASE, 0.5), (moved, 0.25))
    ]
    lines = [baseline.dump(one).splitlines() for one in sides]
    changed = [one for one, other in zip(*lines, strict=True) if one != other]

    assert [
        "#   ITL p50                  11.5 ms", "  median_itl_ms: [10.0, 11.0, 12.0, 13.0]",
        '  median_itl_ms: {"compute": [0.5, 0.5, 0.5, 0.5]}',
    ] == changed  # fmt: skip


@pytest.mark.parametrize(
    ("before", "after", "hint"),
    [
        ("baseline-3", "baseline-2", "written by another version (format simcluster-baseline-2)"),
        ("median_itl_ms:", "median_tli_ms:", "did you mean 'median_itl_ms'?"),
        ("[10.0, 11.0,", "[10.0, -11.0,", "worlds.median_itl_ms"),
        ("[10.0, 11.0,", "[10.0,", "expected one for each of 4 seeds"),
        ("[10.0, 11.0,", "[10.0, .nan,", "worlds.median_itl_ms"),
        ("seeds: [0, 1, 2, 3]", "seeds: []", "seeds"),
        ('"compute": [0.75,', '"compute": [', "expected one for each of 4 seeds"),
        ('"compute": [0.75,', '"compute": [7.5,', "parts.median_itl_ms.compute"),
        ('"compute"', '"magic"', "unknown component 'magic'"),
        ("noise: ", "noice: ", "did you mean 'noise'?"),
        ('noise_digest: "0', 'noise_digest: "', "noise_digest"),
        ("gates: []", "gates: [std_itl_ms > +5%]", "a gate on std_itl_ms"),
    ],
)
def test_a_baseline_that_was_edited(before: str, after: str, hint: str) -> None:
    """What cannot be is reported with its line."""
    text = baseline.dump(side("a", BASE, parts={"median_itl_ms": SHARES}))
    assert before in text

    with pytest.raises(InputError) as caught:
        baseline.from_document(parse_document(text.replace(before, after, 1), "b.yaml"))

    assert hint in str(caught.value)
    assert re.match(r"b\.yaml:\d+: ", str(caught.value))
