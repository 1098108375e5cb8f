"""Turn the workload of a scenario into its requests, once, before the run starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from simcluster.files.problems import InputError, Problem
from simcluster.numerics.arrays import Floats, Integers
from simcluster.numerics.streams import stream, uniforms
from simcluster.numerics.ticks import TICKS_PER_S, Ticks, array_to_ticks
from simcluster.workload.arrivals import ARRIVALS, Closed
from simcluster.workload.lengths import LENGTHS
from simcluster.workload.spec import WorkloadSpec
from simcluster.workload.traces import MAX_SPAN_S, Trace, read_trace


@dataclass(frozen=True, eq=False)
class Requests:
    """All requests: read-only int64 arrays, one entry per request, sorted by arrival and then by row."""

    arrival_ticks: Ticks
    """Ticks since the start of the run; all 0 in a closed loop."""
    prompt_tokens: Integers
    output_tokens: Integers
    concurrency: int | None = None
    """Requests in flight in a closed loop, in which the next arrives when one finishes; None otherwise."""
    dropped: tuple[tuple[str, int], ...] = ()
    """Number of rows of a trace that were left out, by reason."""
    notes: tuple[str, ...] = ()
    """Remarks for readers of the results on how the requests were made."""

    def __post_init__(self) -> None:
        for values in (self.arrival_ticks, self.prompt_tokens, self.output_tokens):
            values.flags.writeable = False

    def __len__(self) -> int:
        return len(self.arrival_ticks)


def materialise(spec: WorkloadSpec, seed: int, base_folder: Path) -> Requests:
    """
    Make the requests of a workload.

    Arrivals, prompt lengths and output lengths come from three streams keyed by the seed and their names, one uniform
    number per request each: a change of one of them leaves the others as they were, and additional requests leave the
    first ones as they were (except where all arrivals are stretched together, see `arrivals.gamma`).

    Args:
        spec: the checked `workload:` section.
        seed: of the run.
        base_folder: from which relative file names in the workload start.

    Raises:
        InputError: a trace or a file of lengths is not usable, or arrivals reach past `MAX_SPAN_S`.
    """
    if spec.trace is not None:
        return _replayed(spec, seed, base_folder / spec.trace)
    assert spec.arrivals is not None and spec.prompt_tokens is not None and spec.output_tokens is not None
    n = spec.requests or 1
    arrivals_s = ARRIVALS[spec.arrivals.kind](spec.arrivals, _uniforms(seed, "arrivals", n))
    _require_span(arrivals_s[-1], "arrivals", "expected fewer requests or a higher rate")
    prompts, outputs = (
        LENGTHS[lengths.kind](lengths, _uniforms(seed, name, n), base_folder)
        for name, lengths in (("prompt_tokens", spec.prompt_tokens), ("output_tokens", spec.output_tokens))
    )
    concurrency = spec.arrivals.concurrency if isinstance(spec.arrivals, Closed) else None
    return Requests(array_to_ticks(arrivals_s), prompts, outputs, concurrency)


def _replayed(spec: WorkloadSpec, seed: int, file: Path) -> Requests:
    """Turn the rows of a trace into requests, sorted, with times as the scenario asks."""
    trace = read_trace(file, spec.trace_format, spec.requests)
    notes = [f"{file.name} read as {trace.format}"]
    if spec.requests is not None and len(trace.arrival_ticks) < spec.requests:
        notes.append(f"the trace has {len(trace.arrival_ticks):,} usable rows; {spec.requests:,} were requested")
    n_back = int(np.count_nonzero(np.diff(trace.arrival_ticks) < 0))
    if n_back:
        notes.append(f"rows sorted by arrival: {n_back:,} were earlier than the row above them")
    ticks, note = _spread(trace, seed, file) if spec.spread_quantised else _as_stamped(trace)
    notes += note
    if spec.speed_up != 1.0:
        _require_span(ticks.max() / TICKS_PER_S / spec.speed_up, "speed_up", "expected a larger one")
        ticks = np.rint(ticks / spec.speed_up).astype(np.int64)
        notes.append(f"arrival times divided by {spec.speed_up:g}")
    order = np.argsort(ticks, kind="stable")
    return Requests(
        arrival_ticks=ticks[order],
        prompt_tokens=trace.prompt_tokens[order],
        output_tokens=trace.output_tokens[order],
        dropped=trace.dropped,
        notes=tuple(notes),
    )


def _as_stamped(trace: Trace) -> tuple[Ticks, list[str]]:
    """Take arrivals as in the trace, with a remark if most rows share their timestamp with others."""
    n_rows, n_stamps = len(trace.arrival_ticks), len(np.unique(trace.arrival_ticks))
    if 2 * n_stamps > n_rows:
        return trace.arrival_ticks, []
    return trace.arrival_ticks, [
        f"{n_rows:,} requests share {n_stamps:,} timestamps and arrive in groups; spread_quantised would spread them"
    ]


def _spread(trace: Trace, seed: int, file: Path) -> tuple[Ticks, list[str]]:
    """
    Spread arrivals uniformly at random over one step of the trace's clock, each from its timestamp on.

    The step is the smallest gap between two different timestamps, so no request reaches the next timestamp.
    """
    stamps = np.unique(trace.arrival_ticks)
    if len(stamps) < 2:
        expected = "expected at least two, which give the clock's step; use more rows or remove spread_quantised"
        raise InputError([Problem(str(file), 0, "", "all rows used have the same timestamp", expected)])
    step = int(np.diff(stamps).min())
    uniform = _uniforms(seed, "spread", len(trace.arrival_ticks))
    offsets = np.floor(uniform * step).astype(np.int64)
    return trace.arrival_ticks + offsets, [f"requests spread over the clock's step of {step / 1e9:g} ms"]


def _require_span(last_s: float, field: str, expected: str) -> None:
    """Reject arrivals later than `MAX_SPAN_S`."""
    if not last_s <= MAX_SPAN_S:
        found = f"the last request arrives after {last_s:.3g} s, the most is {MAX_SPAN_S:,} s"
        raise InputError([Problem("workload", 0, field, found, expected)])


def _uniforms(seed: int, source: str, n: int) -> Floats:
    return uniforms(stream(seed, "workload", source), n)
