"""Tables as Parquet files: the token trace of a run is streamed in row groups, other tables are written at once."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from simcluster.numerics.arrays import Floats, Integers
from simcluster.trace.columns import KEYS, TOKEN_COLUMNS, Block

ROWS_PER_GROUP = 2**18
COUNTED = ("request", "token", "step")
"""Columns that grow by one or stay equal from row to row, for which the delta encoding is smallest."""
REPEATED = ("replica", "batch_size")
"""Columns of few values, for which a dictionary is smallest. Times are left plain: the compression finds that the
rows of a step are equal, in less time and to less than half the size of differences or dictionaries."""


class TokenFile:
    """A Parquet file to which the token table is written in row groups; memory holds one of them at most."""

    def __init__(self, path: Path, metadata: dict[str, Any]) -> None:
        fields = [pa.field(name, pa.int64(), nullable=False) for name in TOKEN_COLUMNS]
        self._schema = pa.schema(fields).with_metadata(_as_metadata(metadata))
        self._writer = pq.ParquetWriter(
            path,
            self._schema,
            compression="zstd",
            use_dictionary=list(REPEATED),
            column_encoding=dict.fromkeys(COUNTED, "DELTA_BINARY_PACKED"),
            write_statistics=list(KEYS),
        )
        self._blocks: list[Block] = []
        self._n_rows = 0

    def __enter__(self) -> TokenFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._flush()
        self._writer.close()

    def write(self, block: Block) -> None:
        """Add rows of the token table, shape (columns, rows); the caller must not change them later."""
        self._blocks.append(block)
        self._n_rows += block.shape[1]
        if self._n_rows >= ROWS_PER_GROUP:
            self._flush()

    def describe(self, metadata: dict[str, Any]) -> None:
        """Add metadata that is known only at the end."""
        self._writer.add_key_value_metadata(_as_metadata(metadata))

    def _flush(self) -> None:
        if self._blocks:
            columns = [pa.chunked_array(map(_integers, parts)) for parts in zip(*self._blocks, strict=True)]
            self._writer.write_table(
                pa.Table.from_arrays(columns, schema=self._schema), row_group_size=ROWS_PER_GROUP
            )
        self._blocks, self._n_rows = [], 0


def write_table(path: Path, table: dict[str, Any], metadata: dict[str, Any]) -> None:
    """Write a table: integers as int64 arrays, numbers as float64 arrays with NaN for none, texts as lists."""
    columns = {name: _column(values) for name, values in table.items()}
    written = pa.Table.from_arrays(list(columns.values()), names=list(columns))
    pq.write_table(written.replace_schema_metadata(_as_metadata(metadata)), path, compression="zstd")


def _column(values: Any) -> Any:
    """Make an Arrow column of the kind of the values."""
    if not isinstance(values, np.ndarray):
        return _texts(values)
    return _integers(values) if values.dtype.kind == "i" else _floats(values)


def _floats(values: Floats) -> Any:
    """Make an Arrow column with null for NaN."""
    there = pa.py_buffer(np.packbits(~np.isnan(values), bitorder="little"))
    return pa.Array.from_buffers(pa.float64(), len(values), [there, pa.py_buffer(np.ascontiguousarray(values))])


def _integers(values: Integers) -> Any:
    """Make an Arrow column over the same memory; `pa.array` would import pandas, which takes a second."""
    return pa.Array.from_buffers(
        pa.int64(), len(values), [None, pa.py_buffer(np.ascontiguousarray(values, np.int64))]
    )


def _texts(values: list[str]) -> Any:
    """Make an Arrow column of texts, also without `pa.array`."""
    encoded = [value.encode() for value in values]
    offsets = np.zeros(len(values) + 1, np.int32)
    np.cumsum([len(value) for value in encoded], out=offsets[1:])
    return pa.Array.from_buffers(
        pa.string(), len(values), [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded))]
    )


def _as_metadata(metadata: dict[str, Any]) -> dict[str, str]:
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in metadata.items()}
