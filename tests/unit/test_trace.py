"""The token table on its way out: blocks of rows, and the digest that names a trace."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simcluster.trace import COMPONENTS, N_KEYS, TOKEN_COLUMNS, Block, Digest, Recorder


def record(batches: list[int], rows_per_block: int) -> tuple[list[Block], str]:
    """Numbered rows in batches through a recorder: the blocks that came out, and their digest."""
    blocks: list[Block] = []
    digest = Digest()
    sinks = [lambda block: blocks.append(block.copy()), digest.add_tokens]
    recorder = Recorder(sinks, rows_per_block=rows_per_block)
    n = 0
    for size in batches:
        rows = recorder.reserve(size)
        rows[:] = np.arange(n, n + size)[:, None] + np.arange(len(TOKEN_COLUMNS))
        n += size
    recorder.close()
    assert n == sum(map(len, blocks))
    return blocks, digest.hexdigest()


@given(st.lists(st.integers(0, 12), max_size=20), st.integers(1, 10))
def test_rows_come_out_in_order_and_once(batches: list[int], rows_per_block: int) -> None:
    """However rows come and however small the buffer, each comes out once and in order, and no block is empty."""
    blocks, _ = record(batches, rows_per_block)

    assert list(range(sum(batches))) == [row for block in blocks for row in block[:, 0].tolist()]
    assert all(len(block) for block in blocks)


@given(st.lists(st.integers(0, 12), max_size=20), st.integers(1, 10), st.integers(1, 10))
def test_the_digest_does_not_depend_on_the_cuts(batches: list[int], one: int, other: int) -> None:
    """The same rows in other blocks have the same digest."""
    assert record(batches, one)[1] == record(batches, other)[1]


@pytest.mark.parametrize("column", range(len(TOKEN_COLUMNS)))
def test_the_digest_sees_every_column(column: int) -> None:
    """One tick more in one entry of any column is another digest."""
    rows = np.arange(5 * len(TOKEN_COLUMNS)).reshape(5, -1)
    changed = rows.copy()
    changed[3, column] += 1
    digests = []
    for block in (rows, changed):
        digest = Digest()
        digest.add_tokens(block)
        digests.append(digest.hexdigest())

    assert digests[0] != digests[1]


def test_the_digest_sees_the_request_table() -> None:
    """Another time, another status or another reason in the request table is another digest."""
    table = {
        "request": np.arange(2),
        "last_token_at_ticks": np.array([5, 7]),
        "status": ["finished", "failed"],
        "reason": ["", "x"],
    }
    changes = {"last_token_at_ticks": np.array([5, 8]), "status": ["finished", "unfinished"], "reason": ["x", ""]}
    digests = set()
    for change in ({}, *({name: value} for name, value in changes.items())):
        digest = Digest()
        digest.add_requests(table | change)
        digests.add(digest.hexdigest())

    assert 1 + len(changes) == len(digests)


def test_columns_are_keys_and_components() -> None:
    """Behind the keys there is a column of ticks for every component, in their order."""
    assert tuple(f"{name}_ticks" for name in COMPONENTS) == TOKEN_COLUMNS[N_KEYS:]
