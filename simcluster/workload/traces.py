"""Read traces of real requests: arrival times and lengths of prompts and outputs."""

from __future__ import annotations

import csv
import json
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np

from simcluster.files.problems import InputError, Problem
from simcluster.numerics.arrays import Integers
from simcluster.numerics.ticks import TICKS_PER_S
from simcluster.workload.formats import FORMATS, MALFORMED, Format, FormatName, RowFault, tokens
from simcluster.workload.lines import Line, filled, shown

MAX_REQUESTS = 20_000_000
MAX_SPAN_S = 100 * 86_400
"""Longest time from the earliest to the latest request; int64 picoseconds end at 106 days."""

_ROWS_LOOKED_AT = 1000

Cells = Callable[[str], tuple[object, object, object]]


@dataclass(frozen=True, eq=False)
class Trace:
    """The usable rows of a trace in the order of the file; arrays of int64, shape (n,)."""

    format: FormatName
    arrival_ticks: Integers
    """Ticks since the earliest of these rows; not necessarily sorted."""
    prompt_tokens: Integers
    output_tokens: Integers
    dropped: tuple[tuple[str, int], ...]
    """Number of rows that were left out, by reason."""


def read_trace(file: Path, format_name: FormatName | Literal["auto"] = "auto", limit: int | None = None) -> Trace:
    """
    Read the first usable rows of a trace.

    A CSV file needs a header; a file whose first line starts with `{` has one JSON object a line. Columns are
    found by name, others are ignored. Rows without output tokens are failed requests and are left out, like
    malformed ones; both are counted. Prefixes shared between prompts (`hash_ids`) are not read.

    Args:
        file: text, or compressed with gzip and named `.gz`.
        format_name: "auto" detects the format from the names of the columns, and Mooncake's milliseconds and vLLM's
            seconds, which share all names, from the number of prompt tokens for each entry of `hash_ids`.
        limit: number of usable rows to read; None reads all.

    Raises:
        InputError: the file cannot be read, its header is unknown, the unit of its clock is ambiguous, or no row is
            usable.
    """
    lines = filled(file)
    first = next(lines, None)
    if first is None:
        raise InputError([Problem(str(file), 0, "", "empty file", _KNOWN_HEADERS)])
    if first.fault:
        _refuse(file, first.number, first.fault, _KNOWN_HEADERS)
    is_json = first.text.startswith("{")
    names = _keys(file, first) if is_json else _header(file, first)
    name = _format(file, first.number, names) if format_name == "auto" else format_name
    form = FORMATS[name]
    for column in form.columns:
        if names.count(column) != 1:
            found = f"column '{column}' appears more than once" if column in names else f"no column '{column}'"
            _refuse(file, first.number, found, f"expected the columns {', '.join(form.columns)} of {name}")
    if is_json:
        return _read(file, name, chain((first,), lines), _json_cells(form.columns), limit)
    return _read(file, name, lines, _csv_cells(names, form.columns), limit)


def _read(file: Path, name: FormatName, lines: Iterator[Line], cells: Cells, limit: int | None) -> Trace:
    """Turn lines into arrays and count the unusable ones."""
    clock = FORMATS[name].clock
    most = MAX_REQUESTS if limit is None else limit
    arrivals, prompts, outputs = array("q"), array("q"), array("q")
    dropped: Counter[str] = Counter()
    first_fault: tuple[int, str] | None = None
    start: int | None = None
    earliest = latest = 0
    for line in lines:
        try:
            if line.fault:
                raise RowFault(line.fault)
            when, n_prompt, n_output = _row(cells(line.text), clock)
            start = when if start is None else start
            since_start = when - start
            if max(latest, since_start) - min(earliest, since_start) > MAX_SPAN_S * TICKS_PER_S:
                raise RowFault(f"more than {MAX_SPAN_S // 86_400} days from another row")
        except RowFault as fault:
            dropped[str(fault)] += 1
            first_fault = first_fault or (line.number, str(fault))
            continue
        if len(arrivals) == most:
            found = f"more than {MAX_REQUESTS:,} usable rows"
            _refuse(file, line.number, found, "set workload.requests to how many to use")
        earliest, latest = min(earliest, since_start), max(latest, since_start)
        arrivals.append(since_start)
        prompts.append(n_prompt)
        outputs.append(n_output)
        if len(arrivals) == limit:
            break
    if not arrivals:
        number, reason = first_fault or (0, "no rows")
        _refuse(file, number, reason, f"no row of the file is usable as {name}; expected at least one")
    ticks = np.array(arrivals, dtype=np.int64)
    return Trace(
        format=name,
        arrival_ticks=ticks - ticks.min(),
        prompt_tokens=np.array(prompts, dtype=np.int64),
        output_tokens=np.array(outputs, dtype=np.int64),
        dropped=tuple(sorted(dropped.items())),
    )


def _row(cells: tuple[object, object, object], clock: Callable[[object], int]) -> tuple[int, int, int]:
    """Read ticks, prompt tokens and output tokens of one row."""
    n_prompt, n_output = tokens(cells[1]), tokens(cells[2])
    if n_output == 0:
        raise RowFault("no output tokens (failed request)")
    if n_prompt == 0:
        raise RowFault("no prompt tokens")
    return clock(cells[0]), n_prompt, n_output


def _csv_cells(names: list[str], columns: tuple[str, str, str]) -> Cells:
    """Make a function that picks three cells of a CSV line; a row is one line, so that open quotes do not spread."""
    arrival, prompt, output = (names.index(column) for column in columns)

    def pick(text: str) -> tuple[object, object, object]:
        row = _csv_row(text)
        if len(row) != len(names):
            raise RowFault(MALFORMED)
        return row[arrival], row[prompt], row[output]

    return pick


def _json_cells(columns: tuple[str, str, str]) -> Cells:
    """Make a function that picks three values of a JSON object."""
    arrival, prompt, output = columns

    def pick(text: str) -> tuple[object, object, object]:
        row = _json_object(text)
        try:
            return row[arrival], row[prompt], row[output]
        except KeyError:
            raise RowFault(MALFORMED) from None

    return pick


def _csv_row(text: str) -> list[str]:
    try:
        return next(csv.reader((text,), strict=True))
    except (csv.Error, StopIteration):
        raise RowFault(MALFORMED) from None


def _json_object(text: str) -> dict[str, Any]:
    """Parse a JSON object, its numbers exactly as written; NaN and Infinity become non-finite Decimals."""
    try:
        row = json.loads(text, parse_float=Decimal, parse_constant=Decimal)
    except (ValueError, ArithmeticError, RecursionError):
        raise RowFault(MALFORMED) from None
    if not isinstance(row, dict):
        raise RowFault(MALFORMED)
    return row


def _header(file: Path, line: Line) -> list[str]:
    try:
        return [name.strip() for name in _csv_row(line.text)]
    except RowFault:
        _refuse(file, line.number, "a header that is not CSV", _KNOWN_HEADERS)


def _keys(file: Path, line: Line) -> list[str]:
    try:
        return list(_json_object(line.text))
    except RowFault:
        _refuse(file, line.number, "a first line that is not a JSON object", _KNOWN_HEADERS)


def _format(file: Path, number: int, names: list[str]) -> FormatName:
    """Find the one format all of whose columns exist."""
    fitting = [name for name, form in FORMATS.items() if set(form.columns) <= set(names)]
    if len(fitting) > 1:
        fitting = [name for name in fitting if _blocks_fit(file, FORMATS[name])]
        if len(fitting) != 1:
            found = "timestamps that may be milliseconds (mooncake) or seconds (vllm)"
            _refuse(file, number, found, "say which with workload.trace_format")
    if not fitting:
        found = "unknown columns " + ", ".join(f"'{shown(name)}'" for name in names[:8])
        _refuse(file, number, found, _KNOWN_HEADERS)
    return fitting[0]


def _blocks_fit(file: Path, form: Format) -> bool:
    """Whether the first rows with hashed blocks all have the number of blocks that follows from the block size."""
    fits: list[bool] = []
    for line in islice(filled(file), _ROWS_LOOKED_AT):
        try:
            row = _json_object(line.text)
            n_prompt = tokens(row.get(form.columns[1]))
        except RowFault:
            continue
        blocks = row.get("hash_ids")
        if isinstance(blocks, list) and form.block_tokens:
            fits.append(len(blocks) == -(-n_prompt // form.block_tokens))
    return bool(fits) and all(fits)


def _refuse(file: Path, number: int, found: str, expected: str) -> NoReturn:
    raise InputError([Problem(str(file), number, "", found, expected)])


_KNOWN_HEADERS = "expected the columns " + "; or ".join(
    f"{', '.join(form.columns)} ({name})" for name, form in FORMATS.items()
)
