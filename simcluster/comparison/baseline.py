"""
Baselines: the results of a side in a small text file, to be committed and reviewed.

The file begins with means as comments for the reader. Then follow what makes it comparable, the gates, and for each
metric a line with its value in every world, and a line with its components if it is gated. A change of one metric
changes three lines.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from simcluster.comparison.parts import Parts
from simcluster.comparison.side import Side, World
from simcluster.comparison.words import shown
from simcluster.files.atomic_write import atomic_write
from simcluster.files.problems import InputError, nearest
from simcluster.files.quantities import Frozen, fault
from simcluster.files.source import Document
from simcluster.files.validation import validate
from simcluster.scenario.gates import MAX_GATES, METRICS, default_gates, parse_all
from simcluster.scenario.spec import GateText
from simcluster.trace.columns import COMPONENTS

BASELINE_FORMAT = "simcluster-baseline-3"
MAX_WORLDS = 10_000


def _metric(name: str) -> str:
    if name not in METRICS:
        raise fault(f"unknown metric '{name[:80]}'", nearest(name[:80], METRICS))
    return name


def _component(name: str) -> str:
    if name not in COMPONENTS:
        raise fault(f"unknown component '{name[:80]}'", nearest(name[:80], COMPONENTS))
    return name


Text = Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
Digits = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
MetricName = Annotated[str, AfterValidator(_metric)]
ComponentName = Annotated[str, AfterValidator(_component)]
Share = Annotated[float, Field(ge=0, le=1)]
Value = Annotated[float, Field(ge=0, le=1e18)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]


class BaselineFile(Frozen):
    """The file format."""

    format: Literal["simcluster-baseline-3"]
    scenario: Text
    scenario_digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    metric_definitions: Text
    noise: Text
    noise_digest: Digits
    limits_ms: Annotated[dict[Text, Value], Field(max_length=10)]
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1, max_length=MAX_WORLDS)]
    source_seeds: Annotated[dict[Text, Seed], Field(max_length=10_000)]
    made_with: Annotated[dict[Text, Text], Field(max_length=50)]
    gates: Annotated[tuple[GateText, ...], Field(max_length=MAX_GATES)]
    worlds: dict[MetricName, Annotated[tuple[Value | None, ...], Field(max_length=MAX_WORLDS)]]
    parts: dict[MetricName, dict[ComponentName, Annotated[tuple[Share, ...], Field(max_length=MAX_WORLDS)]]]
    traces: Annotated[tuple[Digits, ...], Field(max_length=MAX_WORLDS)]

    @model_validator(mode="after")
    def _is_complete(self) -> BaselineFile:
        shares = [(f"parts.{name}.{part}", of) for name, parts in self.parts.items() for part, of in parts.items()]
        for what, values in (*self.worlds.items(), *shares, ("traces", self.traces)):
            if len(values) != len(self.seeds):
                raise fault(f"{len(values)} values of {what}", f"expected one for each of {len(self.seeds)} seeds")
        return self


def is_baseline(document: Document) -> bool:
    """Whether a document is a baseline of any version."""
    data = document.data
    return isinstance(data, dict) and str(data.get("format", "")).startswith("simcluster-baseline-")


def from_document(document: Document) -> Side:
    """
    Convert a baseline file to a side.

    Raises:
        InputError: with every error in it, or that it is of another version and how to renew it.
    """
    if (version := document.data.get("format")) != BASELINE_FORMAT:
        found = f"written by another version (format {str(version)[:40]})"
        expected = f"this one has {BASELINE_FORMAT}: run `simcluster compare` again with --update-baseline"
        raise InputError([document.problem(("format",), found, expected)])
    file = validate(document, BaselineFile, from_json=True)
    world = World(
        file.seeds, dict(file.source_seeds), file.noise, file.noise_digest, dict(file.limits_ms),
        file.metric_definitions,
    )  # fmt: skip
    rows = tuple({name: values[n] for name, values in file.worlds.items()} for n in range(len(file.seeds)))
    parts = tuple(_parts_of_world(file, n) for n in range(len(file.seeds)))
    return Side(
        file.scenario, "baseline", document.file, file.scenario_digest, world, dict(file.made_with), file.gates,
        file.traces, rows, parts,
    )  # fmt: skip


def _parts_of_world(file: BaselineFile, n: int) -> Parts:
    """Shares of the components in each metric of one world, without those that are zero."""
    return {name: {part: of[n] for part, of in parts.items() if of[n]} for name, parts in file.parts.items()}


def _parts_by_metric(side: Side) -> dict[str, dict[str, list[float]]]:
    """For each gated metric with components in all worlds, the share of each component by world."""
    found = {}
    gated = {gate.metric for gate in parse_all(side.gates) or default_gates()}
    for metric in side.parts[0] if side.parts else ():
        worlds = [parts.get(metric, {}) for parts in side.parts]
        if metric in gated and all(worlds):
            used = [name for name in COMPONENTS if any(name in shares for shares in worlds)]
            found[metric] = {name: [shares.get(name, 0.0) for shares in worlds] for name in used}
    return found


def dump(side: Side) -> str:
    """The text of a baseline file, which `from_document` reads back."""
    return "\n".join(_lines(side)) + "\n"


def write(side: Side, path: Path) -> None:
    """Write a baseline atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        file.write(dump(side).encode())


def _lines(side: Side) -> Iterator[str]:
    world = side.world
    yield f"# Results of {side.name} in {len(world.seeds)} worlds, written by `simcluster compare --update-baseline`."
    yield "# Means over the worlds:"
    metrics = [name for name in METRICS if any(value is not None for value in side.values(name))]
    for name in metrics:
        values = [value for value in side.values(name) if value is not None]
        yield f"#   {METRICS[name].title:<24} {shown(name, statistics.fmean(values))}"
    yield f"format: {BASELINE_FORMAT}"
    for key, value in (
        ("scenario", side.name), ("scenario_digest", side.scenario_digest),
        ("metric_definitions", world.metric_definitions), ("noise", world.noise),
        ("noise_digest", world.noise_digest),
        ("limits_ms", world.limits_ms), ("seeds", world.seeds), ("source_seeds", world.source_seeds),
        ("made_with", side.made_with),
    ):  # fmt: skip
        yield f"{key}: {_json(value)}"
    yield from _block("gates", [f"- {_json(gate)}" for gate in side.gates], "[]")
    yield from _block("worlds", [f"{name}: {_json(side.values(name))}" for name in metrics], "{}")
    yield from _block("parts", [f"{name}: {_json(shares)}" for name, shares in _parts_by_metric(side).items()], "{}")
    yield f"traces: {_json(side.traces)}"


def _block(key: str, lines: list[str], empty: str) -> Iterator[str]:
    yield f"{key}:" if lines else f"{key}: {empty}"
    yield from (f"  {line}" for line in lines)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
