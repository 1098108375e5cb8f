"""
The fitted constants of a GPU, LPU or RDU: what each class of op attains of the data sheet, and the cost of launches.

A file either has constants of its own or is `scaled_from` another one: then everything it does not state itself is
taken from there and marked `scaled`, while peaks and bandwidth come from the device's data sheet.
A precision without a fit is covered by an explicit rule of the file (`fallbacks`) or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Annotated, Literal, get_args

from pydantic import Field

from simcluster.catalog import entries
from simcluster.catalog.sources import source_problems
from simcluster.files import units
from simcluster.files.problems import InputError, Problem
from simcluster.files.quantities import Bytes, Count, Frozen, Ratio, Seconds, Source
from simcluster.files.source import Document
from simcluster.files.validation import validate

OpClass = Literal[
    "gemm", "attention_prefill", "attention_decode", "moe", "elementwise", "embedding",
    "gemm_block", "moe_block", "attention_prefill_64", "attention_decode_64", "attention_prefill_latent",
    "attention_decode_latent", "norm", "activation",
]  # fmt: skip
"""Classes of op. Every device has the first six; the others are special cases, used if a device has constants."""
REQUIRED: tuple[OpClass, ...] = get_args(OpClass)[:6]
LaunchMode = Literal["graph", "eager"]
Status = Literal["fitted", "scaled", "assumed"]
Width = Literal["16", "8", "4"]
ComputeBits = Literal[16, 8, 4]
Efficiency = Annotated[Ratio, Field(gt=0, le=1)]


class OpFit(Frozen):
    """Constants of one class of op at one precision, for `costs.gpu.op_s`."""

    fixed_s: float
    """Fixed time of every op, however small, inside a CUDA graph."""
    memory_efficiency: float
    """Attained share of the memory bandwidth."""
    compute_efficiency: float
    """Attained share of the peak at `compute_bits`."""
    compute_bits: int
    """Width of the arithmetic, which may be wider than the stored weights."""
    activation_efficiency: float | None = None
    """Share of the bandwidth that activations attain where they pass serially; None: fetched with the rest."""
    output_efficiency: float | None = None
    """The same for activations written, if different."""
    ramp_bytes: float = 0.0
    """The first bytes of a fetch, which are slower."""
    ramp_slowdown: float = 0.0
    """Additional time of these, as a share."""
    passage: float = 0.0
    """Exponent of the transition between fetching and computing; 0: only the longer one counts."""
    wave_columns: float = 0.0
    """Columns of a matrix product that take as long as its last wave of tiles; 0: no tiles."""
    key_s: float = 0.0
    """Time of every key that a prompt's token attends to."""


class Constant(Frozen):
    """One row of a report: a calibrated value and how far it can be trusted."""

    name: str
    value: str
    status: Status
    points: int
    """Number of measured points it was fitted to; 0 if none."""
    median_error: float | None
    """Error on points that were not fitted."""
    p90_error: float | None
    source: str
    note: str


class GpuCalibration(Frozen):
    """All constants of one device, SI units, each class of op at each width the device can serve."""

    title: str
    status: Status
    """The weakest claim that holds for the op constants as a whole."""
    ops: dict[OpClass, dict[int, OpFit]]
    launch_s: dict[LaunchMode, float]
    """Extra time of every op by launch mode."""
    host_fixed_s: float
    """Time of the serving engine between two steps."""
    host_per_sequence_s: float
    """Additional time for every sequence of the step."""
    sustained_slowdown: float = 0.0
    """Share by which arithmetic slows down in a layer without other work, as clocks fall under sustained load."""
    sustained_from: float = 0.0
    """Share of arithmetic in a layer's time at which the slowdown begins; it grows linearly from there."""
    eager_host_s: float = 0.0
    """Host time of every op launched one by one: a layer takes at least as long as the host launches it."""
    eager_passes: float = 1.0
    """Factor by which norms and activation functions take longer when nothing is fused."""
    idle_power_share: float = 1.0
    """Share of the rated power that an idle device draws."""
    busy_power_share: float = 0.0
    """Additional share while it computes or fetches."""
    constants: tuple[Constant, ...]


class _Evidence(Frozen):
    """The origin of a constant."""

    status: Status
    points: Count = 0
    median_error: Ratio | None = None
    p90_error: Ratio | None = None
    source: str
    note: str = ""


class _OpEntry(_Evidence):
    fixed: Seconds
    memory_efficiency: Efficiency
    compute_efficiency: Efficiency
    activation_efficiency: Efficiency | None = None
    output_efficiency: Efficiency | None = None
    ramp: Bytes | None = None
    ramp_slowdown: Ratio | None = None
    passage: Annotated[float, Field(ge=0.5, le=20)] | None = None
    wave_columns: Annotated[float, Field(ge=0, le=100_000)] | None = None
    per_key: Seconds | None = None
    compute_bits: ComputeBits


class _TimeEntry(_Evidence):
    value: Seconds


class _Fallback(Frozen):
    """A precision without a fit of its own: the width whose constants it uses, and the width at which it computes."""

    ops: list[OpClass]
    bits: Width
    like: Width
    compute_bits: ComputeBits
    why: str


class _ShareEntry(_Evidence):
    value: Ratio


class _Launch(Frozen):
    graph: _TimeEntry
    eager: _TimeEntry
    eager_host: _TimeEntry | None = None
    eager_passes: _ShareEntry | None = None


class _Power(Frozen):
    """Average power as a share of the rated one."""

    idle: _ShareEntry
    busy: _ShareEntry


class _Sustained(_Evidence):
    """Slowdown of arithmetic under sustained load."""

    slowdown: Ratio
    from_share: Annotated[Ratio, Field(lt=1)]


class _Host(Frozen):
    fixed: _TimeEntry
    per_sequence: _TimeEntry


class _File(Frozen):
    """A calibration file."""

    title: str
    status: Status
    scaled_from: str | None = None
    method: str
    """Description of how the constants were found."""
    date: str
    ops: dict[OpClass, dict[Width, _OpEntry]] = Field(default_factory=dict)
    fallbacks: list[_Fallback] = Field(default_factory=list)
    launch: _Launch | None = None
    host: _Host | None = None
    sustained: _Sustained | None = None
    power: _Power | None = None
    sources: dict[str, Source]


Entries = dict[OpClass, dict[Width, _OpEntry]]


@cache
def shipped(device: str) -> GpuCalibration:
    """
    Read the shipped constants of a device.

    Raises:
        UnknownName: the device has none.
        InputError: the file is invalid.
    """
    return read(shipped_file(device), shipped_file)


def shipped_file(name: str) -> Document:
    """Read a shipped calibration as a document, from which another one may be scaled."""
    return entries.entry("calibration", name)


def read(document: Document, entry: Callable[[str], Document]) -> GpuCalibration:
    """
    Read a calibration from its file.

    Args:
        document: the file.
        entry: looks up another calibration's file by name, for `scaled_from`.

    Raises:
        InputError: with every problem: of the form, of sources that are not listed or not cited, of rules for widths
            without constants, of launch or host times that are neither stated nor scaled from elsewhere, of widths
            (16, 8, 4 bit) for which a class of op has neither constants nor a rule.
    """
    file = validate(document, _File)
    base = None
    if file.scaled_from is None:
        problems = list(_base_problems(document, file))
    else:
        base_document = entry(file.scaled_from)
        base = validate(base_document, _File)
        problems = [*_base_problems(base_document, base), *_source_problems(base_document, base)]
    problems += _source_problems(document, file)
    entries = _merged(file, base)
    problems += _rule_problems(document, file, entries)
    whole = _over(base, file)
    launch, host, sustained, power = whole.launch, whole.host, whole.sustained, whole.power
    if problems or launch is None or host is None:
        raise InputError(problems)
    ops = {op: {int(bits): _fit(item) for bits, item in widths.items()} for op, widths in entries.items()}
    for (op, bits), rule in _rules(file, base).items():
        ops[op][int(bits)] = _fit(entries[op][rule.like], rule.compute_bits)
    problems = list(_width_problems(document, ops))
    if problems:
        raise InputError(problems)
    return GpuCalibration(
        title=file.title,
        status=file.status,
        ops=ops,
        launch_s={"graph": launch.graph.value, "eager": launch.eager.value},
        host_fixed_s=host.fixed.value,
        host_per_sequence_s=host.per_sequence.value,
        eager_passes=launch.eager_passes.value if launch.eager_passes else 1.0,
        eager_host_s=launch.eager_host.value if launch.eager_host else 0.0,
        idle_power_share=power.idle.value if power else 1.0,
        busy_power_share=power.busy.value if power else 0.0,
        sustained_slowdown=sustained.slowdown if sustained else 0.0,
        sustained_from=sustained.from_share if sustained else 0.0,
        constants=tuple(_constants(file, base, entries, whole)),
    )


def _over(base: _File | None, file: _File) -> _File:
    """Complete a file by the sections of launch, host, sustained load and power of its base."""
    parts = ("launch", "host", "sustained", "power")
    missing = {part: getattr(base, part) for part in parts if base and getattr(file, part) is None}
    return file.model_copy(update=missing)


def _merged(file: _File, base: _File | None) -> Entries:
    """Merge the op constants of a file over those of its base, without those that a rule of the file replaces."""
    ruled = {(op, rule.bits) for rule in file.fallbacks for op in rule.ops}
    entries: Entries = {
        op: {bits: entry for bits, entry in widths.items() if (op, bits) not in ruled}
        for op, widths in (base.ops if base else {}).items()
    }
    for op, widths in file.ops.items():
        entries.setdefault(op, {}).update(widths)
    return entries


def _rules(file: _File, base: _File | None) -> dict[tuple[OpClass, Width], _Fallback]:
    """Merge the fallback rules of a file over those of its base, by class and width; the file's constants win."""
    rules = {(op, rule.bits): rule for rule in (base.fallbacks if base else []) for op in rule.ops}
    rules = {(op, bits): rule for (op, bits), rule in rules.items() if bits not in file.ops.get(op, {})}
    return rules | {(op, rule.bits): rule for rule in file.fallbacks for op in rule.ops}


def _fit(entry: _OpEntry, compute_bits: int | None = None) -> OpFit:
    return OpFit(
        fixed_s=entry.fixed,
        memory_efficiency=entry.memory_efficiency,
        compute_efficiency=entry.compute_efficiency,
        compute_bits=compute_bits or entry.compute_bits,
        activation_efficiency=entry.activation_efficiency,
        output_efficiency=entry.output_efficiency,
        ramp_bytes=entry.ramp or 0.0,
        ramp_slowdown=entry.ramp_slowdown or 0.0,
        passage=entry.passage or 0.0,
        wave_columns=entry.wave_columns or 0.0,
        key_s=entry.per_key or 0.0,
    )


def _evidence(file: _File) -> Iterator[tuple[tuple[str, ...], _Evidence]]:
    """Yield every stated constant of a file with its path."""
    for op, widths in file.ops.items():
        for bits, entry in widths.items():
            yield ("ops", op, bits), entry
    if file.launch:
        yield ("launch", "graph"), file.launch.graph
        yield ("launch", "eager"), file.launch.eager
        if file.launch.eager_host:
            yield ("launch", "eager_host"), file.launch.eager_host
        if file.launch.eager_passes:
            yield ("launch", "eager_passes"), file.launch.eager_passes
    if file.power:
        yield ("power", "idle"), file.power.idle
        yield ("power", "busy"), file.power.busy
    if file.host:
        yield ("host", "fixed"), file.host.fixed
        yield ("host", "per_sequence"), file.host.per_sequence
    if file.sustained:
        yield ("sustained",), file.sustained


def _source_problems(document: Document, file: _File) -> Iterator[Problem]:
    cited = (((*path, "source"), entry.source) for path, entry in _evidence(file))
    return source_problems(document, cited, file.sources)


def _base_problems(document: Document, file: _File) -> Iterator[Problem]:
    """Find sections that a file which is not scaled from another must have itself."""
    if file.scaled_from is not None:
        yield document.problem(("scaled_from",), "scaled from a file that is scaled itself", "name the first one")
    for key, value in (("ops", file.ops), ("launch", file.launch), ("host", file.host)):
        if not value:
            yield document.problem((key,), "missing", "state it, or `scaled_from` the calibration that does")


def _rule_problems(document: Document, file: _File, entries: Entries) -> Iterator[Problem]:
    """Find rules that lead to a width without constants, or replace constants of the same file."""
    for index, rule in enumerate(file.fallbacks):
        for op in rule.ops:
            known = entries.get(op, {})
            if rule.like not in known:
                expected = f"expected one of {', '.join(known)}" if known else f"nothing is fitted for {op}"
                yield document.problem(("fallbacks", index, "like"), f"no {rule.like}-bit {op}", expected)
            if rule.bits in file.ops.get(op, {}):
                found = f"{op} has constants of its own at {rule.bits} bit"
                yield document.problem(("fallbacks", index, "bits"), found, "remove the rule or the constants")


def _width_problems(document: Document, ops: dict[OpClass, dict[int, OpFit]]) -> Iterator[Problem]:
    """Find classes or widths that neither constants nor a rule cover."""
    for op in REQUIRED:
        for width in get_args(Width):
            if int(width) not in ops.get(op, {}):
                yield document.problem(
                    ("ops", op), f"nothing for {width} bit", "give constants, or a rule in `fallbacks`"
                )


def _constants(file: _File, base: _File | None, entries: Entries, whole: _File) -> Iterator[Constant]:
    """Make the rows of `GpuCalibration.constants`; `whole` is the file over its base."""
    for op, widths in entries.items():
        for bits, entry in widths.items():
            yield _row(f"{op} {bits} bit", _shown(entry), entry, bits in file.ops.get(op, {}), file, base)
    for (op, bits), rule in _rules(file, base).items():
        yield Constant(
            name=f"{op} {bits} bit",
            value=f"as {rule.like} bit, computing at {rule.compute_bits} bit",
            status="assumed",
            points=0,
            median_error=None,
            p90_error=None,
            source="rule",
            note=rule.why,
        )
    launch, host, power, sustained = whole.launch, whole.host, whole.power, whole.sustained
    assert launch is not None and host is not None
    values: list[tuple[str, _TimeEntry | _ShareEntry | None, str, object]] = [
        ("launch graph", launch.graph, "time", file.launch),
        ("launch eager", launch.eager, "time", file.launch),
        ("host per step", host.fixed, "time", file.host),
        ("host per sequence", host.per_sequence, "time", file.host),
        ("launch eager, host", launch.eager_host, "time", file.launch),
        ("launch eager, passes", launch.eager_passes, "ratio", file.launch),
        ("power when idle", power.idle if power else None, "ratio", file.power),
        ("power when busy", power.busy if power else None, "ratio", file.power),
    ]
    for name, value, dimension, stated in values:
        if value is not None:
            yield _row(name, units.show(value.value, dimension), value, stated is not None, file, base)
    if sustained is not None:
        shares = (units.show(share, "ratio") for share in (sustained.slowdown, sustained.from_share))
        yield _row("sustained load", "{} slower, from {} on".format(*shares), sustained,
                   file.sustained is not None, file, base)  # fmt: skip


def _row(name: str, value: str, entry: _Evidence, own: bool, file: _File, base: _File | None) -> Constant:
    """Make the row of a constant; one scaled from the base was measured on another device and has no residual."""
    scaled = base is not None and not own
    home = base if scaled and base else file
    title = home.sources[entry.source].title
    return Constant(
        name=name,
        value=value,
        status="scaled" if scaled and entry.status == "fitted" else entry.status,
        points=0 if scaled else entry.points,
        median_error=None if scaled else entry.median_error,
        p90_error=None if scaled else entry.p90_error,
        source=f"{home.title}: {title}" if scaled else title,
        note=entry.note,
    )


def _shown(entry: _OpEntry) -> str:
    """Write an op's constants in one line."""
    parts = [
        units.show(entry.fixed, "time"),
        f"memory {units.show(entry.memory_efficiency, 'ratio')}",
        f"compute {units.show(entry.compute_efficiency, 'ratio')} of {entry.compute_bits} bit",
    ]
    if entry.activation_efficiency is not None:
        parts.append(f"activations {units.show(entry.activation_efficiency, 'ratio')}")
    if entry.output_efficiency is not None:
        parts.append(f"outputs {units.show(entry.output_efficiency, 'ratio')}")
    if entry.ramp is not None:
        longer = units.show(entry.ramp_slowdown or 0.0, "ratio")
        parts.append(f"the first {units.show(entry.ramp, 'bytes')} {longer} longer")
    if entry.passage is not None:
        parts.append(f"passage {entry.passage:g}")
    if entry.wave_columns is not None:
        parts.append(f"last wave {entry.wave_columns:g} columns")
    if entry.per_key is not None:
        parts.append(f"{units.show(entry.per_key, 'time')} a key")
    return ", ".join(parts)
