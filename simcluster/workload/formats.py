"""Known trace formats: the names of their columns and the units of their clocks."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Literal

from simcluster.numerics.ticks import TICKS_PER_S
from simcluster.workload.lengths import MAX_TOKENS

FormatName = Literal["azure", "burstgpt", "lengths", "mooncake", "vllm"]

_MAX_CLOCK_S = 10**10
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STAMP = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[ T]([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,12}))?(Z|[+-][0-9]{2}:?[0-9]{2})?"
)

MALFORMED = "malformed row"


class RowFault(ValueError):
    """An unusable row; the text is the reason under which it is counted."""


@dataclass(frozen=True)
class Format:
    """The columns and the clock of one kind of trace."""

    columns: tuple[str, str, str]
    """Names of the columns of arrival, prompt tokens and output tokens."""
    clock: Callable[[object], int]
    """Converts a cell of the arrival column to ticks since a fixed moment."""
    block_tokens: int | None = None
    """Prompt tokens for each entry of `hash_ids`, where rows have it."""


def tokens(cell: object) -> int:
    """Read a number of tokens, from 0 to `MAX_TOKENS`; `12.0` is 12."""
    count = _number(cell)
    if not 0 <= count <= MAX_TOKENS:
        raise RowFault("negative token count" if count < 0 else f"more than {MAX_TOKENS:,} tokens")
    if count != int(count):
        raise RowFault(MALFORMED)
    return int(count)


def _elapsed(ticks_per_unit: int, cell: object) -> int:
    """Convert a number of time units since the start to ticks, rounded once, half to even."""
    units = _number(cell)
    if not 0 <= units <= _MAX_CLOCK_S * TICKS_PER_S // ticks_per_unit:
        raise RowFault("negative timestamp" if units < 0 else "timestamp out of range")
    return round(units * ticks_per_unit)


def _stamp(cell: object) -> int:
    """Convert a date and time with up to 12 digits of fraction to ticks since 1970; without a zone it is UTC."""
    match = _STAMP.fullmatch(cell.strip()) if isinstance(cell, str) else None
    if match is None:
        raise RowFault(MALFORMED)
    date, time, fraction, zone = match.groups()
    try:
        moment = datetime.fromisoformat(f"{date}T{time}{zone or 'Z'}")
    except ValueError:
        raise RowFault(MALFORMED) from None
    elapsed = moment - _EPOCH
    whole_s = elapsed.days * 86_400 + elapsed.seconds
    return whole_s * TICKS_PER_S + int((fraction or "0").ljust(12, "0"))


def _number(cell: object) -> int | Decimal:
    """Read a finite number from CSV text or from JSON, exactly as written."""
    if isinstance(cell, str):
        text = cell.strip()
        if len(text) <= 18 and text.isascii() and text.isdigit():
            return int(text)
        try:
            cell = Decimal(text)
        except ArithmeticError:
            raise RowFault(MALFORMED) from None
    if isinstance(cell, Decimal):
        if not cell.is_finite():
            raise RowFault("a number that is not finite")
        return cell
    if isinstance(cell, int) and not isinstance(cell, bool):
        return cell
    raise RowFault(MALFORMED)


_seconds = partial(_elapsed, TICKS_PER_S)
_milliseconds = partial(_elapsed, TICKS_PER_S // 10**3)
_nanoseconds = partial(_elapsed, TICKS_PER_S // 10**9)

FORMATS: dict[FormatName, Format] = {
    # Azure/AzurePublicDataset, AzureLLMInferenceTrace 2023 (no zone, 7 digits) and 2024 (zone, some without fraction)
    "azure": Format(("TIMESTAMP", "ContextTokens", "GeneratedTokens"), _stamp),
    # HPMLL/BurstGPT; the third file has two more columns in between, hence by name
    "burstgpt": Format(("Timestamp", "Request tokens", "Response tokens"), _seconds),
    # casys-kaist/LLMServingSim
    "lengths": Format(("arrival_time_ns", "input_toks", "output_toks"), _nanoseconds),
    # kvcache-ai/Mooncake, FAST25-release/traces
    "mooncake": Format(("timestamp", "input_length", "output_length"), _milliseconds, block_tokens=512),
    # vLLM pull request 39795, dataset timed_trace: defaults of --timed-trace-sec-multiplier and -chunk-hash-size
    "vllm": Format(("timestamp", "input_length", "output_length"), _seconds, block_tokens=16),
}
"""Formats by the name that scenarios use."""
