"""Lanes of requests with waiting, prompt and tokens; and counters of waiting and running requests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from simcluster.results.metrics import are_finished
from simcluster.results.read_run import RunFolder
from simcluster.timeline.chrome import Events, Lane
from simcluster.timeline.parts import cause, in_us, parts_of
from simcluster.timeline.window import Window, clipped
from simcluster.trace.columns import COMPONENT_COLUMNS

REQUESTS, QUEUE = 1, 2
"""Groups of lanes."""
MAX_COUNTS = 5000
"""Largest number of points of the counters."""


def add_requests(events: Events, run: RunFolder, shown: Window) -> dict[int, Lane]:
    """Add a lane for every request with a step or a token in the window; returns them by request."""
    numbers = {number for one in shown.served for number in (*one.decoding, *one.finishing, *one.chunked)}
    numbers |= set(shown.tokens["request"].tolist()) if shown.tokens else set()
    lanes = {number: Lane(REQUESTS, number + 1) for number in sorted(numbers)}
    events.name_group(REQUESTS, "requests")
    table = run.requests
    for number, lane in lanes.items():
        events.name_lane(lane, f"request {number}")
        arrived, scheduled, first, last = (
            int(table[f"{name}_at_ticks"][number]) for name in ("arrived", "scheduled", "first_token", "last_token")
        )
        n_in, n_out = int(table["prompt_tokens"][number]), int(table["output_tokens"][number])
        args = {
            "status": table["status"][number], "replica": int(table["replica"][number]),
            "preemptions": int(table["preemptions"][number]), "restarts": int(table["restarts"][number]),
        }  # fmt: skip
        end = last if table["status"][number] == "finished" else shown.until_ticks
        clipped(events, shown, lane, f"{n_in} tokens in, {n_out} out", arrived, end, args)
        clipped(events, shown, lane, "queue", arrived, scheduled, {})
        clipped(events, shown, lane, "prefill", scheduled, first if first >= 0 else shown.until_ticks, {})
    for row in _rows(shown):
        token, ended, parts = row["token"], row["emitted_at_ticks"], parts_of(_ticks(row))
        if token:
            args = {"step": row["step"], "cause": cause(parts), **in_us(parts)}
            clipped(events, shown, lanes[row["request"]], f"token {token}", ended - sum(_ticks(row)), ended, args)
    return lanes


def _rows(shown: Window) -> Iterator[dict[str, int]]:
    columns = [column.tolist() for column in shown.tokens.values()]
    return (dict(zip(shown.tokens, row, strict=True)) for row in zip(*columns, strict=True))


def _ticks(row: Mapping[str, int]) -> list[int]:
    return [row[name] for name in COMPONENT_COLUMNS]


def add_queue(events: Events, run: RunFolder, shown: Window) -> None:
    """Add counters of waiting and running requests at each change."""
    arrived, scheduled, last = (run.requests[f"{name}_at_ticks"] for name in ("arrived", "scheduled", "last_token"))
    finished = are_finished(run.requests)
    refused = np.array([status == "failed" for status in run.requests["status"]], dtype=bool) & (scheduled < 0)
    arrived, begun, over = (np.sort(ticks[ticks >= 0]) for ticks in (arrived[~refused], scheduled, last[finished]))
    instants = np.unique(np.concatenate([[shown.from_ticks], arrived, begun, over]))
    instants = instants[(instants >= shown.from_ticks) & (instants <= shown.until_ticks)]
    instants = instants[:: len(instants) // MAX_COUNTS + 1]
    n_arrived, n_begun, n_over = (np.searchsorted(ticks, instants, "right") for ticks in (arrived, begun, over))
    events.name_group(QUEUE, "queue")
    for tick, waiting, running in zip(
        instants.tolist(), (n_arrived - n_begun).tolist(), (n_begun - n_over).tolist(), strict=True
    ):
        events.counter(QUEUE, "requests waiting", tick, {"requests": waiting})
        events.counter(QUEUE, "requests running", tick, {"requests": running})
