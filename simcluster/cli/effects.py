"""Print what-if shares as tables: a block per figure with a row per source, then the effects of events."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from simcluster.cli.printing import percent, plain_table, plus_minus, print_remarks, wide_console
from simcluster.files.units import number
from simcluster.results.metrics import LATENCIES

if TYPE_CHECKING:
    from rich.console import Console

    from simcluster.variance.sobol import Estimate
    from simcluster.variance.what_if import EntityEffect, FigureEffects, WhatIf

OF_ENTITIES = ("mean_itl_ms", "p99_itl_ms", "mean_ttft_ms", "p99_ttft_ms", "mean_e2el_ms")
MAX_ROWS = 10
BELOW_ZERO = "a share below zero is sampling noise: the true share is about zero; more --seeds reduce the noise"


def print_effects(found: WhatIf) -> None:
    """Print the result of `variance.what_if`."""
    console = wide_console()
    seeds = f"{len(found.seeds)} seeds from {found.seeds[0]}"
    head = f"{found.scenario}, {seeds}, {found.runs:,} runs, noise {found.noise}"
    console.print(head, markup=False, style="bold", soft_wrap=True)
    for name, figure in found.figures.items():
        if figure.sources is not None:
            console.print()
            _sources(console, name, figure)
    if any(figure.entities for figure in found.figures.values()):
        console.print()
        _entities(console, found.figures)
    console.print()
    below_zero = [BELOW_ZERO] if any(map(_is_below_zero, found.figures.values())) else []
    print_remarks(console, (*below_zero, *found.notes, *found.assumptions))


def _is_below_zero(figure: FigureEffects) -> bool:
    """Whether a share of a figure is printed with a minus."""
    rows = [*(figure.sources or {}).values(), *(figure.devices or {}).values()]
    shares = [share for row in rows for share in (row.total, row.first)]
    shares += [figure.interactions] if figure.interactions is not None else []
    return any(percent(end).startswith("-") for share in shares for end in (share.value, share.low))


def title(figure: str) -> str:
    """A figure in words: `p99_itl_ms` is ITL p99."""
    kind, latency, _ = figure.split("_")
    return f"{LATENCIES[latency]} {kind}"


def _sources(console: Console, name: str, figure: FigureEffects) -> None:
    """Print the sources of one figure, the largest first."""
    table = plain_table(f"{title(name)}: {number(figure.mean, 'ms')}", "in all", "", "alone", "", "interaction")
    rows = {**(figure.sources or {})}
    rows |= {f"noise of {device}": one for device, one in (figure.devices or {}).items()}
    for source, one in sorted(rows.items(), key=lambda row: -row[1].total.value)[:MAX_ROWS]:
        cells = [text for share in (one.total, one.first) for text in (percent(share.value), _interval(share))]
        table.add_row(source, *cells, percent(one.interaction))
    console.print(table)
    if (alone := figure.interactions) is not None:
        std = number(math.sqrt(figure.variance), "ms")
        share = f"{percent(alone.value)} of its variance ({_interval(alone)})"
        console.print(f"std over worlds {std}; {share} is due to interactions", markup=False, soft_wrap=True)


def _interval(one: Estimate) -> str:
    return f"{percent(one.low)} to {percent(one.high)}"


def _entities(console: Console, figures: dict[str, FigureEffects]) -> None:
    """Print what events of each device and link add to the figures, the largest effect first."""
    shown = [name for name in OF_ENTITIES if name in figures]
    table = plain_table("events of", *(f"add to {title(name)}" for name in shown))

    def most(entity: str) -> float:
        return max(abs(figures[name].entities[entity].relative or 0.0) for name in shown)

    entities = sorted(figures[shown[0]].entities, key=lambda entity: -most(entity)) if shown else []
    for entity in entities[:MAX_ROWS]:
        table.add_row(entity, *(_effect(figures[name].entities[entity]) for name in shown))
    console.print(table)
    if len(entities) > MAX_ROWS:
        console.print(f"and {len(entities) - MAX_ROWS} more devices and links", markup=False)


def _effect(one: EntityEffect) -> str:
    """The increase of a figure with its half-width, and relative to the figure."""
    half_width = None if one.high is None else one.high - one.effect
    return f"{plus_minus(one.effect, half_width, 'ms')} ({percent(one.relative)})"
