"""Figures of runs: which are written, what stands on them, and that what is drawn is what was measured."""

import warnings
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Literal

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_runs import write_run
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle, StepPatch
from pictures import is_on_paper, text_on

from simcluster.plots import plot_data, tally, violins
from simcluster.plots.components import COLOURS, KINDS, OTHER, SMALL_SHARE, Kind
from simcluster.plots.distributions import cumulative, exceeding
from simcluster.plots.latency import FIGURES, draw
from simcluster.plots.sheet import fit_axis, number, plain_style, style
from simcluster.plots.tally import MAX_POINTS, N_BINS, Series, Tally
from simcluster.results.read_run import RunFolder, read
from simcluster.trace.columns import COMPONENTS

WAFER = "wse-3: no distribution of token times was ever published; zero spread is assumed, not measured"


@pytest.fixture
def two(tmp_path: Path) -> list[RunFolder]:
    """A fast and a slow run of some requests each, with batches of several sizes."""
    fast = write_run(
        tmp_path / "fast", [[10 + n, *[2 + 0.01 * k for k in range(60)]] for n in range(4)], name="fast",
        arrivals_ms=[0, 30, 60, 90], waits_ms=[0, 5, 1, 2], batch_sizes=(1, 2, 3), noise="quiet", assumptions=[WAFER],
    )  # fmt: skip
    slow = write_run(tmp_path / "slow", [[500, *[40.0] * 120], [800, *[50.0] * 60]], name="slow")
    return [read(fast), read(slow)]


def _axes(figure: Figure, title: str) -> Axes:
    (found,) = (axes for axes in figure.axes if title in axes.get_title(loc="left"))
    return found


def _figure(name: str, runs: list[RunFolder]) -> Figure:
    """One figure, not written."""
    with plain_style():
        figure = FIGURES[name](plot_data.plot_data(runs))
    assert figure is not None
    return figure


@pytest.mark.parametrize("form", ["svg", "png", "pdf"])
def test_writes_the_figures_in_order(
    two: list[RunFolder], tmp_path: Path, form: Literal["svg", "png", "pdf"]
) -> None:
    """All figures appear under their names, in the order of FIGURES, and nothing else."""
    files = draw(two, tmp_path / "a" / "b", form)
    assert [tmp_path / "a" / "b" / f"{name}.{form}" for name in FIGURES] == files
    assert sorted(files) == sorted((tmp_path / "a" / "b").iterdir())
    starts = {"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF"}
    assert all(file.read_bytes().startswith(starts[form]) for file in files)


@pytest.mark.parametrize("form", ["svg", "png", "pdf"])
def test_equal_runs_give_equal_bytes(
    two: list[RunFolder], tmp_path: Path, form: Literal["svg", "png", "pdf"]
) -> None:
    """Drawn twice, every file is the same byte for byte; no time and no path is in it."""
    first, second = draw(two, tmp_path / "first", form), draw(two, tmp_path / "second", form)
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in second]
    assert not any(b"<dc:date>" in file.read_bytes() or str(tmp_path).encode() in file.read_bytes() for file in first)


def test_settings_of_the_user_neither_matter_nor_change(two: list[RunFolder], tmp_path: Path) -> None:
    """matplotlib's settings do not reach a figure, and drawing leaves them as they were."""
    plain = draw(two, tmp_path / "plain", "svg")
    with matplotlib.rc_context({"font.size": 30, "axes.grid": False, "axes.facecolor": "black"}):
        before = dict(matplotlib.rcParams)
        changed = draw(two, tmp_path / "changed", "svg")
        assert before == dict(matplotlib.rcParams)
    assert [file.read_bytes() for file in plain] == [file.read_bytes() for file in changed]


def test_no_run_and_another_format_are_refused(two: list[RunFolder], tmp_path: Path) -> None:
    """Nothing to draw is an error, and so is a format that is not written."""
    with pytest.raises(ValueError, match="no run to draw"):
        draw([], tmp_path, "svg")
    with pytest.raises(ValueError, match="expected one of"):
        draw(two, tmp_path, "gif")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", list(FIGURES))
def test_every_figure_names_its_runs_noise_and_assumptions(two: list[RunFolder], name: str) -> None:
    """Both runs, both noise presets and the assumed zero spread stand on every figure."""
    written = text_on(_figure(name, two))
    assert {"fast", "slow"} <= set(written.splitlines())
    assert "Noise presets — quiet: fast; none: slow." in written
    assert "Assumed, not measured: zero spread on made-device: fast." in written


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("latency_cdfs", ["TTFT: first token − arrival", "TPOT: (last", "ITL: every gap", "TTFT (ms)", "ITL (ms)"]),
        ("latency_tails", ["ITL: every gap", "ITL (ms)", "share of gaps at least this long", "p99"]),
        ("latency_violins", ["ITL: every gap", "ITL (ms)", "TTFT (ms)", "p50 2.29, p99 2.59 ms", "square root"]),
        ("latency_over_time", ["ITL: every gap", "TTFT: first token", "simulated time (s)", "TTFT (ms)"]),
        ("component_bars", ["ITL: every gap", "TTFT: first token", "mean TTFT (ms)", "mean ITL (ms)", "below 0.5 %"]),
        ("batch_over_time", ["requests in the step", "Requests that wait", "simulated time (s)"]),
    ],
)
def test_every_figure_defines_what_it_shows(two: list[RunFolder], name: str, said: list[str]) -> None:
    """Axes have units, and the footer the definitions of the metrics drawn."""
    written = text_on(_figure(name, two))
    assert [] == [text for text in said if text not in written]


def test_a_name_is_not_read_as_mathematics(tmp_path: Path) -> None:
    """Dollars, control characters and letters that the font lacks are drawn without an error or a warning."""
    run = read(write_run(tmp_path / "run", [[1, 2]], name="$\\frac{$ \n\x07 名前"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw([run], tmp_path / "out", "svg")
    assert "$\\frac{$ ?? 名前" in text_on(_figure("latency_cdfs", [run]))


def test_steps_are_at_the_values() -> None:
    """A cumulative distribution rises at each value by that value's share, vertically."""
    values, shares = cumulative(Tally(np.array([3.0, 1.0, 3.0, 5.0])))
    assert [1, 1, 3, 3, 5, 5] == values.tolist()
    assert [0, 0.25, 0.25, 0.75, 0.75, 1] == shares.tolist()


def test_the_tail_counts_the_value_itself() -> None:
    """The share at a value is that of values at least as large: 1 at the least, of the greatest at the end."""
    values, shares = exceeding(Tally(np.array([3.0, 1.0, 3.0, 5.0])))
    assert [1, 3, 3, 5, 5] == values.tolist()
    assert [1, 1, 0.75, 0.75, 0.25] == shares.tolist()


@pytest.mark.parametrize("metric", ["ttft", "tpot", "itl"])
def test_the_drawn_curve_is_the_data(two: list[RunFolder], metric: str) -> None:
    """Half of a panel's curve lies on each side of the summary's median, and its markers at p50 and p99."""
    axes = _axes(_figure("latency_cdfs", two), metric.upper())
    curves, markers = axes.lines[::2], axes.lines[1::2]
    for run, curve, marks in zip(two, curves, markers, strict=True):
        p50, p99 = run.summary[f"p50_{metric}_ms"], run.summary[f"p99_{metric}_ms"]
        assert [p50, p99] == pytest.approx(np.asarray(marks.get_xdata()), rel=1e-12)
        values, shares = np.asarray(curve.get_xdata()), np.asarray(curve.get_ydata())
        assert shares[values <= p50 * (1 + 1e-12)].max() >= 0.5
        assert shares[values < p50 * (1 - 1e-12)].max(initial=0.0) <= 0.5
        assert 0 == shares[0] and 1 == shares[-1]


def test_the_table_below_a_panel_says_n_and_percentiles(two: list[RunFolder]) -> None:
    """Every run's row has its count, median and 99th percentile."""
    legend = _axes(_figure("latency_cdfs", two), "ITL").get_legend()
    assert legend is not None
    rows = [text.get_text().split() for text in legend.get_texts()]
    assert [["n", "p50", "p99", "ms"], ["240", "2.29", "2.59"], ["180", "40.0", "50.0"]] == rows


def test_a_single_request_is_one_step_with_a_marker(tmp_path: Path) -> None:
    """One value gives a vertical line from 0 to 1 inside an axis wider than it, and both markers on it."""
    run = read(write_run(tmp_path / "run", [[250, 2, 2, 2]]))
    axes = _axes(_figure("latency_cdfs", [run]), "TTFT")
    curve, marks = axes.lines
    assert [250, 250] == np.asarray(curve.get_xdata()).tolist()
    assert [250, 250] == np.asarray(marks.get_xdata()).tolist()
    assert "None" != marks.get_marker()
    low, high = axes.get_xlim()
    assert low < 0.96 * 250 and high > 1.04 * 250


def test_rounding_noise_is_not_magnified(tmp_path: Path) -> None:
    """A spread of a millionth looks like a step: the axis stays a tenth of the value wide at least."""
    run = read(write_run(tmp_path / "run", [[1, *[2 + 1e-6 * k for k in range(5)]]]))
    axes = _axes(_figure("latency_cdfs", [run]), "ITL")
    low, high = axes.get_xlim()
    assert high - low > 0.19


@pytest.mark.parametrize(("slowest", "scale"), [(29.0, "linear"), (31.0, "log")])
def test_the_axis_is_logarithmic_from_a_factor_of_thirty(tmp_path: Path, slowest: float, scale: str) -> None:
    """The range over all runs decides."""
    runs = [
        read(write_run(tmp_path / "a", [[1.0, 1]], name="a")),
        read(write_run(tmp_path / "b", [[slowest, 1]], name="b")),
    ]
    assert scale == _axes(_figure("latency_cdfs", runs), "TTFT").get_xscale()


def test_the_tail_ends_at_the_greatest_gap(two: list[RunFolder]) -> None:
    """On two logarithmic axes, a curve starts at the least gap with 100 % and drops at the greatest."""
    axes = _axes(_figure("latency_tails", two), "ITL")
    assert ("log", "log") == (axes.get_xscale(), axes.get_yscale())
    values = np.asarray(axes.lines[0].get_xdata())
    shares = np.asarray(axes.lines[0].get_ydata())
    assert (2.0, 1.0) == (values[0], shares[0])
    assert 2.59 == pytest.approx(values[-1], rel=1e-12)
    assert 4 / 240 == pytest.approx(shares[-2], rel=1e-12)


def test_few_gaps_have_no_tail_and_the_figure_says_why(tmp_path: Path) -> None:
    """Below a hundred values there is no curve but a reason; another run is drawn nevertheless."""
    short = read(write_run(tmp_path / "short", [[1, *[2.0] * 99]], name="short"))
    long = read(write_run(tmp_path / "long", [[1, *[2.0] * 100]], name="long"))
    alone = _figure("latency_tails", [short])
    assert [] == list(_axes(alone, "ITL").lines)
    assert "short: 99 gaps; a tail needs at least 100." in text_on(alone)
    assert "no run has enough gaps" in text_on(alone)
    both = _figure("latency_tails", [short, long])
    assert "short: 99 gaps; a tail needs at least 100." in text_on(both)
    assert 2.0 == np.asarray(_axes(both, "ITL").lines[0].get_xdata())[0]


def test_requests_have_a_tail_too(tmp_path: Path) -> None:
    """A hundred requests have a tail of TTFT, with one step for each of them."""
    run = read(write_run(tmp_path / "run", [[float(n)] for n in range(1, 101)]))
    axes = _axes(_figure("latency_tails", [run]), "TTFT")
    (curve,) = axes.lines
    assert "TTFT (ms)" == axes.get_xlabel()
    shares = np.asarray(curve.get_ydata())[:-1]
    assert np.arange(1, 101)[::-1] / 100 == pytest.approx(np.unique(shares)[::-1])


def test_a_violin_is_the_histogram(two: list[RunFolder]) -> None:
    """Its height goes with the square root of the counts, on both sides, and ends at the least and greatest value."""
    axes = _axes(_figure("latency_violins", two), "ITL")
    for place, (run, violin) in enumerate(zip(two, axes.patches, strict=True)):
        assert isinstance(violin, StepPatch)
        values, edges, baseline = violin.get_data()
        itl = plot_data.plot_data([run])[0].latencies["itl"]
        heights = values - np.asarray(baseline)
        filled = heights > 0
        assert itl.extent() == (edges[:-1][filled][0], edges[1:][filled][-1])
        assert "log" == axes.get_xscale()
        shares = violins.profile(itl, np.geomspace(*axes.get_xlim(), len(edges)))
        assert 1 == pytest.approx(shares.sum())
        assert np.sqrt(shares / shares.max()) == pytest.approx(heights / heights.max())
        assert place < (values + baseline)[0] / 2 < place + 1


def test_equal_values_are_a_line_not_a_bell(tmp_path: Path) -> None:
    """Without variation a violin has no width along the axis, and its percentiles are the value."""
    run = read(write_run(tmp_path / "run", [[5.0, *[2.0] * 100]]))
    figure = _figure("latency_violins", [run])
    (violin,) = _axes(figure, "ITL").patches
    assert isinstance(violin, StepPatch)
    assert {2.0} == set(violin.get_data()[1])
    assert "p50 2.00, p99 2.00 ms" in text_on(figure)


def test_few_values_have_no_percentiles_far_out(tmp_path: Path) -> None:
    """p99 takes a hundred values and p99.9 a thousand; of fewer neither a stroke nor a number is drawn."""
    run = read(write_run(tmp_path / "run", [[5.0, *[2.0 + n / 1000 for n in range(1000)]]]))
    written = text_on(_figure("latency_violins", [run]))
    assert "p50 5.00 ms" in written
    assert "p50 2.50, p99 2.99, p99.9 3.00 ms" in written


@pytest.mark.parametrize("name", ["latency_tails", "latency_violins"])
def test_no_text_leaves_the_canvas(two: list[RunFolder], name: str) -> None:
    """All that is written lies inside the figure, with a long name as well."""
    two[0].summary["scenario"] = "a-long-name-" * 12
    figure = _figure(name, two)
    assert is_on_paper(figure)


def _points(axes: Axes) -> list[np.ndarray]:
    return [np.asarray(drawn.get_offsets()) for drawn in axes.collections if isinstance(drawn, PathCollection)]


def test_few_points_are_drawn_one_by_one(two: list[RunFolder]) -> None:
    """ITL stands at the token that ends the gap, TTFT at the arrival."""
    figure = _figure("latency_over_time", two)
    _, slow = _points(_axes(figure, "ITL"))
    first = next(point for point in slow.tolist() if point[1] == 50.0)
    assert [0.85, 50.0] == pytest.approx(first, rel=1e-12)
    fast, _ = _points(_axes(figure, "TTFT"))
    assert [[0.0, 10], [0.03, 11], [0.06, 12], [0.09, 13]] == pytest.approx(fast, rel=1e-12)


def test_many_points_become_bins(tmp_path: Path) -> None:
    """Beyond the limit there is a band, a median and a maximum for each bin of time, and the footer says so."""
    gaps = [1.0, 2.0, 3.0, 4.0] * (MAX_POINTS // 4 + 1)
    run = read(write_run(tmp_path / "run", [[1, *gaps]]))
    figure = _figure("latency_over_time", [run])
    axes = _axes(figure, "ITL")
    band, median = (patch for patch in axes.patches if isinstance(patch, StepPatch))
    values, edges, baseline = band.get_data()
    assert N_BINS == len(values) == len(edges) - 1
    assert [4.0] * N_BINS == pytest.approx(values)
    assert [1.0] * N_BINS == pytest.approx(np.asarray(baseline))
    assert [2.5] * N_BINS == pytest.approx(median.get_data()[0], abs=0.5)
    assert [4.0] * N_BINS == [value for _, value in _points(axes)[0].tolist()]
    assert f"in {N_BINS} bins of time" in text_on(figure)


def test_an_idle_time_has_no_band() -> None:
    """A bin without points is a hole, not a line across."""
    series = Series(N_BINS * 1.0, is_binned=True)
    series.add(np.array([0.5, N_BINS - 0.5, N_BINS * 1.0]), np.array([1.0, 2.0, 4.0]))
    edges_s, rows = series.bands()
    assert [0.0, float(N_BINS)] == [edges_s[0], edges_s[-1]]
    assert [1.0] * 4 == rows[0].tolist()
    assert [2.02, 3.0, 3.98, 4.0] == pytest.approx(rows[-1])
    assert np.isnan(rows[1:-1]).all()
    assert (1.0, 4.0) == series.extent()


def _bars(axes: Axes) -> list[tuple[str, float]]:
    return [
        (patch.get_gid() or "", patch.get_width())
        for patch in axes.patches
        if isinstance(patch, Rectangle) and patch.get_gid()
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_bars_are_means_by_component(two: list[RunFolder], kind: Kind) -> None:
    """The pieces of a run's bar are mean times share, and small ones are one piece; together they are the mean."""
    pieces = _bars(_axes(_figure("component_bars", two), f"Mean {kind.upper()}"))
    for run in two:
        mean_ms, shares = run.summary[f"mean_{kind}_ms"], run.summary[f"{kind}_shares"]
        named = [name for name in COMPONENTS if shares[name] >= SMALL_SHARE]
        bar, pieces = pieces[: len(named) + 1], pieces[len(named) + 1 :]
        assert [*named, OTHER] == [name for name, _ in bar]
        assert [shares[name] * mean_ms for name in named] == pytest.approx(
            [width for _, width in bar[:-1]], rel=1e-12
        )
        assert mean_ms == pytest.approx(sum(width for _, width in bar), rel=1e-12)
    assert [] == pieces


def test_what_is_below_zero_is_written_and_not_drawn(tmp_path: Path) -> None:
    """Gaps that made up for a pause have a negative stall: it is written below their bar, whose sum is the mean."""

    def split(request: int, token: int, ticks: int) -> dict[str, int]:
        more = ticks // 10 if token else 0
        return {"compute": ticks + more, "stall": -more}

    run = read(write_run(tmp_path / "run", [[50.0, 10.0, 10.0], [50.0, 10.0, 10.0]], split=split))
    figure = _figure("component_bars", [run])
    assert ["compute"] == [name for name, _ in _bars(_axes(figure, "Mean ITL"))]
    assert "stall -1.00 ms" in text_on(figure)
    assert "10.0 ms" in text_on(figure)


def test_bars_carry_their_values(two: list[RunFolder]) -> None:
    """The mean stands at the end of a bar, and every piece's value in it or below it."""
    written = text_on(_figure("component_bars", two))
    slow = two[1].summary["mean_itl_ms"]
    for text in (f"{number(slow)} ms", f"weight fetch {number(0.75 * slow)}", f"compute {number(0.249 * slow)}"):
        assert text in written


def test_components_have_one_colour_each() -> None:
    """Every component of the trace has a colour of its own."""
    assert {*COMPONENTS, OTHER} == set(COLOURS)
    assert len(COLOURS) == len(set(COLOURS.values()))


def test_runs_are_distinguished_without_colour() -> None:
    """Neighbouring runs differ in colour, dash and marker, and no two of 28 runs look the same."""
    styles = [style(place) for place in range(28)]
    assert 28 == len({(how.colour, how.dash, how.marker) for how in styles})
    for a, b in pairwise(styles):
        assert a.colour != b.colour and a.dash != b.dash and a.marker != b.marker


def test_batches_are_drawn_only_where_they_vary(two: list[RunFolder], tmp_path: Path) -> None:
    """A run of one batch size has no such figure; with one that varies both are in it."""
    _, slow = two
    assert FIGURES["batch_over_time"](plot_data.plot_data([slow])) is None
    files = draw([slow], tmp_path / "out", "svg")
    assert [name for name in FIGURES if name != "batch_over_time"] == [file.stem for file in files]
    fast_points, slow_points = _points(_axes(_figure("batch_over_time", two), "Batch"))
    assert {1.0, 2.0, 3.0} == set(fast_points[:, 1])
    assert {1.0} == set(slow_points[:, 1])
    assert two[0].n_tokens == len(fast_points)


def test_steps_of_several_tokens_count_once(tmp_path: Path) -> None:
    """A batch size is drawn once for a step, also where a step's tokens fall into two blocks."""
    run = read(write_run(tmp_path / "run", [[1, 1], [1, 1]]))
    columns = next(run.tokens())
    columns = columns | {"step": np.array([0, 0, 1, 1]), "batch_size": np.array([2, 2, 7, 7])}

    class InSingleRows(RunFolder):
        def tokens(self, _: object = None) -> Iterable[dict[str, np.ndarray]]:  # type: ignore[override]
            return ({name: values[row : row + 1] for name, values in columns.items()} for row in range(4))

    made = InSingleRows(run.folder, run.summary, run.provenance, run.requests, run.n_tokens)
    (gathered,) = plot_data.plot_data([made])
    assert [2, 7] == sorted(gathered.batch_over_time.points()[1].tolist())
    assert (2, 7) == gathered.batch_extent


def test_the_queue_is_requests_arrived_and_not_scheduled(two: list[RunFolder]) -> None:
    """The number of waiting requests rises at arrivals and falls when they are scheduled."""
    times_s, lengths = plot_data.plot_data(two[:1])[0].waiting
    expected = [(0, 0), (0.03, 1), (0.035, 0), (0.06, 1), (0.061, 0), (0.09, 1), (0.092, 0)]
    assert expected == list(zip(times_s.tolist(), lengths.tolist(), strict=True))[:-1]
    assert 0 == lengths[-1]


def test_requests_never_scheduled_wait_until_the_end(tmp_path: Path) -> None:
    """Requests that are not served stay in the queue; refused ones were never in it."""
    run = read(write_run(tmp_path / "run", [[1, 1], [], []], arrivals_ms=[0, 1, 2]))
    run.requests["status"][2] = "failed"
    times_s, lengths = plot_data.waiting(run.requests, 0.004)
    assert [(0, 0), (0.001, 1), (0.004, 1)] == list(zip(times_s.tolist(), lengths.tolist(), strict=True))


@pytest.mark.parametrize(
    "name", ["latency_cdfs", "latency_tails", "latency_violins", "latency_over_time", "component_bars"]
)
def test_a_run_without_finished_requests_says_so(tmp_path: Path, name: str) -> None:
    """Nothing finished: the figures are there, and say why they are empty."""
    run = read(write_run(tmp_path / "run", [[], []]))
    written = text_on(_figure(name, [run]))
    assert "made: 0 of 2 requests finished." in written
    assert "no finished request" in written or "no run has enough gaps" in written


def test_a_single_token_has_ttft_only(tmp_path: Path) -> None:
    """One token: TTFT is drawn, TPOT and ITL say why not, and the files are written."""
    run = read(write_run(tmp_path / "run", [[7.0]]))
    figure = _figure("latency_cdfs", [run])
    assert [7, 7] == np.asarray(_axes(figure, "TTFT").lines[0].get_xdata()).tolist()
    assert [] == list(_axes(figure, "ITL").lines)
    assert {"no second token", "no request of several tokens"} <= set(text_on(figure).splitlines())
    assert 5 == len(draw([run], tmp_path / "out", "svg"))


def test_labels_are_scenario_names_until_they_repeat(tmp_path: Path) -> None:
    """Seeds distinguish runs of one scenario, else as much of their paths as it takes, else their number."""

    def labels(*given: tuple[str, str, int]) -> list[str]:
        return plot_data.labels([
            RunFolder(tmp_path / place, {"scenario": name, "seed": seed}, {}, {}, 0) for place, name, seed in given
        ])  # fmt: skip

    assert ["a", "b"] == labels(("x", "a", 0), ("y", "b", 0))
    assert ["a (seed 0)", "a (seed 1)", "b"] == labels(("x", "a", 0), ("y", "a", 1), ("z", "b", 0))
    assert ["a (x)", "a (y)"] == labels(("x", "a", 0), ("y", "a", 0))
    assert ["a (1/x)", "a (2/x)"] == labels(("1/x", "a", 0), ("2/x", "a", 0))
    assert ["a (1/r/x)", "a (2/r/x)", "a (2/r/y)"] == labels(("1/r/x", "a", 0), ("2/r/x", "a", 0), ("2/r/y", "a", 0))
    assert ["a", "a (again, 2)"] == labels(("x", "a", 0), ("x", "a", 0))
    (long,) = labels(("x", "n" * 500, 0))
    assert plot_data.MAX_LABEL_LENGTH >= len(long)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0, "0"), (30.0, "30.0"), (568.2, "568"), (999.7, "1,000"), (12345.6, "12,346"), (0.00123, "0.00123"),
     (3e-6, "3e-06")],
)  # fmt: skip
def test_numbers_have_three_digits(value: float, shown: str) -> None:
    """People read three digits, without exponents while they can."""
    assert shown == number(value)


@pytest.mark.parametrize("extent", [(0.0, 0.0), (5.0, 5.0), (1e-3, 1e5), (10.0, 11.0), (3.0, 30.0)])
@pytest.mark.parametrize("log", [None, True])
def test_axes_hold_what_is_drawn(extent: tuple[float, float], log: bool | None) -> None:
    """Least and greatest value are inside the limits, with some tick between them."""
    axes = Figure().add_subplot()
    fit_axis(axes, "x", [extent], log=log)
    low, high = axes.get_xlim()
    assert low < extent[0] <= extent[1] < high
    assert any(low <= tick <= high for tick in axes.get_xticks())


@given(st.lists(st.lists(st.floats(1e-3, 1e6), max_size=30), max_size=5), st.floats(0, 1))
def test_a_tally_has_numpys_quantiles(blocks: list[list[float]], share: float) -> None:
    """However values were cut into blocks, quantiles are numpy's, up to rounding."""
    made = Tally()
    for block in blocks:
        made.add(np.array(block))
    values = np.array([value for block in blocks for value in block])
    assert len(values) == len(made)
    if len(values):
        assert np.quantile(values, share) == pytest.approx(made.quantile(share), rel=1e-9)
        assert (values.min(), values.max()) == made.extent()


@given(st.lists(st.floats(1e-3, 1e6), min_size=50, max_size=200), st.floats(0, 1))
def test_a_full_tally_rounds_but_keeps_the_count(values: list[float], share: float) -> None:
    """Past its limit a tally loses no value, and each is off by at most half a level."""
    made = Tally(np.array(values), max_distinct=10)
    off = 1 / (2 * tally.LEVELS_PER_OCTAVE)
    assert len(values) == len(made)
    assert made.is_rounded == (len(set(values)) > 10)
    assert np.quantile(values, share) == pytest.approx(made.quantile(share), rel=off)


def test_a_tally_stays_small() -> None:
    """A million different values within one factor of two need no more places than levels, once rounded."""
    made = Tally(max_distinct=1000)
    for block in np.random.default_rng(0).uniform(1, 2, (10, 100_000)):
        made.add(block)
    assert 1_000_000 == len(made)
    assert tally.LEVELS_PER_OCTAVE + 1 >= len(made.steps()[0])
