"""Delivery of tokens: devices continue while the host pauses, and their tokens are delivered when it resumes."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

import numpy as np

from simcluster.noise.renewals import Renewals
from simcluster.numerics.ticks import Ticks
from simcluster.trace.columns import COMPONENT, KEYS, N_KEYS, Block

_REQUEST, _TOKEN, _REPLICA = (KEYS.index(name) for name in ("request", "token", "replica"))
_EMITTED_AT, _STALL = KEYS.index("emitted_at_ticks"), N_KEYS + COMPONENT["stall"]


class Delivery:
    """
    Delays tokens made during a pause of their replica's host until the pause ends.

    The delay of a token minus that of the token before it is charged as stall, which is therefore negative for a
    token that catches up.

    Args:
        pauses: of the host of each replica; None of one that never pauses.
        n_requests: of the run.
    """

    def __init__(self, pauses: Sequence[Renewals | None], n_requests: int) -> None:
        self._pauses = pauses
        self._held_ticks = np.zeros(n_requests, np.int64)
        """Delay of the latest token of each request."""
        self.first_at = np.full(n_requests, -1, np.int64)
        """Delivery tick of the first token of each request; -1 before that."""
        self.last_at = np.full(n_requests, -1, np.int64)
        """Delivery tick of the latest token of each request; -1 before the first."""

    def deliver(self, rows: Block) -> None:
        """Delay rows of the token table in place, shape (columns, rows); the rows of a request must come in order."""
        if not rows.shape[1]:
            return
        held = self._held(rows[_REPLICA], rows[_EMITTED_AT])
        order = np.lexsort((rows[_TOKEN], rows[_REQUEST]))
        request, now_held = rows[_REQUEST, order], held[order]
        is_first = np.diff(request, prepend=-1) != 0
        is_last = np.diff(request, append=-1) != 0
        before = np.concatenate([now_held[:1], now_held[:-1]])
        before[is_first] = self._held_ticks[request[is_first]]
        rows[_STALL, order] += now_held - before
        rows[_EMITTED_AT] += held
        self._held_ticks[request[is_last]] = now_held[is_last]
        begins = order[is_first & (rows[_TOKEN, order] == 0)]
        self.first_at[rows[_REQUEST, begins]] = rows[_EMITTED_AT, begins]
        self.last_at[request[is_last]] = rows[_EMITTED_AT, order[is_last]]

    def _held(self, replica: Ticks, made_at: Ticks) -> Ticks:
        """Delay of each token, shape (rows,)."""
        held = np.zeros_like(made_at)
        for number in np.unique(replica).tolist():
            own = replica == number
            instants, pauses = made_at[own], self._pauses[number]
            if pauses is None:
                continue
            first, last = int(instants.min()), int(instants.max())
            pauses.reach(last)
            some = slice(max(0, bisect_right(pauses.begins, first) - 1), bisect_left(pauses.begins, last + 1))
            if some.start < some.stop:
                begins, ends = np.array(pauses.begins[some]), np.array(pauses.ends[some])
                place = np.maximum(np.searchsorted(begins, instants, side="right") - 1, 0)
                held[own] = np.where(begins[place] <= instants, np.maximum(ends[place] - instants, 0), 0)
        return held
