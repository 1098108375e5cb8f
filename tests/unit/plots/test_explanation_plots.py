"""Pictures of explanations: which are written, the same bytes each time, and that what is drawn is what was found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_runs import write_run
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from pictures import is_on_paper, text_on
from small_runs import loaded, recorded

from simcluster.plots.bands import latency_bands, quantiles, together
from simcluster.plots.explanation import draw_explanation
from simcluster.plots.plot_data import plot_data
from simcluster.plots.ranks import last_ranks
from simcluster.plots.sheet import plain_style
from simcluster.plots.slow_tokens import components_by_percentile, itl_causes
from simcluster.plots.tally import Tally
from simcluster.plots.topology_map import topology_map
from simcluster.plots.waterfall import variance_waterfall
from simcluster.results.read_run import RunFolder, read
from simcluster.results.replications import read_all, replicate
from simcluster.scenario.known_topology import topology_of
from simcluster.scenario.load import load
from simcluster.trace.columns import COMPONENT
from simcluster.variance.critical_path import critical_path, last_over_time
from simcluster.variance.event_intervals import labelled_intervals
from simcluster.variance.explain import explain
from simcluster.variance.link_use import link_use
from simcluster.variance.slow_tokens import EDGES, slow_tokens

SCENARIO = """
model: llama-3.1-8b
topology: h100-8
deployment: {tensor_parallel_size: 4}
workload:
  arrivals: {kind: poisson, rate: 60 req/s}
  prompt_tokens: {kind: lognormal, median: 200, p99: 900}
  output_tokens: {kind: uniform, low: 2, high: 30}
  requests: 60
noise: {preset: none, op_jitter: {cv: 1 %}, arrival_skew: {mean: 4 us}}
events: [{kind: device_slow, device: gpu2, times_slower: 3, at: 100 ms, lasts: 300 ms}]
"""
ALONE = SCENARIO.replace("tensor_parallel_size: 4", "replicas: 2").replace("events:", "# ")
"""On single devices without events."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[RunFolder]:
    """Four replications of a scenario in which a device is slow for a while."""
    folder = tmp_path_factory.mktemp("replications")
    replicate(loaded(folder, SCENARIO), 4, folder / "runs", jobs=1)
    return read_all(folder / "runs")


def test_all_figures_of_replications(runs: list[RunFolder], tmp_path: Path) -> None:
    """Six figures are written, twice the same bytes, each with title, preset and units."""
    found = explain(runs)
    once = draw_explanation(runs, found, tmp_path / "once", "svg")
    again = draw_explanation(runs, found, tmp_path / "again", "svg")

    names = ["latency_bands", "variance_waterfall", "components_by_percentile", "itl_causes", "last_ranks"]
    names.append("topology_map")
    assert names == [file.stem for file in once]
    assert [file.read_bytes() for file in once] == [file.read_bytes() for file in again]


def test_one_run_has_no_bands(runs: list[RunFolder], tmp_path: Path) -> None:
    """One run has no spread over replications to draw; the rest is drawn."""
    files = draw_explanation(runs[:1], explain(runs[:1]), tmp_path, "svg")

    assert "latency_bands" not in [file.stem for file in files]
    assert 5 == len(files)


def test_a_run_without_its_scenario(tmp_path: Path) -> None:
    """Without scenario there are no ranks and no events, and what the trace contains is drawn."""
    run = read(write_run(tmp_path / "made", [[20.0, *[2.0 + 0.01 * k for k in range(200)]]]))
    files = draw_explanation([run], explain([run]), tmp_path / "pictures", "svg")

    assert ["variance_waterfall", "components_by_percentile", "itl_causes"] == [file.stem for file in files]


@pytest.mark.parametrize("latencies_ms", [[[5.0]], [[5.0, 2.0, 2.0]], [[]]])
def test_hardly_anything_to_draw(latencies_ms: list[list[float]], tmp_path: Path) -> None:
    """Runs without gaps, without any spread or without tokens say so and are no error."""
    run = read(write_run(tmp_path / "made", latencies_ms))
    with plain_style():
        figure = variance_waterfall(together(plot_data([run])), explain([run]))

    assert "nothing varies" in text_on(figure)
    assert draw_explanation([run], explain([run]), tmp_path / "pictures", "svg")


def test_bars_of_the_waterfall_are_the_shares(runs: list[RunFolder]) -> None:
    """Each bar is as long as the component's share, and starts where the one before it ends."""
    found = explain(runs)
    with plain_style():
        figure = variance_waterfall(together(plot_data(runs)), found)
    axes = figure.axes[2]
    bars = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    shares = found.latencies["itl"].variance_shares

    assert axes.get_title(loc="left").startswith("ITL")
    assert [shares[str(bar.get_gid())] for bar in bars] == pytest.approx([bar.get_width() for bar in bars])
    ends = np.cumsum([bar.get_width() for bar in bars])
    assert [bar.get_x() for bar in bars] == pytest.approx([0.0, *ends[:-1]])


def test_bands_are_quantiles_over_replications(runs: list[RunFolder]) -> None:
    """The line is the median over replications of each percentile."""
    gathered = plot_data(runs)
    with plain_style():
        figure = latency_bands(gathered, together(gathered))
    assert figure is not None
    line = figure.axes[4].get_lines()[0]
    expected = np.median(quantiles([run.latencies["itl"] for run in gathered]), axis=0)

    assert np.allclose(expected, line.get_xdata())
    assert latency_bands(gathered[:2], together(gathered[:2])) is None


def test_bars_of_percentiles_are_conditional_means(runs: list[RunFolder]) -> None:
    """The stack of each band is the mean of the gaps between two percentiles."""
    gaps_ms = np.sort(
        np.concatenate([np.repeat(*run.latencies["itl"].steps()) for run in plot_data(runs)])
    )  # fmt: skip
    quantiles_ms = np.quantile(gaps_ms, EDGES[1:-1])
    lengths, _ = slow_tokens(runs, quantiles_ms.tolist(), 3.0, [0.0] * len(COMPONENT))
    bands = np.searchsorted(quantiles_ms, gaps_ms, side="left")

    assert [gaps_ms[bands == band].mean() for band in range(8)] == pytest.approx(
        lengths.parts_ms.sum(axis=1).tolist()
    )
    assert [gaps_ms[bands == band].max() for band in range(8)] == pytest.approx(lengths.upto_ms)
    with plain_style():
        figure = components_by_percentile(together(plot_data(runs)), lengths)
    assert "p99.9 to greatest" in text_on(figure)


def test_causes_are_reported(tmp_path: Path) -> None:
    """Each long gap is charged to the component that exceeds its mean most, and the legend counts them."""

    def split(request: int, token: int, ticks: int) -> dict[str, int]:
        long_for = {50: "queue", 100: "stall", 101: "stall"}
        usual = min(ticks, 2 * 10**9)
        return {"compute": usual, long_for.get(token, "queue"): ticks - usual}

    gaps_ms = [2.0 if token not in (50, 100, 101) else 9.0 for token in range(1, 200)]
    run = read(write_run(tmp_path / "made", [[2.0, *gaps_ms]], split=split))
    mean_path_ms = list(explain([run]).latencies["itl"].mean_path_ms.values())
    _, found = slow_tokens([run], EDGES[1:-1], 3.0, mean_path_ms)

    assert [COMPONENT["queue"], COMPONENT["stall"], COMPONENT["stall"]] == found.components.tolist()
    assert [9.0, 9.0, 9.0] == found.gaps_ms.tolist()
    with plain_style():
        figure = itl_causes(plot_data([run])[0], found, [(0.1, 0.2, "device slow: gpu2")])
    assert "stall, 67 %" in text_on(figure)
    assert "device slow: gpu2" in text_on(figure)


def test_intervals_are_those_of_the_events(runs: list[RunFolder]) -> None:
    """Events are marked with their times."""
    assert [(0.1, 0.4, "device slow: gpu2")] == labelled_intervals(runs[0])


def test_the_slow_device_is_dark_while_it_is_slow(runs: list[RunFolder]) -> None:
    """In the heat map the planted straggler is the slowest during its event, and no rank is outside it."""
    (group,) = last_over_time(runs[0], 20)
    end_s = group.edges_s[-1]
    middles_s = (group.edges_s[:-1] + group.edges_s[1:]) / 2
    inside = (middles_s > 0.1 + end_s / 40) & (middles_s < 0.4 - end_s / 40)

    assert group.slowest is not None
    assert {1.0} == set(group.slowest[2, inside])
    assert 0 == np.nansum(group.slowest[:, middles_s > 0.4 + end_s / 40])
    assert np.nansum(group.last, axis=0) == pytest.approx(np.ones(20))
    with plain_style():
        figure = last_ranks(plot_data(runs[:1])[0], [group])
    assert figure is not None
    assert "slowest to fetch" in text_on(figure)


def test_no_ranks_no_heat_map(tmp_path: Path) -> None:
    """A run of single devices has no heat map."""
    run = recorded(loaded(tmp_path, ALONE), tmp_path / "run")

    assert [] == last_over_time(run, 10)
    assert last_ranks(plot_data([run])[0], []) is None


def test_tails_have_bands_too(runs: list[RunFolder]) -> None:
    """Below, the line is the median of the same quantiles, as far down as a replication has values."""
    gathered = plot_data(runs)
    with plain_style():
        figure = latency_bands(gathered, together(gathered))
    assert figure is not None
    itl, ttft = figure.axes[5], figure.axes[1]
    line = itl.get_lines()[0]
    exceeded = np.asarray(line.get_ydata())
    tallies = [run.latencies["itl"] for run in gathered]

    assert ("log", "log") == (itl.get_xscale(), itl.get_yscale())
    assert np.allclose(np.median(quantiles(tallies, 1 - exceeded), axis=0), line.get_xdata())
    assert exceeded.min() >= 1 / min(map(len, tallies))
    assert [] == list(ttft.get_lines())
    assert "fewer than three replications have 100 values" in text_on(figure)
    assert is_on_paper(figure)


def _map(runs: list[RunFolder], known: bool = True) -> Figure | None:
    topology = topology_of(load(runs[0].folder / "scenario.resolved.yaml"))
    assert topology is not None
    use = link_use(runs, topology) if known else None
    with plain_style():
        return topology_map(together(plot_data(runs)), topology, critical_path(runs), use)


def test_the_map_has_the_shares_of_ranks(runs: list[RunFolder]) -> None:
    """A drawing for each way to be last, in which every rank has its share and the darkest is last most often."""
    figure = _map(runs)
    assert figure is not None
    found = critical_path(runs)
    assert found is not None
    shares = {rank.device: rank.fetch.slowest_share for rank in found.groups[0].ranks}
    last, slowest = figure.axes
    boxes = {str(patch.get_gid()): patch for patch in slowest.patches if patch.get_gid()}
    darkness = {name: 1 - sum(to_rgb(boxes[f"rank-1-{name}"].get_facecolor())) / 3 for name in shares}

    assert ["last at a collective", "slowest to fetch"] == [axes.get_title(loc="left") for axes in (last, slowest)]
    assert "gpu2" == max(shares, key=lambda name: shares[name]) == max(darkness, key=lambda name: darkness[name])
    assert f"gpu2\n{100 * shares['gpu2']:.0f} %" in [text.get_text() for text in slowest.texts]
    assert "gpu7" in [text.get_text() for text in slowest.texts]
    assert is_on_paper(figure)


def test_the_map_says_what_it_shows(runs: list[RunFolder]) -> None:
    """Title, legend and footer name the use of links where it is known, and say so where it is not."""
    both, ranks_only = _map(runs), _map(runs, known=False)
    assert both is not None and ranks_only is not None

    assert "Last ranks and utilisation of links" in text_on(both)
    assert "utilisation:" in text_on(both)
    assert "Not counted: repeated work" in text_on(both)
    assert "and utilisation of links" not in text_on(ranks_only)
    assert "utilisation:" not in text_on(ranks_only)
    assert "Only ranks are coloured: the utilisation of links is unknown." in text_on(ranks_only)


def test_no_ranks_and_no_traffic_no_map(tmp_path: Path) -> None:
    """Single devices that send each other nothing are not drawn; stages of a pipeline are, for their links."""
    alone = recorded(loaded(tmp_path, ALONE), tmp_path / "alone")
    in_stages = ALONE.replace("replicas", "pipeline_parallel_size")

    assert _map([alone]) is None
    stages = _map([recorded(loaded(tmp_path, in_stages), tmp_path / "stages")])
    assert stages is not None
    assert "No rank waits for another." in text_on(stages)


def test_merged_tallies() -> None:
    """Two tallies merged are one of all values."""
    one, other = Tally(np.array([1.0, 2.0, 2.0])), Tally(np.array([2.0, 5.0]))
    one.merge(other)

    assert [[1.0, 2.0, 5.0], [1, 3, 1]] == [part.tolist() for part in one.steps()]
