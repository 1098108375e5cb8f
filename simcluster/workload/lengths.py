"""Distributions of prompt and output lengths that a scenario may name, by inverse distribution function."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from simcluster.files.problems import InputError, Problem, nearest
from simcluster.files.quantities import Frozen, Ratio, fault
from simcluster.numerics.arrays import Floats, Integers
from simcluster.workload.lines import Line, filled, shown

MAX_TOKENS = 10**8
"""Most tokens of one prompt or one output; ten times the largest context on the market."""

_MAX_PROBLEMS = 20

Tokens = Integers

TokenCount = Annotated[int, Field(ge=1, le=MAX_TOKENS)]
Weight = Annotated[float, Field(ge=0, le=1e12)]


class Fixed(Frozen):
    """The same length for every request."""

    kind: Literal["fixed"]
    value: TokenCount


class Uniform(Frozen):
    """Every integer of a range equally likely: `low` to `high`, or parts of a nominal length, ends included."""

    kind: Literal["uniform"]
    low: TokenCount | None = None
    high: TokenCount | None = None
    nominal: TokenCount | None = None
    from_ratio: Ratio | None = None
    to_ratio: Ratio | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        ends = (self.low, self.high)
        parts = (self.nominal, self.from_ratio, self.to_ratio)
        by_ends = None not in ends and parts == (None, None, None)
        by_parts = None not in parts and ends == (None, None)
        if not by_ends and not by_parts:
            names = [
                name
                for name in ("low", "high", "nominal", "from_ratio", "to_ratio")
                if getattr(self, name) is not None
            ]
            raise fault(
                "a uniform length with " + (", ".join(names) or "no range"),
                "expected either low and high, or nominal, from_ratio and to_ratio",
            )
        low, high = self.bounds()
        if low > high:
            raise fault(f"a range from {low} to {high}", "expected the lower end first")
        if high > MAX_TOKENS:
            raise fault(f"a range up to {high:,} tokens", f"at most {MAX_TOKENS:,}")
        return self

    def bounds(self) -> tuple[int, int]:
        """Find smallest and largest length; parts of the nominal are rounded outwards, and at least 1, as in vLLM."""
        if self.low is not None and self.high is not None:
            return self.low, self.high
        assert self.nominal is not None and self.from_ratio is not None and self.to_ratio is not None
        # Six decimals remove the error of binary fractions: 110 % of 100 is 110, not 111.
        low = math.floor(round(self.nominal * self.from_ratio, 6))
        high = math.ceil(round(self.nominal * self.to_ratio, 6))
        return max(low, 1), max(high, 1)


class Lognormal(Frozen):
    """A lognormal length given by its median and 99th percentile; above `max` it is set to `max`."""

    kind: Literal["lognormal"]
    median: TokenCount
    p99: TokenCount
    max: TokenCount = MAX_TOKENS

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.p99 <= self.median:
            raise fault(
                f"p99 {self.p99} is not above the median {self.median}", "expected a larger p99, or kind: fixed"
            )
        if self.max < self.median:
            raise fault(f"max {self.max} is below the median {self.median}", "expected a larger max")
        return self


class Empirical(Frozen):
    """Lengths drawn, with replacement, from a list or from a column of a CSV file."""

    kind: Literal["empirical"]
    values: Annotated[tuple[TokenCount, ...], Field(strict=False, min_length=1)] | None = None
    weights: Annotated[tuple[Weight, ...], Field(strict=False)] | None = None
    file: Annotated[str, Field(min_length=1)] | None = None
    column: str | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        by_values = self.values is not None and self.file is None and self.column is None
        by_file = self.values is None and self.weights is None and self.file is not None and self.column is not None
        if not by_values and not by_file:
            found = "an empirical length without exactly one origin"
            raise fault(found, "expected either values, or file and column")
        if self.values is not None and self.weights is not None:
            if len(self.weights) != len(self.values):
                raise fault(f"{len(self.weights)} weights for {len(self.values)} values", "expected one each")
            if sum(self.weights) <= 0:
                raise fault("no weight is above 0", "expected at least one that is")
        return self


Lengths = Annotated[Fixed | Uniform | Lognormal | Empirical, Field(discriminator="kind")]


def fixed(spec: Fixed, uniform: Floats, base_folder: Path) -> Tokens:
    """The same length for every request."""
    return np.full(len(uniform), spec.value, dtype=np.int64)


def uniform_integers(spec: Uniform, uniform: Floats, base_folder: Path) -> Tokens:
    """Return equally likely integers, both ends included."""
    low, high = spec.bounds()
    return low + np.floor(uniform * (high - low + 1)).astype(np.int64)


def lognormal(spec: Lognormal, uniform: Floats, base_folder: Path) -> Tokens:
    """
    Return lognormal lengths of a given median and 99th percentile, rounded to the nearest integer from 1 to `max`.

    Lengths above `max` become `max` (they are not drawn again), so that percentiles below it stay in place.
    """
    from scipy.special import ndtri  # slow to import, and only needed here

    spread = math.log(spec.p99 / spec.median) / ndtri(0.99)
    tokens: Floats = np.rint(spec.median * np.exp(spread * ndtri(uniform)))
    return np.clip(tokens, 1.0, float(spec.max)).astype(np.int64)


def empirical(spec: Empirical, uniform: Floats, base_folder: Path) -> Tokens:
    """
    Return quantiles of a list of lengths, each as likely as its weight.

    Raises:
        InputError: the file cannot be read, or a value of the column is not a length.
    """
    if spec.values is not None:
        values = np.array(spec.values, dtype=np.int64)
    else:
        assert spec.file is not None and spec.column is not None
        values = read_column(base_folder / spec.file, spec.column)
    weights = np.ones(len(values)) if spec.weights is None else np.array(spec.weights)
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    drawn: Tokens = values[order][np.searchsorted(reached, uniform * reached[-1], side="right")]
    return drawn


LENGTHS: dict[str, Callable[[Any, Floats, Path], Tokens]] = {
    "fixed": fixed,
    "uniform": uniform_integers,
    "lognormal": lognormal,
    "empirical": empirical,
}
"""Functions by kind, from specification, uniform numbers, shape (n,), and folder of files to tokens, shape (n,)."""


def read_column(file: Path, column: str) -> Tokens:
    """
    Read the lengths in one column of a CSV file with a header.

    Raises:
        InputError: no such file or column, no rows, or cells that are not lengths from 1 to `MAX_TOKENS`.
    """
    rows = filled(file)
    first = next(rows, Line(0, "", ""))
    header = _cells(first)
    if header.count(column) != 1:
        found = f"no column '{column}'" if column not in header else f"column '{column}' appears more than once"
        known = {shown(name) for name in header[:_MAX_PROBLEMS]} - {column}
        raise InputError(
            [
                Problem(
                    str(file),
                    first.number,
                    "",
                    found,
                    nearest(column, known) if known else "expected a header with it",
                )
            ]
        )
    index = header.index(column)
    values: list[int] = []
    problems: list[Problem] = []
    for line in rows:
        cells = [] if line.fault else _cells(line)
        cell = cells[index] if index < len(cells) else ""
        if len(cell) <= 9 and cell.isascii() and cell.isdigit() and 1 <= int(cell) <= MAX_TOKENS:
            values.append(int(cell))
            continue
        found = line.fault or f"'{shown(cell)}' is not a length"
        expected = f"expected an integer from 1 to {MAX_TOKENS}"
        problems.append(Problem(str(file), line.number, column, found, expected))
        if len(problems) == _MAX_PROBLEMS:
            break
    if problems:
        raise InputError(problems)
    if not values:
        raise InputError([Problem(str(file), 0, column, "no rows", "expected at least one length")])
    return np.array(values, dtype=np.int64)


def _cells(line: Line) -> list[str]:
    """Split a CSV line into cells without the spaces around them; none if the line is not valid CSV."""
    try:
        return [cell.strip() for cell in next(csv.reader((line.text,), strict=True), [])]
    except csv.Error:
        return []
