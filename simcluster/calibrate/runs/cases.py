"""
Read measured serving runs: a CSV file with a row for each run at fixed concurrency.

Columns are those of aiconfigurator's silicon tables. A missing number of ranks counts as 1; a row with an unknown
name is reported, never guessed.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from simcluster.files.problems import InputError, Problem, nearest
from simcluster.files.source import read_text

REQUIRED = ("system", "model", "isl", "osl", "ttft_ms", "tpot_ms")
COUNTS = ("tp_size", "pp_size", "attention_dp_size", "moe_tp_size", "moe_ep_size", "concurrency")
POSITIVE = ("isl", "osl", "tp_size", "concurrency", "ttft_ms", "tpot_ms")
"""Columns that must be positive; published tables have 0 ranks where experts are not spread, which count as 1."""
MAX_VALUE = 10**9


@dataclass(frozen=True)
class Case:
    """One measured run."""

    line: int
    """Line of the file."""
    id: str
    system: str
    backend: str
    model: str
    precision: str
    gemm_quant_mode: str
    origin: str
    queueing: bool
    """Whether requests waited for admission, according to the source."""
    isl: int
    osl: int
    tp_size: int
    pp_size: int
    attention_dp_size: int
    moe_tp_size: int
    moe_ep_size: int
    concurrency: int | None
    """None where the row leaves it blank."""
    batch_size: int | None
    ttft_ms: float
    tpot_ms: float

    @property
    def title(self) -> str:
        """Short name for tables and messages."""
        return (
            f"{self.model} {self.precision or 'no precision'} {self.backend} tp{self.tp_size} {self.isl}/{self.osl}"
            + (f" c{self.concurrency}" if self.concurrency else "")
        )


def tables(data: Path) -> Path:
    """Find the folder of measured tables, given it or its parent."""
    return data / "measured" if (data / "measured").is_dir() else data


def unknown_columns(file: Path) -> list[Problem]:
    """Report the columns of a file that are not read, as one of them may be misspelt."""
    known = [field.name for field in fields(Case) if field.name != "line"]
    columns = csv.DictReader(read_text(file, max_bytes=200 * 2**20).splitlines()).fieldnames or []
    found = {name: nearest(name, known) for name in columns if name not in known}
    hints = {name: hint if hint.startswith("did you") else "it changes nothing" for name, hint in found.items()}
    return [Problem(str(file), 1, name, "a column that is not read", hint) for name, hint in hints.items()]


def read(file: Path) -> list[Case]:
    """
    Read the cases of a file, in order.

    Raises:
        InputError: with every problem: not a table, columns that are missing, values that are not numbers.
    """
    lines = read_text(file, max_bytes=200 * 2**20).splitlines()
    rows = csv.DictReader(lines)
    columns = rows.fieldnames or []
    missing = [name for name in REQUIRED if name not in columns]
    if missing:
        raise InputError(
            [Problem(str(file), 1, name, "no such column", f"expected {', '.join(REQUIRED)}") for name in missing]
        )
    problems: list[Problem] = []
    cases = []
    for row in rows:
        if None in row:
            found, expected = f"{len(columns) + len(row[None])} values", f"expected {len(columns)}, one a column"
            problems.append(Problem(str(file), rows.line_num, "", found, expected))
        reader = _Row(str(file), rows.line_num, row, problems)
        cases.append(reader.case())
    if problems:
        raise InputError(problems)
    return cases


class _Row:
    """A reader of one row of the file that collects its problems."""

    def __init__(self, file: str, line: int, row: Mapping[str, str | None], problems: list[Problem]) -> None:
        self._file, self._line, self._row, self._problems = file, line, row, problems

    def case(self) -> Case:
        """Turn the row into a case."""
        ranks = {name: self._count(name) or 1 for name in COUNTS if name != "concurrency"}
        concurrency = self._count("concurrency") if "concurrency" in self._row else 1
        return Case(
            line=self._line,
            id=self._text("id") or f"line {self._line}",
            system=self._text("system"),
            backend=self._text("backend"),
            model=self._text("model"),
            precision=self._text("precision"),
            gemm_quant_mode=self._text("gemm_quant_mode"),
            origin=self._text("origin"),
            queueing=self._text("queueing").lower() in ("true", "1", "yes"),
            isl=self._length("isl"),
            osl=self._length("osl"),
            concurrency=concurrency,
            batch_size=self._count("batch_size"),
            ttft_ms=self._number("ttft_ms") or math.nan,
            tpot_ms=self._number("tpot_ms") or math.nan,
            **ranks,
        )

    def _text(self, name: str) -> str:
        return (self._row.get(name) or "").strip()

    def _number(self, name: str) -> float | None:
        text = self._text(name)
        if not text:
            return None
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 <= value <= MAX_VALUE or (value == 0 and name in POSITIVE):
            expected = "expected a number above 0" if name in POSITIVE else "expected a number of at least 0"
            self._problems.append(Problem(self._file, self._line, name, f"'{text[:40]}'", expected))
            return None
        return value

    def _length(self, name: str) -> int:
        if not self._text(name):
            self._problems.append(Problem(self._file, self._line, name, "nothing", "expected a number of tokens"))
        return self._count(name) or 1

    def _count(self, name: str) -> int | None:
        value = self._number(name)
        if value is not None and value != int(value):
            self._problems.append(Problem(self._file, self._line, name, f"{value:g}", "expected a whole number"))
            return None
        return None if value is None else int(value)
