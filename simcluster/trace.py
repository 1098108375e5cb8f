"""
The token trace: one row per token, its latency split into components that sum to it exactly, in ticks.

Rows are collected in a buffer of fixed size and handed on in blocks, so memory does not grow with the run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

Block = npt.NDArray[np.int64]

COMPONENTS = {
    "queue": "waiting for a place in a batch: admission, preemption, steps without this request",
    "prefill_interference": "what the prompts of other requests in the same or the preceding step added",
    "compute": "arithmetic, and reading and writing of activations",
    "weight_fetch": "reading weights, where that took longer than the arithmetic",
    "kv_fetch": "reading cached keys and values, where that took longer than the arithmetic",
    "interconnect": "exchange between devices, or between the cores of a wafer",
    "wait_for_peers": "waiting at a collective for the last rank to arrive",
    "pipeline_wait": "waiting for a pipeline stage that is busy with another step",
    "launch_host": "host time of the engine, launch of ops, fixed cost of kernels",
    "stall": "rare stalls; no source of this version causes any",
}
"""The components of a token's latency and what each means; the order is that of the columns."""

KEYS = ("request", "token", "replica", "step", "batch_size", "emitted_at_ticks")
TOKEN_COLUMNS = (*KEYS, *(f"{name}_ticks" for name in COMPONENTS))
"""Columns of the token table, all int64; a token's latency is the time since the request's previous token, or since
its arrival, and equals the sum of the component columns."""

N_KEYS = len(KEYS)
_REPLICA, _EMITTED_AT = KEYS.index("replica"), KEYS.index("emitted_at_ticks")
COMPONENT = {name: index for index, name in enumerate(COMPONENTS)}
"""Index of each component among the components."""

REQUEST_COLUMNS = (
    "request", "arrived_at_ticks", "prompt_tokens", "output_tokens", "replica", "scheduled_at_ticks",
    "first_token_at_ticks", "last_token_at_ticks", "tokens_emitted", "preemptions",
)  # fmt: skip
"""Integer columns of the request table; -1 where there is none. `status` and `reason` are text beside them."""

STATUSES = ("finished", "failed", "unfinished")


class Recorder:
    """
    Collects token rows and hands them to the sinks block by block, in the order of emission.

    Rows of one instant are in the order of their replicas, and each replica's in the order it recorded them.
    A replica may record rows later than they are emitted: `complete_until` says up to which tick all rows are there.
    `close` hands on what is left.
    """

    def __init__(
        self,
        sinks: Iterable[Callable[[Block], None]],
        n_replicas: int = 1,
        complete_until: Callable[[], int] | None = None,
        rows_per_block: int = 2**15,
    ) -> None:
        self._sinks = tuple(sinks)
        self._sorted = n_replicas == 1
        self._complete_until = complete_until
        self._buffer = np.empty((rows_per_block, len(TOKEN_COLUMNS)), np.int64)
        self._used = 0

    def reserve(self, n_rows: int) -> Block:
        """A writable view of `n_rows` new rows, shape (n_rows, columns); all of it must be filled."""
        if self._used + n_rows > len(self._buffer):
            self._flush(None if self._complete_until is None else self._complete_until())
            self._grow(self._used + n_rows)
        rows = self._buffer[self._used : self._used + n_rows]
        self._used += n_rows
        return rows

    def close(self) -> None:
        """Hand on the rows that are left."""
        self._flush(None)

    def _grow(self, n_rows: int) -> None:
        """Make room, when rows that cannot be handed on yet, or a long run of steps, need it."""
        if n_rows > len(self._buffer):
            larger = np.empty((max(n_rows, 2 * len(self._buffer)), self._buffer.shape[1]), np.int64)
            larger[: self._used] = self._buffer[: self._used]
            self._buffer = larger

    def _flush(self, complete_until: int | None) -> None:
        """Hand on the rows emitted before that tick, or all."""
        rows = self._buffer[: self._used]
        if not self._sorted:
            rows = rows[np.lexsort((rows[:, _REPLICA], rows[:, _EMITTED_AT]))]
        n_ready = len(rows)
        if not self._sorted and complete_until is not None:
            n_ready = int(np.searchsorted(rows[:, _EMITTED_AT], complete_until))
        if n_ready:
            for sink in self._sinks:
                sink(rows[:n_ready])
        self._used = len(rows) - n_ready
        self._buffer[: self._used] = rows[n_ready:]


class Digest:
    """SHA-256 of the token and request tables' values, independent of how they were cut into blocks."""

    def __init__(self) -> None:
        self._columns = [hashlib.sha256() for _ in TOKEN_COLUMNS]
        self._requests = hashlib.sha256()

    def add_tokens(self, block: Block) -> None:
        """Add rows of the token table."""
        for column, digest in zip(block.T, self._columns, strict=True):
            digest.update(np.ascontiguousarray(column, "<i8").data)

    def add_requests(self, table: dict[str, Any]) -> None:
        """Add the whole request table: integer columns as arrays, text columns as lists."""
        for name, values in table.items():
            self._requests.update(name.encode() + b"\0")
            if isinstance(values, np.ndarray):
                self._requests.update(np.ascontiguousarray(values, "<i8").data)
            else:
                self._requests.update("\0".join(values).encode())

    def hexdigest(self) -> str:
        """The digest of all that was added."""
        parts = [digest.hexdigest() for digest in (*self._columns, self._requests)]
        return hashlib.sha256("".join(parts).encode()).hexdigest()
