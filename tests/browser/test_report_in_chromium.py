"""The report in a real browser: no error, no request, all figures and links there, light, dark, narrow and wide."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from small_runs import run

from simcluster.report.colours import PAPER, contrast
from simcluster.report.write import write

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
SIZES = {"narrow": (390, 844), "wide": (1600, 1000)}
KINDS = ("still", "interactive")


class Opened(NamedTuple):
    """A report in the browser, and what it said while it loaded."""

    page: Any
    said: list[str]
    """Console messages, errors and refusals."""
    asked: list[str]
    """Addresses that were fetched."""


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium of the system."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip("no Chromium on this machine; apt-get install chromium, or name one in CHROMIUM")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        yield started
        started.close()


@pytest.fixture(scope="session")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A wafer and two GPUs in one report, still and interactive."""
    folder = tmp_path_factory.mktemp("report")
    runs = [run(folder, "wafer"), run(folder, "gpus")]
    for kind in KINDS:
        write(runs, folder / f"{kind}.html", interactive=kind == "interactive")
    return {kind: folder / f"{kind}.html" for kind in KINDS}


def opened(browser: Any, file: Path, size: str = "wide", scheme: str = "light") -> Opened:
    """A report opened from the disk."""
    width, height = SIZES[size]
    page = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme).new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(file.as_uri())
    return Opened(page, said, asked)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", list(SIZES))
def test_it_shows_everything_and_says_nothing(
    browser: Any, reports: dict[str, Path], kind: str, scheme: str, size: str
) -> None:
    """The console stays empty, only the file is read, all figures have a size, and the page does not overflow."""
    page, said, asked = opened(browser, reports[kind], size, scheme)
    figures = page.evaluate(
        "[...document.querySelectorAll('figure svg')].map(svg => [svg, svg.getBoundingClientRect()])"
        ".map(([svg, place]) => [svg.dataset.figure, place.width, place.height])"
    )
    assert ([], [reports[kind].as_uri()]) == (said, asked)
    keys = {
        "latency-cdfs",
        "latency-tails",
        "latency-violins",
        "latency-over-time",
        "component-bars",
        "batch-over-time",
    }
    each = {"variance-waterfall", "components-by-percentile", "itl-causes"}
    keys |= {f"run-{place}-{name}" for place in (0, 1) for name in each}
    keys |= {"run-1-last-ranks", "run-1-topology-map", "topology-0", "topology-1"}
    assert keys == {key for key, _, _ in figures}
    assert all(width > 250 and height > 100 for _, width, height in figures)
    assert SIZES[size][0] == page.evaluate("document.documentElement.scrollWidth")


def test_links_lead_somewhere(browser: Any, reports: dict[str, Path]) -> None:
    """Every inner link has its target, no id occurs twice, and an SVG contains what it refers to."""
    page, _, _ = opened(browser, reports["interactive"])
    missing = page.evaluate(
        "[...document.querySelectorAll('a[href^=\"#\"], use')].map(e => e.getAttribute('href'))"
        ".filter(target => !document.getElementById(target.slice(1)))"
    )
    clips = page.evaluate(
        "[...document.querySelectorAll('[clip-path]')].map(e => e.getAttribute('clip-path').slice(5, -1))"
        ".filter(target => !document.getElementById(target))"
    )
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
    outer = page.evaluate("[...document.querySelectorAll('a[href^=\"http\"]')].map(e => e.protocol)")
    assert ([], []) == (missing, clips)
    assert sorted(set(ids)) == sorted(ids)
    assert outer and {"https:", "http:"} >= set(outer)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_ranks_and_links_of_the_map_can_be_read(browser: Any, reports: dict[str, Path], scheme: str) -> None:
    """On the map of the topology a rank's name and share stand out from the shade of its box."""
    page, _, _ = opened(browser, reports["still"], scheme=scheme)
    pairs = page.evaluate(
        "[...document.querySelectorAll('#run-1-topology-map [id*=\"rank-\"] path')].flatMap(box => {"
        " const around = box.getBoundingClientRect();"
        " return [...document.querySelectorAll('#run-1-topology-map g[id*=\"text_\"] > g')].filter(text => {"
        "  const at = text.getBoundingClientRect();"
        "  return at.left >= around.left && at.right <= around.right && at.top >= around.top"
        "   && at.bottom <= around.bottom; })"
        " .map(text => [getComputedStyle(text).fill, getComputedStyle(box).fill]); })"
    )
    assert len(pairs) >= 4
    assert all(contrast(_hex(text), _hex(box)) > 4 for text, box in pairs)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_can_be_read(browser: Any, reports: dict[str, Path], scheme: str) -> None:
    """The page is white or dark as the reader has it, and texts and figures' ink stand out from it."""
    page, _, _ = opened(browser, reports["still"], scheme=scheme)
    colours = page.evaluate(
        "[document.body, document.querySelector('.note'), document.querySelector('.badge'),"
        " document.querySelector('nav a')].map(e => [getComputedStyle(e).color, getComputedStyle(e).backgroundColor])"
    )
    ink, paper = page.evaluate(
        "[...document.querySelectorAll('#latency-cdfs [style*=\"#222222\"]')].slice(0, 1).map(e =>"
        " getComputedStyle(e).fill)"
        ".concat(getComputedStyle(document.querySelector('#latency-cdfs-patch_1 path')).fill)"
    )
    body = _hex(colours[0][1])
    assert {"light": "#ffffff", "dark": PAPER}[scheme] == body == _hex(paper)
    assert contrast(_hex(ink), body) > 12
    for text, behind in colours:
        assert contrast(_hex(text), body if behind == "rgba(0, 0, 0, 0)" else _hex(behind)) > 4.5


def _hex(colour: str) -> str:
    numbers = colour.removeprefix("rgb(").removesuffix(")").split(",")
    return "#" + "".join(f"{int(number):02x}" for number in numbers)


def test_on_paper_it_is_light_and_without_buttons(browser: Any, reports: dict[str, Path]) -> None:
    """Printed by someone with a dark screen, it is black on white, and shows no navigation."""
    page, _, _ = opened(browser, reports["interactive"], scheme="dark")
    page.emulate_media(media="print")
    assert "rgb(255, 255, 255)" == page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert not page.is_visible("nav")
    assert not page.is_visible(".tools >> nth=0")
    assert page.pdf()[:4] == b"%PDF"


def _curve(page: Any) -> tuple[float, float]:
    """A point of the first run's TTFT curve, half way up, on the screen."""
    page.locator("#latency-cdfs").scroll_into_view_if_needed()
    place = page.evaluate(
        "(() => { const path = document.querySelector('#latency-cdfs-run-0-ttft path');"
        " const at = path.getPointAtLength(path.getTotalLength() / 2).matrixTransform(path.getScreenCTM());"
        " return [at.x, at.y]; })()"
    )
    return place[0], place[1]


def test_hover_shows_run_and_values(browser: Any, reports: dict[str, Path]) -> None:
    """Pointing at a curve shows its run and the values; at a bar, its component; elsewhere, the position alone."""
    page, said, _ = opened(browser, reports["interactive"])
    page.mouse.move(*_curve(page))
    lines = page.inner_text("#tip").splitlines()
    assert "wafer" == lines[0]
    assert [True, True] == [lines[1].startswith("TTFT (ms): "), lines[2].startswith("share of values up to x: 0.")]
    bar = page.locator("#component-bars [data-component='launch_host'] path").first
    bar.scroll_into_view_if_needed()
    bar.hover()
    name, value = page.inner_text("#tip").splitlines()
    assert "launch host" == name
    shown = page.locator("#run-0 .of-one >> nth=1 >> tr", has_text="launch host").locator(".value").first.inner_text()
    assert float(shown.removesuffix(" ms")) == pytest.approx(float(value.removesuffix(" ms")), rel=1e-3)
    page.mouse.move(5, 5)
    assert not page.is_visible("#tip")
    assert [] == said


def test_hover_shows_why_a_gap_was_long(browser: Any, reports: dict[str, Path]) -> None:
    """Pointing at a dot of the longest gaps shows its component, when it ended, and how long it was."""
    page, said, _ = opened(browser, reports["interactive"])
    page.locator("#run-1-itl-causes").scroll_into_view_if_needed()
    x, y, component = page.evaluate(
        "(() => { const dot = document.querySelector('#run-1-itl-causes [data-component] use');"
        " const at = dot.getBoundingClientRect();"
        " const whose = dot.closest('[data-component]').dataset.component;"
        " return [at.left + at.width / 2, at.top + at.height / 2, whose]; })()"
    )
    page.mouse.move(x, y)
    lines = page.inner_text("#tip").splitlines()
    assert component.replace("_", " ") == lines[0]
    assert [True, True] == [lines[1].startswith("simulated time (s)"), lines[2].startswith("ITL (ms): ")]
    assert [] == said


def test_dragging_zooms_and_a_double_click_goes_back(browser: Any, reports: dict[str, Path]) -> None:
    """A part that is dragged over fills its axes, with ticks of its own; afterwards the figure is as it was."""
    page, said, _ = opened(browser, reports["interactive"])
    x, y = _curve(page)
    shape = "document.querySelector('#latency-cdfs-run-0-ttft path').getAttribute('d')"
    before = page.evaluate(shape)
    page.mouse.move(x - 40, y - 30)
    page.mouse.down()
    page.mouse.move(x + 40, y + 30, steps=4)
    page.mouse.up()
    assert before != page.evaluate(shape)
    assert page.locator("#latency-cdfs .tick").count() > 4
    page.mouse.dblclick(*_curve(page))
    assert page.locator("#latency-cdfs .tick").count() == 0
    same = page.evaluate(
        "(before) => { const numbers = text => text.match(/-?[\\d.]+/g).map(Number);"
        f" return numbers(before).every((n, i) => Math.abs(n - numbers({shape})[i]) < 0.01); }}",
        before,
    )
    assert same
    assert [] == said


def test_buttons_zoom_and_names_hide(browser: Any, reports: dict[str, Path]) -> None:
    """Without a mouse the buttons zoom, and a run's name takes what is drawn of it away and brings it back."""
    page, said, _ = opened(browser, reports["interactive"], "narrow")
    page.click("#latency-tails button:has-text('Zoom in')")
    assert page.locator("#latency-tails .tick").count() > 2
    page.click("#latency-tails button:has-text('Reset')")
    assert page.locator("#latency-tails .tick").count() == 0
    name = page.get_by_role("button", name="wafer")
    name.click()
    assert not page.is_visible("#latency-tails-run-0-itl-tail")
    name.click()
    assert page.is_visible("#latency-tails-run-0-itl-tail")
    assert [] == said


def test_a_hostile_title_stays_a_title(browser: Any, tmp_path: Path) -> None:
    """A title that would be a script, a tag or an attribute is shown as it is written, and does nothing."""
    title = "<script>document.title='taken'</script><img src=x onerror=alert(1)>' onmouseover='alert(2)"
    write([run(tmp_path, title=title)], tmp_path / "page.html", interactive=True)
    page, said, asked = opened(browser, tmp_path / "page.html")
    assert title == page.inner_text("h1")
    assert page.title().startswith("<script>")
    assert ([], 1) == (said, len(asked))
    assert 1 == page.locator("script").count()
