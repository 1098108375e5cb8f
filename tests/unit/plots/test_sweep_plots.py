"""Pictures of sweeps: what is drawn is what the table has, and what cannot be drawn is left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from simcluster.plots.front import pareto
from simcluster.plots.heat_maps import heat_maps
from simcluster.plots.sheet import number, plain_style
from simcluster.plots.sweep import draw
from simcluster.sweeps.plan import Plan, read
from simcluster.sweeps.record import record

BASE = """
model: llama-3.1-8b
topology: h100-8
workload:
  arrivals: {kind: poisson, rate: 40 req/s}
  prompt_tokens: {kind: fixed, value: 64}
  output_tokens: {kind: uniform, low: 2, high: 9}
  requests: 6
"""
GRID = """
variants: {one: {}, "$four$": {deployment.tensor_parallel_size: 4}, three: {deployment.tensor_parallel_size: 3}}
grid: {workload.requests: [3, 6], deployment.weights: [16 bit, 8 bit]}
"""


def swept(folder: Path, design: str, extra: str = "") -> tuple[Plan, list[dict[str, Any]]]:
    """A sweep that was simulated."""
    (folder / "base.yaml").write_text(BASE)
    lines = "".join(f"  {line}\n" for line in design.strip().splitlines())
    (folder / "s.yaml").write_text(f"title: A sweep\nscenario: base.yaml\ndesign:\n{lines}{extra}\n")
    plan = read(str(folder / "s.yaml"))
    return plan, record(plan, folder / "out", jobs=1)[1]


def written(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if isinstance(text, Text)]


def test_a_heat_map_has_a_cell_for_every_point(tmp_path: Path) -> None:
    """Each panel has a cell a point with its figure; points that cannot be are grey and have none."""
    plan, rows = swept(tmp_path, GRID)
    with plain_style():
        figure = heat_maps(plan, rows)
    assert figure is not None
    panels = figure.axes
    assert 3 * 2 == len(panels)  # three figures that differ, for each of two widths of weights
    for name, of_name in zip(("mean_tpot_ms", "output_throughput", "power_w"), (0, 2, 4), strict=True):
        for bits in (0, 1):
            panel = panels[of_name + bits]
            cells = [patch for patch in panel.patches if isinstance(patch, Rectangle)]
            there = [
                row for row in rows if row["status"] == "ok" and row["deployment.weights [bit]"] == (16, 8)[bits]
            ]
            scale = 1e-3 if name == "power_w" else 1.0
            assert 6 == len(cells)
            assert sorted(number(row[name] * scale) for row in there) == sorted(t.get_text() for t in panel.texts)


def test_the_front_is_drawn_with_its_numbers(tmp_path: Path) -> None:
    """Points of the front carry their number; all that were simulated are drawn."""
    plan, rows = swept(tmp_path, GRID)
    with plain_style():
        figure = pareto(plan, rows)
    assert figure is not None
    numbers = {str(place) for place, row in enumerate(rows) if row["on_front"]}
    assert {text.get_text() for text in figure.axes[0].texts} == numbers
    assert 8 == len(figure.axes[0].lines)
    assert "A sweep" in written(figure)


@pytest.mark.parametrize(
    ("design", "names"),
    [
        ("grid: {noise: [none]}", []),
        ("random: {points: 3, ranges: {workload.requests: {low: 2, high: 6}}}", ["pareto.svg"]),
        ("grid: {workload.requests: [2, 6]}", ["pareto.svg"]),
        ("grid: {deployment.tensor_parallel_size: [3, 5], workload.requests: [2, 3]}", []),
    ],
)
def test_what_has_no_axes_is_left_out(design: str, names: list[str], tmp_path: Path) -> None:
    """One point, drawn points, a single axis, or nothing that can be: only what says something is drawn."""
    plan, rows = swept(tmp_path, design)
    assert names == [file.name for file in draw(plan, rows, tmp_path / "pictures")]


def test_a_search_without_a_capacity(tmp_path: Path) -> None:
    """Points without a figure do not stop the pictures."""
    extra = "set: {slo: {ttft: 1 us}}\ncapacity: {low: 1 req/s, high: 9 req/s}\n"
    plan, rows = swept(tmp_path, "grid: {deployment.tensor_parallel_size: [1, 2], noise: [none, datacenter]}", extra)

    assert ["below"] * 4 == [row["capacity_bound"] for row in rows]
    assert [0] * 4 == [row["on_front"] for row in rows]
    draw(plan, rows, tmp_path / "pictures")
