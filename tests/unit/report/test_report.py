"""The report: its tables, the remarks on assumed noise, and that no text from a file is executed."""

from __future__ import annotations

import json
import math
import re
from dataclasses import fields, is_dataclass, replace
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_runs import run

from simcluster.files.problems import InputError
from simcluster.files.units import number
from simcluster.plots.components import COLOURS
from simcluster.report import measured
from simcluster.report.attribution import attribution
from simcluster.report.bottlenecks import bottlenecks, map_text
from simcluster.report.colours import PAPER, contrast, on_dark
from simcluster.report.configuration import configuration, differing, in_one_line
from simcluster.report.inline import inline
from simcluster.report.page import page, plain
from simcluster.report.reported_run import ReportedRun, read_all
from simcluster.report.sources import assumptions, entries, provenance
from simcluster.results.summary_fields import STATISTICS
from simcluster.scenario.known_topology import topology_of
from simcluster.trace.columns import COMPONENTS
from simcluster.variance.explain import explain
from simcluster.variance.explanation import Explanation, LatencyExplanation

LABELS = ["wafer", "gpus"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Run folders of a wafer and of two GPUs."""
    folder = tmp_path_factory.mktemp("runs")
    return [run(folder, name) for name in LABELS]


@pytest.fixture(scope="module")
def runs(folders: list[Path]) -> list[ReportedRun]:
    """Both, read."""
    return read_all(folders)


@pytest.fixture
def broken(folders: list[Path], tmp_path: Path) -> Path:
    """A copy of a run folder, to be damaged."""
    copy = tmp_path / "broken"
    copy.mkdir()
    for file in folders[1].iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    return copy


def change(file: Path, **values: Any) -> None:
    """Set keys of a JSON file."""
    file.write_text(json.dumps(json.loads(file.read_text()) | values), encoding="utf-8")


class Texts(HTMLParser):
    """All tags and texts of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_page_needs_nothing_else_and_is_the_same_each_time(runs: list[ReportedRun]) -> None:
    """No script, no address that is fetched, a policy that forbids both; made twice, the same text."""
    made = page(runs)
    tags = Texts(made).tags
    assert made == page(runs)
    assert not {"script", "link", "img", "iframe", "object", "embed", "form"} & {tag for tag, _ in tags}
    assert not [name for _, attributes in tags for name in attributes if name in ("src", "xlink:href", "srcset")]
    assert all(a["href"].startswith(("#", "https://", "http://")) for tag, a in tags if (tag == "a") and a["href"])
    assert "default-src 'none'" in made
    assert not re.search(r"@import|url\((?!#)", made)


def test_without_a_run_there_is_no_page() -> None:
    """No run is a mistake of the caller's."""
    with pytest.raises(ValueError, match="no run to report"):
        page([])


def test_the_comparison_has_the_summarys_numbers_and_their_ratios(runs: list[ReportedRun]) -> None:
    """Every metric of both runs to four digits, and the second divided by the first."""
    table = measured.comparison(runs, LABELS, [])
    metrics = {metric.head: metric for metric in measured.METRICS}
    for row in table.rows:
        metric = metrics[row.head]
        first, second = (run.summary[metric.key] for run in runs)
        assert [number(first / metric.per, metric.unit), number(second / metric.per, metric.unit)] == [
            cell.text for cell in row.cells
        ]
        assert "" == row.cells[0].small
        if first:
            assert f"× {second / first:.3g}" == row.cells[1].small
    assert {"TTFT median", "ITL p99", "goodput", "energy per output token"} <= {row.head for row in table.rows}


@pytest.mark.parametrize(
    ("better", "values", "sense"),
    [("low", (2.0, 1.0), "better"), ("low", (1.0, 2.0), "worse"), ("high", (1.0, 2.0), "better"),
     ("high", (2.0, 1.0), "worse"), ("", (1.0, 2.0), ""), ("low", (1.0, 1.0001), ""), ("low", (1.0, 1.004), ""),
     ("low", (1.0, 0.995), "better")],
)  # fmt: skip
def test_better_and_worse(better: Any, values: tuple[float, float], sense: str) -> None:
    """Which way is better depends on the metric, and equal values are neither."""
    metric = measured.Metric("m", "m", "ms", better, "g")
    assert sense == measured._compared(metric, values)[1].sense


def test_no_ratio_to_nothing() -> None:
    """A ratio to zero, to no value or of no value is left out."""
    metric = measured.Metric("m", "m", "ms", "low", "g")
    assert ["", "", ""] == [
        measured._compared(metric, pair)[1].small for pair in ((0.0, 1.0), (None, 1.0), (1.0, None))
    ]


def test_components_are_those_of_the_summary(runs: list[ReportedRun]) -> None:
    """Each component that takes time anywhere has its share of the mean, and the shares sum to one."""
    for one in runs:
        table = measured.components(one)
        for column, kind in enumerate(("ttft", "itl")):
            shares = {row.mark: row.cells[column].share for row in table.rows}
            assert {name: share for name, share in one.summary[f"{kind}_shares"].items() if name in shares} == shares
            assert 1 == pytest.approx(sum(share or 0 for share in shares.values()))


def test_every_spread_of_a_wafer_is_marked_as_assumed_zero(runs: list[ReportedRun]) -> None:
    """Tables, cards and figures with a spread say so of the wafer, and of no GPU."""
    wafer, gpus = runs
    assert (0,) == measured.comparison(runs, LABELS, []).assumed == measured.latencies(wafer).assumed
    assert () == measured.latencies(gpus).assumed
    assert all(table.assumed == (0,) for table in attribution(EXPLAINED, zero_is_assumed=True))
    both, alone = page(runs), page([gpus])
    assert "zero noise assumed" not in Texts(alone).texts
    figures = re.findall(r"<figcaption>.*?</figcaption>", both, re.DOTALL)
    assert len(figures) == len(re.findall("<figure", both)) >= 6
    assert all("zero noise assumed" in text and "wafer" in text for text in figures if "topology" not in text)
    assert re.search(r"ITL p99</dt><dd>[^<]*<span class=\"badge\"", both)
    assert measured.ZERO_ASSUMED in both


def test_the_configuration_marks_what_differs(runs: list[ReportedRun]) -> None:
    """Rows in which runs differ are marked, the others are not."""
    table = configuration(runs, LABELS)
    assert ["Scenario", "Devices", "Topology", "Layout", "KV cache", "Noise"] == differing(table)
    texts = {row.head: [cell.text for cell in row.cells] for row in table.rows}
    assert ["poisson, rate 20 req/s"] * 2 == texts["Arrivals"]
    assert ["ttft at most 300 ms, tpot at most 20 ms"] * 2 == texts["Service level"]
    assert ["1 x Cerebras WSE-3 (CS-3)", "2 x NVIDIA H100 SXM 80 GB"] == texts["Devices"]
    assert [] == differing(configuration(runs[:1], LABELS[:1]))


def test_files_of_a_workload_are_shown_by_name_only() -> None:
    """The folders of files are private."""
    assert "empirical, file lengths.csv" == in_one_line({"kind": "empirical", "file": "/home/someone/lengths.csv"})
    assert "1 2 3 4 5 6 7 8 and 2 more" == in_one_line(list(range(1, 11)))


def test_assumptions_sources_and_provenance(runs: list[ReportedRun]) -> None:
    """Each assumption once with the runs that make it; sources can be opened; digests are those of the runs."""
    found_texts = {one.text: one.runs for one in assumptions(runs, LABELS)}
    assert set(found_texts) == {text for run in runs for text in run.summary["assumptions"]}
    assert [("wafer",)] == [which for text, which in found_texts.items() if "zero spread is assumed" in text]
    found = {(entry.kind, entry.name) for entry in entries(runs)}
    assert {("devices", "wse-3"), ("devices", "h100-sxm"), ("links", "nvlink4"), ("noise", "datacenter")} <= found
    assert {("calibration", "collectives-nvlink4"), ("models", "llama-3.1-8b")} <= found
    assert all(
        source.url.startswith(("", "https://", "http://")) for entry in entries(runs) for source in entry.sources
    )
    rows = {row.head: [cell.text for cell in row.cells] for row in provenance(runs, LABELS).rows}
    assert [run.summary["trace_digest"] for run in runs] == rows["trace digest"]
    assert ["0", "0"] == rows["seed"] and "numpy" in rows


def test_topologies_are_the_catalogues_or_the_recorded_ones(runs: list[ReportedRun]) -> None:
    """A known topology is drawn as it stands, another from the graph in the run, and one that is gone not at all."""
    named = topology_of(runs[1].scenario)
    assert named is not None and "h100-8" == named.name
    unknown = runs[1].scenario.model_copy(update={"topology": "of-mine"})
    assert topology_of(unknown) is None


def latency(shares: dict[str, float] | None, **more: Any) -> LatencyExplanation:
    """A latency with these shares of its variance."""
    empty = {"tail_shares": {"p99": None, "p99.9": None}, "levels": None, "variance_share_intervals": None}
    return LatencyExplanation(**{"n": 9, "mean_ms": 1, "std_ms": 1, "mean_path_ms": {}, **empty, **more},
                              variance_shares=shares)  # fmt: skip


EXPLAINED = Explanation(
    scenario="made",
    noise="none",
    seeds=[0],
    latencies={
        "ttft": latency(None),
        "tpot": None,
        "itl": latency(
            {"compute": 1.25, "queue": -0.25},
            tail_shares={"p99": {"compute": 0.5, "queue": 0.5}, "p99.9": None},
            levels={"replication": None, "request": 0.75, "within_step": 0.25},
        ),
        "e2el": None,
    },
    replicas=[],
    critical_path=None,
    slowest_requests={"ttft": [], "e2el": []},
    entities=None,
    notes=["one run"],
    assumptions=[],
)


def test_attribution_is_shown_when_it_is_there() -> None:
    """Shares of each component by column, negative ones as they are; without an explanation no table."""
    assert [] == attribution(None, zero_is_assumed=True)
    shares, levels = attribution(EXPLAINED, zero_is_assumed=False)
    assert "Where the spread of ITL comes from" == shares.caption
    assert ["variance", "beyond p99"] == shares.columns
    assert {"queue": ["-25 %", "50 %"], "compute": ["125 %", "50 %"]} == {
        row.mark: [cell.text for cell in row.cells] for row in shares.rows
    }
    assert "one run" in levels.notes
    assert {"request": ["75 %"], "within step": ["25 %"]} == {
        row.head: [cell.text for cell in row.cells] for row in levels.rows
    }


@pytest.mark.parametrize(
    "name", ["summary.json", "provenance.json", "requests.parquet", "tokens.parquet", "scenario.resolved.yaml"]
)
def test_a_file_that_is_missing_is_named(broken: Path, name: str) -> None:
    """Without one of its five files a run is incomplete, and the report says which."""
    (broken / name).unlink()
    with pytest.raises(InputError, match=f"an incomplete run: no {re.escape(name)}"):
        read_all([broken])


@pytest.mark.parametrize(
    ("key", "value"),
    [("power_w", "much"), ("p99_itl_ms", [1]), ("notes", "one"), ("failures", {"x": "y"}), ("kv_blocks", None),
     ("dropped_trace_rows", 3), ("output_throughput", True), ("std_tpot_ms", {"<script>": 1})],
)  # fmt: skip
def test_a_summary_of_another_kind_is_refused(broken: Path, key: str, value: Any) -> None:
    """A value of a kind that no run writes is reported with its key."""
    change(broken / "summary.json", **{key: value})
    with pytest.raises(InputError, match=f"{key}: "):
        read_all([broken])


def test_a_scenario_of_another_run_is_refused(broken: Path, folders: list[Path]) -> None:
    """The resolved scenario must be the one that was simulated."""
    (broken / "scenario.resolved.yaml").write_bytes((folders[0] / "scenario.resolved.yaml").read_bytes())
    with pytest.raises(InputError, match="another scenario"):
        read_all([broken])


def test_all_faults_at_once(broken: Path, tmp_path: Path) -> None:
    """The faults of all folders are reported."""
    change(broken / "summary.json", notes=1, power_w="x")
    with pytest.raises(InputError) as caught:
        read_all([broken, tmp_path / "nowhere"])
    assert 3 == len(caught.value.problems)


HOSTILE = "</title><script>alert(1)</script>\"'><img src=x onerror=alert(2)>\u202e\ud800\x00{{ 7 * 7 }}"


def test_texts_from_files_are_only_texts(broken: Path) -> None:
    """Whatever stands in a run's files, the page gains no tag, no attribute and no instruction from it."""
    texts = {"scenario": HOSTILE, "title": HOSTILE, "noise": HOSTILE, "device": HOSTILE}
    lists = {"notes": [HOSTILE], "assumptions": [HOSTILE, f"{HOSTILE} zero spread is assumed"]}
    counts = {"failures": {HOSTILE: 1}, "dropped_trace_rows": {HOSTILE: 2}}
    change(broken / "provenance.json", python=HOSTILE, simcluster=HOSTILE, packages={HOSTILE: HOSTILE})
    change(broken / "summary.json", **texts, **lists, **counts)
    made = page(read_all([broken]), interactive=True)
    made.encode()
    tags = Texts(made).tags
    assert ["script"] == [tag for tag, _ in tags if tag in ("script", "img")]
    assert not [name for _, attributes in tags for name in attributes if name.startswith("on")]
    assert made.count("{{ 7 * 7 }}") > 5
    assert not {"\u202e", "\x00"} & set(made)


@given(st.text(st.characters(codec=None), max_size=50))
def test_plain_texts_can_be_written(text: str) -> None:
    """What a file may hold becomes printable text of the same length, and stays what it is if it was."""
    made = plain(text)
    made.encode()
    assert len(made) == len(text)
    assert made == text or not text.isprintable()
    assert 2000 == len(plain("x" * 5000))


@given(st.integers(0, 0xFFFFFF).map("#{:06x}".format))
def test_colours_keep_their_contrast_on_dark_paper(colour: str) -> None:
    """A grey's contrast with dark paper is what it was with white, up to the lightest; any other's is in bounds."""
    found, was = contrast(on_dark(colour), PAPER), contrast(colour, "#ffffff")
    red, green, blue = colour[1:3], colour[3:5], colour[5:7]
    if red == green == blue:
        assert min(was, found + 0.3) <= found + 0.3 and found <= was * 1.03 + 0.03
    else:
        assert found >= min(was, 3.6) * 0.97 - 0.03


def test_white_is_the_paper_and_ink_is_light() -> None:
    """The background becomes the page's, and what was black nearly white."""
    assert PAPER == on_dark("#ffffff")
    assert contrast(on_dark("#222222"), PAPER) > 12


def test_components_are_distinguishable_on_dark_paper() -> None:
    """No two colours of components come as near each other as sand and olive would: a tenth of all of red."""
    dark = [on_dark(COLOURS[name].lower()) for name in COMPONENTS]
    parts = [[int(colour[place : place + 2], 16) for place in (1, 3, 5)] for colour in dark]
    least = min(math.dist(one, other) for one, other in combinations(parts, 2))
    assert least > 25
    assert all(contrast(colour, PAPER) > 3 for colour in dark)


def test_an_svg_is_fitted_into_a_page() -> None:
    """Prolog and comments go, ids get the figure's key, runs and components their marks, colours become variables."""
    svg = (
        '<?xml version="1.0"?><svg xmlns="x" width="10pt" viewBox="0 0 72 40" version="1.1"><metadata>m</metadata>'
        "<!-- <b> --><defs><style>*{}</style></defs>"
        '<g id="run-3-ttft"><use xlink:href="#m1" clip-path="url(#p1)"/></g>'
        '<g id="queue"><path id="m1" style="fill: #0072b2; stroke: none"/></g></svg>'
    )
    assert (
        '<svg viewBox="0 8 72 32" style="max-width: 96px" data-figure="f"><defs></defs>'
        '<g id="f-run-3-ttft" data-run="3"><use href="#f-m1" clip-path="url(#f-p1)"/></g>'
        '<g data-component="queue"><path id="f-m1" style="fill: var(--c0072b2, #0072b2); stroke: none"/></g></svg>'
    ) == inline(svg, "f", ["queue"], top=8)
    with pytest.raises(ValueError, match="not an SVG"):
        inline("<svg>", "f", [])


def test_every_statistic_of_the_summary_is_shown(runs: list[ReportedRun]) -> None:
    """The table of one run's latencies has all that its summary has."""
    shown = {key for key in runs[0].summary if key.endswith("_itl_ms")} - {"p50_itl_ms"}
    assert {f"{statistic}_itl_ms" for statistic in STATISTICS} == shown


@pytest.fixture(scope="module")
def explained(runs: list[ReportedRun]) -> list[Explanation]:
    """The explanation of each run."""
    return [explain([one.run]) for one in runs]


def test_the_critical_path_has_a_row_for_each_rank(explained: list[Explanation]) -> None:
    """How often each is last and what it saves; waiting apart from transfer; no table for a single device."""
    tables = {table.caption: table for table in bottlenecks(explained[1])}
    table = tables["Critical path: which rank is last"]
    ranks = {rank.device: rank for _, rank in explained[1].critical_path.ranks}
    assert ["replica, stage", "last at collectives", "saves at most, a step"] == table.columns[:3]
    assert set(ranks) == {row.head for row in table.rows}
    for row in table.rows:
        assert row.cells[1].share == pytest.approx(ranks[row.head].last_share)
        assert number(1000 * ranks[row.head].saves_ms_per_step, "us") == row.cells[2].text
    wait, transfer = (explained[1].latencies["itl"].mean_path_ms[name] for name in ("wait_for_peers", "interconnect"))
    apart = f"waits {number(wait, 'ms')} for peers, apart from {number(transfer, 'ms')} of transfer"
    assert [note for note in table.notes if apart in note]
    assert not [table for table in bottlenecks(explained[0]) if "Critical" in table.caption]


def test_slow_requests_and_busy_links_are_shown(explained: list[Explanation]) -> None:
    """The tables have what the explanation has: the slowest first, with causes, and the use of links."""
    for found in explained:
        tables = {table.caption: table for table in bottlenecks(found)}
        for kind, name in (("ttft", "TTFT"), ("e2el", "E2E")):
            rows = tables[f"Slowest requests by {name}"].rows
            requests = found.slowest_requests[kind]
            assert [f"request {one.request}" for one in requests] == [row.head for row in rows]
            assert [(number(getattr(one, f"{kind}_ms"), "ms"), one.cause) for one in requests] == [
                (row.cells[0].text, row.cells[1].text) for row in rows
            ]
    links = {table.caption: table for table in bottlenecks(explained[1])}["Busiest links"].rows
    busiest = explained[1].entities.links[0]
    assert links[0].head.startswith(" - ".join(busiest.ends)) and links[0].cells[0].share == busiest.use


def test_without_an_explanation_nothing_is_shown() -> None:
    """No tables and no text without an explanation."""
    assert ([], "") == (bottlenecks(None), map_text(None))


def test_the_map_is_there_with_its_words(runs: list[ReportedRun], explained: list[Explanation]) -> None:
    """A run whose ranks wait has the map of its topology, with a text for screen readers."""
    made = page(runs, explained)
    figures = dict(re.findall(r'<figure id="([^"]+)".*?aria-label="([^"]*)"', made, re.DOTALL))
    ranks = [rank for _, rank in explained[1].critical_path.ranks]
    last = max(ranks, key=lambda rank: rank.last_share).device
    assert {f"run-1-{name}" for name in ("variance-waterfall", "itl-causes", "last-ranks", "topology-map")} <= {
        *figures
    }
    assert figures["run-1-topology-map"].startswith(f"Map of the topology: {last} is most often last at a collective")
    assert "of its bandwidth." in figures["run-1-topology-map"]
    assert all(figures.values())
    assert made == page(runs, explained)
    ids = re.findall(r'\bid="([^"]*)"', made)
    assert sorted(set(ids)) == sorted(ids)


def renamed(value: Any) -> Any:
    """The same with another name for a device, wherever it is."""
    if isinstance(value, str):
        return value.replace("gpu0", HOSTILE)
    if is_dataclass(value):
        return replace(value, **{one.name: renamed(getattr(value, one.name)) for one in fields(value)})
    if isinstance(value, dict):
        return {key: renamed(inner) for key, inner in value.items()}
    return type(value)(map(renamed, value)) if isinstance(value, list | tuple) else value


def test_names_of_devices_are_only_texts(runs: list[ReportedRun], explained: list[Explanation]) -> None:
    """Whatever a device, a link or a cause is called, the page gains no tag from it."""
    made = page(runs[1:], [renamed(explained[1])])
    assert not {"script", "img"} & {tag for tag, _ in Texts(made).tags}
    assert not [name for _, attributes in Texts(made).tags for name in attributes if name.startswith("on")]
