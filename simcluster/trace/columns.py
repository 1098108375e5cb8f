"""The columns of the token and request tables, and the components of a token's latency."""

from __future__ import annotations

from simcluster.numerics.arrays import Integers

Block = Integers
"""Rows of the token table, shape (columns, rows)."""

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
    "stall": "standing still: stalls, pauses of the host, and work that was lost when a device failed",
}
"""The components of a token's latency and what each means; the order is that of the columns."""

KEYS = ("request", "token", "replica", "step", "batch_size", "emitted_at_ticks")
COMPONENT_COLUMNS = tuple(f"{name}_ticks" for name in COMPONENTS)
TOKEN_COLUMNS = (*KEYS, *COMPONENT_COLUMNS)
"""Columns of the token table, all int64; a token's latency is the time since the request's previous token, or since
its arrival, and equals the sum of the component columns."""

ROWS_PER_BLOCK = 2**13
"""Approximate number of rows in a block: one megabyte, which stays in the processor's cache between columns."""

N_KEYS = len(KEYS)
COMPONENT = {name: index for index, name in enumerate(COMPONENTS)}
"""Index of each component among the components."""

REQUEST_COLUMNS = (
    "request", "arrived_at_ticks", "prompt_tokens", "output_tokens", "replica", "scheduled_at_ticks",
    "first_token_at_ticks", "last_token_at_ticks", "tokens_emitted", "preemptions", "restarts",
)  # fmt: skip
"""Integer columns of the request table; -1 for none. Its columns `status` and `reason` are text."""

STATUSES = ("finished", "failed", "unfinished")
