"""Predicted against measured values: a point per case, on the diagonal if they agree."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from simcluster.plots.save import save

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")


def predicted_against_measured(rows: Sequence[dict[str, Any]], path: Path, title: str = "") -> None:
    """
    Draw two panels, time per output token and time to first token, with a colour for each engine and model.

    Args:
        rows: of `accuracy.table.document`.
        path: of the SVG, equal for equal rows.
        title: above both.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.0, 5.2), layout="constrained")
    panels = figure.subplots(1, 2)
    names = sorted({_name(row) for row in rows})
    for axes, key, what in (
        (panels[0], "tpot_ms", "time per output token"),
        (panels[1], "ttft_ms", "time to first token"),
    ):
        for index, name in enumerate(names):
            own = [row for row in rows if _name(row) == name and row[key] and row[f"predicted_{key}"]]
            axes.scatter([row[key] for row in own], [row[f"predicted_{key}"] for row in own], s=14, alpha=0.7,
                         color=COLOURS[index % len(COLOURS)], label=name, linewidths=0)  # fmt: skip
        values = [row[k] for row in rows for k in (key, f"predicted_{key}") if row[k]]
        if values:
            ends = [min(values) * 0.8, max(values) * 1.25]
            axes.plot(ends, ends, color="#444444", linewidth=0.8)
            for share, style in ((1.2, ":"), (1 / 1.2, ":")):
                axes.plot(ends, [share * end for end in ends], color="#888888", linewidth=0.7, linestyle=style)
            axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends)
        axes.set_xlabel(f"measured {what}, ms")
        axes.set_ylabel(f"predicted {what}, ms")
    panels[0].legend(fontsize=8, frameon=False, loc="upper left")
    figure.suptitle(title or "Predicted against measured (dotted: 20 % off)", fontsize=10)
    save(figure, path)


def _name(row: dict[str, Any]) -> str:
    return f"{row['backend']} {str(row['model']).rsplit('/', 1)[-1]}"
