"""Pictures of topologies are complete, deterministic and not clipped."""

from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from simcluster.files.source import parse
from simcluster.plots.save import save
from simcluster.plots.topology import draw
from simcluster.topology.layout import positions
from simcluster.topology.model import Topology
from simcluster.topology.read import from_document, load, names

UNPLACED = """
title: A $strange$ title_with $^marks
nodes:
  - {name: gpu0, kind: device, device: h100-sxm}
  - {name: gpu1, kind: device, device: h100-sxm}
  - {name: sw, kind: switch}
links:
  - {from: gpu0, to: sw, link: nvlink4}
  - {from: gpu1, to: sw, bandwidth: 1 GB/s, latency: 0 us}
"""


def rendered(topology: Topology) -> Any:
    """The canvas of a picture that was really drawn."""
    canvas: Any = FigureCanvasAgg(draw(topology))
    canvas.draw()
    return canvas


def texts(figure: Figure) -> list[Text]:
    return [text for text in figure.findobj(Text) if isinstance(text, Text) and text.get_text()]


@pytest.fixture(scope="module", params=names())
def drawn(request: pytest.FixtureRequest) -> tuple[Topology, Any]:
    """A shipped topology and the canvas with its picture."""
    topology = load(request.param)
    return topology, rendered(topology)


class TestEveryShippedTopology:
    def test_texts_are_whole_and_apart(self, drawn: tuple[Topology, Any]) -> None:
        """Every text lies inside the picture, and no two cover each other."""
        _, canvas = drawn
        width, height = canvas.get_width_height()
        boxes = [(text.get_text(), text.get_window_extent(canvas.get_renderer())) for text in texts(canvas.figure)]

        for text, box in boxes:
            assert (box.x0 >= 0, box.y0 >= 0, box.x1 <= width, box.y1 <= height) == (True,) * 4, text
        for (one, a), (other, b) in combinations(boxes, 2):
            assert not (a.x0 < b.x1 and b.x0 < a.x1 and a.y0 < b.y1 and b.y0 < a.y1), (one, other)

    def test_every_device_is_labelled(self, drawn: tuple[Topology, Any]) -> None:
        """Each device's name, or at least its number, is in the picture, and the legend gives each link's figures."""
        topology, canvas = drawn
        shown = {text.get_text() for text in texts(canvas.figure)}

        for device in topology.devices:
            short = device.rpartition("/")[2]
            assert short in shown or short.lstrip("abcdefghijklmnopqrstuvwxyz") in shown
        for link in {edge["link"] for *_, edge in topology.graph.edges(data=True)} - {""}:
            assert any(text.startswith(f"{link}: ") and "/s" in text for text in shown)


class TestSave:
    @pytest.mark.parametrize("suffix", [".svg", ".png", ".pdf"])
    def test_same_bytes_every_time(self, suffix: str, tmp_path: Path) -> None:
        """Drawing and saving twice gives the same file, without a date."""
        for name in ("one", "two"):
            save(draw(load("h100-2x8")), tmp_path / f"{name}{suffix}")

        assert (tmp_path / f"one{suffix}").read_bytes() == (tmp_path / f"two{suffix}").read_bytes()
        assert sorted(path.name for path in tmp_path.iterdir()) == [f"one{suffix}", f"two{suffix}"]

    def test_other_suffixes_are_refused(self, tmp_path: Path) -> None:
        """An unknown suffix is an error that lists the known ones, and nothing is written."""
        with pytest.raises(ValueError, match=r"expected one of \.svg, \.png, \.pdf"):
            save(Figure(), tmp_path / "picture.gif")

        assert list(tmp_path.iterdir()) == []


def test_graphs_without_places_get_some() -> None:
    """A graph that says no x and y is laid out the same way every time, and its title is taken literally."""
    topology = from_document(parse(UNPLACED, "unplaced.yaml"))

    assert positions(topology) == positions(topology)
    assert len(set(positions(topology).values())) == 3
    shown = texts(rendered(topology).figure)
    assert "A $strange$ title_with $^marks" in {text.get_text() for text in shown}
