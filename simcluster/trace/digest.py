"""The digest of a run, computed from the values in its token and request tables."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from simcluster.trace.columns import TOKEN_COLUMNS, Block


class Digest:
    """SHA-256 of the values of the token and request tables, independent of how they were cut into blocks."""

    def __init__(self) -> None:
        self._columns = [hashlib.sha256() for _ in TOKEN_COLUMNS]
        self._requests = hashlib.sha256()
        self._policies: list[str] = []

    def add_tokens(self, block: Block) -> None:
        """Add rows of the token table, shape (columns, rows)."""
        for column, digest in zip(block, self._columns, strict=True):
            digest.update(np.ascontiguousarray(column, "<i8").data)

    def add_requests(self, table: dict[str, Any]) -> None:
        """Add the whole request table: integer columns as arrays, text columns as lists."""
        for name, values in table.items():
            self._requests.update(name.encode() + b"\0")
            if isinstance(values, np.ndarray):
                self._requests.update(np.ascontiguousarray(values, "<i8").data)
            else:
                self._requests.update("\0".join(values).encode())

    def add_policies(self, described: Mapping[str, Any]) -> None:
        """Add the policies that a caller passed, as `Policies.described` has them; none change nothing."""
        self._policies = [json.dumps(described, sort_keys=True)] if described else []

    def hexdigest(self) -> str:
        """Finish the digest of all rows added so far."""
        parts = [*(digest.hexdigest() for digest in (*self._columns, self._requests)), *self._policies]
        return hashlib.sha256("".join(parts).encode()).hexdigest()
