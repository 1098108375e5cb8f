"""How the runs were configured, side by side: model, devices, engine, workload, noise, events."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import Any

from simcluster.catalog.shapes import total_parameters
from simcluster.files.units import show
from simcluster.report.reported_run import ReportedRun
from simcluster.report.table import Row, Table, cells
from simcluster.scenario.resolved import Event, Pool, Scenario

MAX_SHOWN = 8
"""Entries of a list, and events, that are written out; more are counted."""

_SEVERAL_RUNS = "Lines in which the runs differ are marked: what differs below may be due to any of them."


def configuration(runs: Sequence[ReportedRun], labels: Sequence[str]) -> Table:
    """A table with a row for each setting of a scenario and a column for each run."""
    rows = []
    for head, cell in _LINES:
        texts = [cell(run.scenario) for run in runs]
        if any(texts):
            mark = "differs" if len(set(texts)) > 1 else ""
            rows.append(Row(head, cells([text or "-" for text in texts]), mark))
    return Table("Configuration", labels, rows, [_SEVERAL_RUNS] if len(runs) > 1 else (), of_runs=True, is_prose=True)


def differing(table: Table) -> list[str]:
    """Heads of the rows in which the runs differ."""
    return [row.head for row in table.rows if row.mark == "differs"]


def _of_pools(cell: Callable[[Pool], str]) -> Callable[[Scenario], str]:
    """What a cell says of the only pool, or of each by its name."""

    def cells(scenario: Scenario) -> str:
        if len(scenario.pools) == 1:
            return cell(scenario.pools[0])
        return "; ".join(f"{pool.name}: {cell(pool)}" for pool in scenario.pools)

    return cells


def _model(pool: Pool) -> str:
    return f"{pool.model.title or pool.model.name}, {total_parameters(pool.model) / 1e9:,.1f} B parameters"


def _devices(pool: Pool) -> str:
    return f"{len(pool.devices)} x {pool.device.title or pool.device.name}"


def _layout(pool: Pool) -> str:
    stages = pool.replicas[0].stages
    parts = [
        (len(pool.replicas), "replica", "replicas"),
        (len(stages), "pipeline stage", "pipeline stages"),
        (len(stages[0].devices), "tensor-parallel rank", "tensor-parallel ranks"),
    ]
    return ", ".join(f"{number} {one if number == 1 else several}" for number, one, several in parts)


def _bits(pool: Pool) -> str:
    where = ", streamed in every step" if pool.weight_stream is not None else ""
    return f"weights {pool.weight_bits:g} bit{where}; KV cache {pool.kv_bits:g} bit"


def _engine(scenario: Scenario) -> str:
    def of_pool(pool: Pool) -> str:
        engine = pool.engine
        return (
            f"scheduler {engine.scheduler}, router {scenario.router}, launch {engine.launch}, "
            f"at most {engine.max_num_seqs:,} sequences and {engine.max_num_batched_tokens:,} tokens a step"
        )

    return _of_pools(of_pool)(scenario)


def _memory(pool: Pool) -> str:
    return f"{pool.replicas[0].kv_blocks:,} blocks of {pool.engine.block_size} tokens a replica"


def _workload_part(key: str) -> Callable[[Scenario], str]:
    return lambda scenario: in_one_line(scenario.workload.get(key))


def _trace(scenario: Scenario) -> str:
    trace = scenario.workload.get("trace")
    return PurePath(trace).name if isinstance(trace, str) else ""


def in_one_line(value: Any) -> str:
    """A part of a workload section in one line: its kind first, files by their names only."""
    if value is None:
        return ""
    if isinstance(value, dict):
        parts = [in_one_line(value["kind"])] if "kind" in value else []
        for key, inner in value.items():
            text = PurePath(inner).name if key == "file" and isinstance(inner, str) else in_one_line(inner)
            parts += [f"{key.replace('_', ' ')} {text}"] if key != "kind" and text else []
        return ", ".join(parts)
    if isinstance(value, list):
        more = f" and {len(value) - MAX_SHOWN:,} more" if len(value) > MAX_SHOWN else ""
        return " ".join(in_one_line(item) for item in value[:MAX_SHOWN]) + more
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:,}" if isinstance(value, int) else str(value)


def _noise(scenario: Scenario) -> str:
    kinds = {pool.device.kind for pool in scenario.pools}
    rows = [row.source.replace("_", " ") for row in scenario.noise.rows if not kinds.isdisjoint(row.device_kinds)]
    return f"{scenario.noise.name}: {', '.join(rows) if rows else 'none on these devices'}"


def _limits(scenario: Scenario) -> str:
    return ", ".join(f"{name} at most {limit:g} ms" for name, limit in scenario.limits_ms.items())


def _events(scenario: Scenario) -> str:
    more = len(scenario.events) - MAX_SHOWN
    texts = [_event(event) for event in scenario.events[:MAX_SHOWN]]
    return "; ".join([*texts, f"and {more:,} more"] if more > 0 else texts)


def _event(event: Event) -> str:
    ends = event.link or event.ends
    devices = [*event.devices[:2], *(["…"] if len(event.devices) > 2 else [])]
    parts = [event.kind.replace("_", " "), " to ".join(ends) if ends else ", ".join(devices)]
    if event.kind in ("device_slow", "link_slow"):
        parts.append(f"x {event.factor:g}")
    if event.at_s is not None:
        parts.append(f"at {show(event.at_s, 'time')}")
    elif event.mtbf_s is not None:
        parts.append(f"every {show(event.mtbf_s, 'time')} on average")
    lasts_s = event.lasts_s if event.lasts_s is not None else event.mttr_s
    return " ".join(filter(None, [*parts, f"for {show(lasts_s, 'time')}" if lasts_s is not None else ""]))


_LINES: tuple[tuple[str, Callable[[Scenario], str]], ...] = (
    ("Scenario", lambda s: s.title),
    ("Model", _of_pools(_model)),
    ("Devices", _of_pools(_devices)),
    ("Topology", lambda s: s.topology),
    ("Layout", _of_pools(_layout)),
    ("Precision", _of_pools(_bits)),
    ("Engine", _engine),
    ("KV cache", _of_pools(_memory)),
    ("Requests", _workload_part("requests")),
    ("Arrivals", _workload_part("arrivals")),
    ("Prompt tokens", _workload_part("prompt_tokens")),
    ("Output tokens", _workload_part("output_tokens")),
    ("Trace", _trace),
    ("Trace speed-up", _workload_part("speed_up")),
    ("Horizon", _workload_part("horizon")),
    ("Service level", _limits),
    ("Events", _events),
    ("Noise", _noise),
    ("Seed", lambda s: str(s.seed)),
    ("Fidelity", lambda s: s.fidelity),
)
