"""The token table on its way out: blocks of rows, and the digest that names a trace."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simcluster.trace.columns import COMPONENTS, N_KEYS, TOKEN_COLUMNS, Block
from simcluster.trace.digest import Digest
from simcluster.trace.recorder import Recorder, Segment

Sizes = list[tuple[int, int]]
"""Steps and requests of segments."""

sizes = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 5)), max_size=12)


def segments(sizes: Sizes) -> list[Segment]:
    """Segments with numbered entries, each with time before the step for its last request."""
    found = []
    for n, (steps, requests) in enumerate(sizes):
        components = 100 * n + np.arange(steps * len(COMPONENTS)).reshape(steps, -1)
        extra = (requests - 1, [7] * len(COMPONENTS))
        ends = 50 * n + np.arange(steps)
        members = np.stack([np.arange(requests), 2 * np.arange(requests) - 10 * n])
        if steps == 1 and n % 2:
            found.append(Segment(3, 10 * n, n + 9, 50 * n, components[0].tolist(), members, [extra]))
            continue
        found.append(Segment(3, 10 * n, n + 9, ends, components, members, [extra]))
    return found


def row_by_row(segments: list[Segment]) -> list[list[int]]:
    """The rows, one after the other."""
    rows = []
    for s in segments:
        ends, components = np.atleast_1d(s.ends), np.atleast_2d(s.components)
        for step in range(len(ends)):
            for place, (request, offset) in enumerate(zip(*s.members.tolist(), strict=True)):
                on_top = dict(s.extras).get(place, [0] * len(COMPONENTS)) if step == 0 else [0] * len(COMPONENTS)
                number = s.first_step + step
                keys = [request, offset + number, s.replica, number, s.batch_size, int(ends[step])]
                rows.append([*keys, *(components[step] + on_top).tolist()])
    return rows


def record(sizes: Sizes, rows_per_block: int) -> tuple[list[Block], str]:
    """Segments through a recorder: the blocks that came out, and their digest."""
    blocks: list[Block] = []
    digest = Digest()
    recorder = Recorder([blocks.append, digest.add_tokens], rows_per_block=rows_per_block)
    for segment in segments(sizes):
        recorder.add(segment)
    recorder.close()
    return blocks, digest.hexdigest()


@given(sizes, st.integers(1, 30))
def test_rows_come_out_in_order_and_once(sizes: Sizes, rows_per_block: int) -> None:
    """Segments come out as their rows, step by step and request by request, and no block is empty."""
    blocks, _ = record(sizes, rows_per_block)

    assert row_by_row(segments(sizes)) == [row for block in blocks for row in block.T.tolist()]
    assert all(block.shape[1] for block in blocks)


@given(sizes, st.integers(1, 30), st.integers(1, 30))
def test_the_digest_does_not_depend_on_the_cuts(sizes: Sizes, one: int, other: int) -> None:
    """The same rows in other blocks have the same digest."""
    assert record(sizes, one)[1] == record(sizes, other)[1]


@pytest.mark.parametrize("column", range(len(TOKEN_COLUMNS)))
def test_the_digest_sees_every_column(column: int) -> None:
    """One tick more in one entry of any column is another digest."""
    rows = np.arange(5 * len(TOKEN_COLUMNS)).reshape(-1, 5)
    changed = rows.copy()
    changed[column, 3] += 1
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
    """After the keys comes a column of ticks for every component, in their order."""
    assert tuple(f"{name}_ticks" for name in COMPONENTS) == TOKEN_COLUMNS[N_KEYS:]
