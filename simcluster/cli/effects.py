"""Print what-if shares as tables: a block per figure with a row per source, then the effects of events."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from simcluster.cli.printing import percent, plain_table, plus_minus, print_remarks, wide_console
from simcluster.files.units import number
from simcluster.results.metrics import LATENCIES

if TYPE_CHECKING:
    from rich.console import Console

OF_ENTITIES = ("mean_itl_ms", "p99_itl_ms", "mean_ttft_ms", "p99_ttft_ms", "mean_e2el_ms")
MAX_ROWS = 10
BELOW_ZERO = "a share below zero is sampling noise: the true share is about zero; more --seeds reduce the noise"


def print_effects(found: dict[str, Any]) -> None:
    """Print the result of `variance.what_if`."""
    console = wide_console()
    seeds, figures = found["seeds"], found["figures"]
    heading = (
        f"{found['scenario']}, {len(seeds)} seeds from {seeds[0]}, {found['runs']:,} runs, noise {found['noise']}"
    )
    console.print(heading, markup=False, style="bold", soft_wrap=True)
    for name, figure in figures.items():
        if figure["sources"] is not None:
            console.print()
            _sources(console, name, figure)
    if figures and next(iter(figures.values()))["entities"]:
        console.print()
        _entities(console, figures)
    console.print()
    below_zero = [BELOW_ZERO] if any(map(_is_below_zero, figures.values())) else []
    print_remarks(console, (*below_zero, *found["notes"], *found["assumptions"]))


def _is_below_zero(figure: dict[str, Any]) -> bool:
    """Whether a share of a figure is printed with a minus."""
    rows = [*(figure["sources"] or {}).values(), *(figure.get("devices") or {}).values()]
    shares = [row[key] for row in rows for key in ("total", "first")]
    shares += [figure["interactions"]] if figure["sources"] is not None else []
    return any(percent(one[key]).startswith("-") for one in shares for key in ("value", "low"))


def title(figure: str) -> str:
    """A figure in words: `p99_itl_ms` is ITL p99."""
    kind, latency, _ = figure.split("_")
    return f"{LATENCIES[latency]} {kind}"


def _sources(console: Console, name: str, figure: dict[str, Any]) -> None:
    """Print the sources of one figure, the largest first."""
    table = plain_table(f"{title(name)}: {number(figure['mean'], 'ms')}", "in all", "", "alone", "", "interaction")
    rows = figure["sources"] | {f"noise of {device}": one for device, one in (figure.get("devices") or {}).items()}
    for source, one in sorted(rows.items(), key=lambda row: -row[1]["total"]["value"])[:MAX_ROWS]:
        cells = [text for key in ("total", "first") for text in (percent(one[key]["value"]), _interval(one[key]))]
        table.add_row(source, *cells, percent(one["interaction"]))
    console.print(table)
    alone = figure["interactions"]
    std = number(math.sqrt(figure["variance"]), "ms")
    share = f"{percent(alone['value'])} of its variance ({_interval(alone)})"
    console.print(f"std over worlds {std}; {share} is due to interactions", markup=False, soft_wrap=True)


def _interval(one: dict[str, float]) -> str:
    return f"{percent(one['low'])} to {percent(one['high'])}"


def _entities(console: Console, figures: dict[str, Any]) -> None:
    """Print what events of each device and link add to the figures, the largest effect first."""
    shown = [name for name in OF_ENTITIES if name in figures]
    table = plain_table("events of", *(f"add to {title(name)}" for name in shown))

    def most(entity: str) -> float:
        return max(abs(float(figures[name]["entities"][entity]["relative"] or 0.0)) for name in shown)

    entities = sorted(figures[shown[0]]["entities"], key=lambda entity: -most(entity)) if shown else []
    for entity in entities[:MAX_ROWS]:
        table.add_row(entity, *(_effect(figures[name]["entities"][entity]) for name in shown))
    console.print(table)
    if len(entities) > MAX_ROWS:
        console.print(f"and {len(entities) - MAX_ROWS} more devices and links", markup=False)


def _effect(one: dict[str, float | None]) -> str:
    """The increase of a figure with its half-width, and relative to the figure."""
    effect, high, relative = one["effect"] or 0.0, one["high"], one["relative"]
    return f"{plus_minus(effect, None if high is None else high - effect, 'ms')} ({percent(relative)})"
