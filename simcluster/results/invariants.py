"""
Laws that every run keeps, whatever was simulated: each is checked on the tables of a run alone.

A law is a function of the tables and says in words where it is broken. The token table is used column by column, so
a mapping that reads each column when it is asked for keeps the memory to a few columns at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from simcluster.files import source
from simcluster.numerics.ticks import Ticks
from simcluster.results.read_run import RunFolder, read
from simcluster.results.run import RESOLVED
from simcluster.scenario.reread import as_recorded
from simcluster.scenario.resolved import Scenario
from simcluster.trace.columns import COMPONENTS, STATUSES, TOKEN_COLUMNS

Rows = npt.NDArray[np.intp]

MAX_PLACES = 10
"""Places that are listed for one law; others are counted."""


@dataclass(frozen=True)
class ReplicaLimits:
    """What a scenario lets a replica have."""

    kv_blocks: int
    block_size: int
    max_num_seqs: int
    max_num_batched_tokens: int
    n_stages: int
    held_back: bool = False
    """Whether its host may deliver tokens late, several at once."""


@dataclass(frozen=True)
class Limits:
    """What a scenario lets its replicas have."""

    replicas: tuple[ReplicaLimits, ...]
    """Limits by the number of the replica."""

    @classmethod
    def of(cls, scenario: Scenario) -> Limits:
        """The limits that a resolved scenario sets."""
        return cls(
            tuple(
                ReplicaLimits(
                    kv_blocks=replica.kv_blocks,
                    block_size=pool.engine.block_size,
                    max_num_seqs=pool.engine.max_num_seqs,
                    max_num_batched_tokens=pool.engine.max_num_batched_tokens,
                    n_stages=len(replica.stages),
                    held_back=scenario.noise.values("host_pauses", pool.device.kind) is not None,
                )
                for pool, replica in scenario.placed_replicas
            )
        )

    def column(self, limit: Callable[[ReplicaLimits], int]) -> Ticks:
        """A limit of every replica, shape (replicas,)."""
        return np.array([limit(replica) for replica in self.replicas], np.int64)


@dataclass(frozen=True, eq=False)
class Tables:
    """The tables of a run and the limits it was under."""

    tokens: Mapping[str, Ticks]
    """The columns of `trace.TOKEN_COLUMNS`, in the order of emission."""
    requests: Mapping[str, Any]
    """The columns of `trace.REQUEST_COLUMNS` as int64 arrays, `status` and `reason` as sequences of text."""
    limits: Limits

    @cached_property
    def by_request(self) -> Rows:
        """Rows of the token table sorted by request, those of one request in the order of emission."""
        return np.argsort(self.tokens["request"], kind="stable")

    @cached_property
    def is_first(self) -> npt.NDArray[np.bool_]:
        """For each row of `by_request`, whether it is the first of its request."""
        first: npt.NDArray[np.bool_] = np.diff(self.tokens["request"][self.by_request], prepend=-1) != 0
        return first

    def since_previous(self) -> Ticks:
        """For each row of `by_request`, the time since the request's previous token, or since its arrival."""
        emitted = self.tokens["emitted_at_ticks"][self.by_request]
        arrived = self.requests["arrived_at_ticks"][self.tokens["request"][self.by_request]]
        return np.where(self.is_first, emitted - arrived, np.diff(emitted, prepend=0))

    @cached_property
    def may_catch_up(self) -> npt.NDArray[np.bool_]:
        """
        For each row, whether its token or the one before it may have been held back by a host.

        Tokens of a request that restarted may come from several replicas.
        """
        held_back = self.limits.column(lambda replica: replica.held_back) > 0
        restarted = self.requests["restarts"][self.tokens["request"]] > 0
        found: npt.NDArray[np.bool_] = held_back[self.tokens["replica"]] | (restarted & held_back.any())
        return found

    def component_sums(self) -> Ticks:
        """Sum of all components of every row of the token table."""
        sums = np.zeros(len(self.tokens["request"]), np.int64)
        for name in COMPONENTS:
            sums += self.tokens[f"{name}_ticks"]
        return sums

    def with_status(self, status: str) -> npt.NDArray[np.bool_]:
        """Which requests have this status."""
        return np.array([found == status for found in self.requests["status"]], dtype=bool)

    def at_rows(self, rows: Rows, what: Callable[[int], str]) -> list[str]:
        """Violations at these rows of the token table, each with its place."""
        request, token, emitted = (self.tokens[name] for name in ("request", "token", "emitted_at_ticks"))
        return _listed(
            rows, lambda row: f"request {request[row]}, token {token[row]}, tick {emitted[row]}: {what(row)}"
        )


Law = Callable[[Tables], list[str]]


class Violation(NamedTuple):
    """A law that is broken, and where."""

    invariant: str
    text: str

    def __str__(self) -> str:
        return f"{self.invariant}: {self.text}"


class _Columns(Mapping[str, Ticks]):
    """The token table of a run folder, each column read when it is asked for and not kept."""

    def __init__(self, run: RunFolder) -> None:
        self._run = run

    def __getitem__(self, name: str) -> Ticks:
        column = np.empty(self._run.n_tokens, np.int64)
        end = 0
        for block in self._run.tokens([name]):
            start, end = end, end + len(block[name])
            column[start:end] = block[name]
        return column

    def __iter__(self) -> Iterator[str]:
        return iter(TOKEN_COLUMNS)

    def __len__(self) -> int:
        return len(TOKEN_COLUMNS)


def check_run(folder: Path) -> list[Violation]:
    """
    Check a run folder against every law, see `check`.

    Raises:
        InputError: it is not a complete run folder.
    """
    run = read(folder)
    scenario = as_recorded(source.read(folder / RESOLVED))
    return check(_Columns(run), run.requests, Limits.of(scenario))


def check(tokens: Mapping[str, Ticks], requests: Mapping[str, Any], limits: Limits) -> list[Violation]:
    """
    Check the tables of a run against every law; the list is empty for a sound run.

    When rows name requests or replicas that do not exist, only that is reported.

    Args:
        tokens: columns of the token table by name, in the order of emission.
        requests: columns of the request table by name.
        limits: see `Limits.of`.
    """
    tables = Tables(tokens, requests, limits)
    broken = [Violation("references", text) for text in references(tables)]
    if broken:
        return broken
    return [Violation(name, text) for name, law in INVARIANTS.items() for text in law(tables)]


def references(tables: Tables) -> list[str]:
    """Request i is row i of the request table, and every token belongs to a request and a replica that exist."""
    number = tables.requests["request"]
    request, replica = tables.tokens["request"], tables.tokens["replica"]
    n_requests, n_replicas = len(number), len(tables.limits.replicas)
    misplaced = np.flatnonzero(number != np.arange(n_requests))
    unknown = np.flatnonzero((request < 0) | (request >= n_requests))
    nowhere = np.flatnonzero((replica < 0) | (replica >= n_replicas))
    return [
        *_listed(misplaced, lambda row: f"row {row} of the request table is request {number[row]}"),
        *tables.at_rows(unknown, lambda row: f"the run has {n_requests} requests"),
        *tables.at_rows(nowhere, lambda row: f"made by replica {replica[row]} of {n_replicas}"),
    ]


def conservation(tables: Tables) -> list[str]:
    """
    Every request is finished, failed with a reason, or unfinished, and each of its tokens is in the table once.

    A finished one has all its tokens, an unfinished one fewer, a failed one none unless its replica failed under it.
    """
    requests = tables.requests
    emitted, asked = requests["tokens_emitted"], requests["output_tokens"]
    finished, failed, unfinished = (tables.with_status(status) for status in STATUSES)
    reasoned = np.array([bool(reason) for reason in requests["reason"]], dtype=bool)
    rows = np.bincount(tables.tokens["request"], minlength=len(asked))
    token = tables.tokens["token"]
    ordered = tables.by_request
    starts = np.maximum.accumulate(np.where(tables.is_first, np.arange(len(ordered)), 0))
    wrong = np.sort(ordered[token[ordered] != np.arange(len(ordered)) - starts])
    return [
        *_requests(~(finished | failed | unfinished), lambda n: f"status '{requests['status'][n]}'"),
        *_requests(failed != reasoned, lambda n: f"{requests['status'][n]} with reason '{requests['reason'][n]}'"),
        *_requests(finished & (emitted != asked), lambda n: f"finished with {emitted[n]} of {asked[n]} tokens"),
        *_requests(unfinished & (emitted >= asked), lambda n: f"unfinished with {emitted[n]} of {asked[n]} tokens"),
        *_requests(
            failed & (emitted != 0) & (requests["restarts"] == 0), lambda n: f"failed with {emitted[n]} tokens"
        ),
        *_requests(rows != emitted, lambda n: f"{rows[n]} rows for {emitted[n]} tokens"),
        *tables.at_rows(wrong, lambda row: "not the number that follows"),
    ]


def causality(tables: Tables) -> list[str]:
    """
    A request arrives, is scheduled, gets its first token, then the others, each later than the one before.

    A time is set exactly when its token or step exists; tokens come from the replica the request was sent to. Tokens
    that a host held back may come together.
    """
    requests, tokens = tables.requests, tables.tokens
    arrived, scheduled, first, last = (
        requests[f"{name}_at_ticks"] for name in ("arrived", "scheduled", "first_token", "last_token")
    )
    request, emitted, replica = tokens["request"], tokens["emitted_at_ticks"], tokens["replica"]
    has_tokens, was_scheduled = requests["tokens_emitted"] > 0, scheduled >= 0
    ordered = tables.by_request
    is_last = np.roll(tables.is_first, -1)
    shortest = np.where(tables.may_catch_up[ordered], 0, 1)
    early = ordered[~tables.is_first & (tables.since_previous() < shortest)]
    not_first = ordered[tables.is_first & (emitted[ordered] != first[request[ordered]])]
    not_last = ordered[is_last & (emitted[ordered] != last[request[ordered]])]
    sent_to = requests["replica"]
    elsewhere = np.flatnonzero((replica != sent_to[request]) & (requests["restarts"][request] == 0))
    absent = (has_tokens != (first >= 0)) | (has_tokens != (last >= 0)) | (has_tokens & ~was_scheduled)
    return [
        *_requests(
            absent, lambda n: f"{requests['tokens_emitted'][n]} tokens, first at {first[n]}, last at {last[n]}"
        ),
        *_requests(
            was_scheduled & ((scheduled < arrived) | (arrived < 0)),
            lambda n: f"scheduled at {scheduled[n]}, arrived at {arrived[n]}",
        ),
        *_requests(
            has_tokens & (first < scheduled), lambda n: f"first token at {first[n]}, scheduled at {scheduled[n]}"
        ),
        *tables.at_rows(early, lambda row: "not later than the token before"),
        *tables.at_rows(not_first, lambda row: f"the request table has the first token at {first[request[row]]}"),
        *tables.at_rows(not_last, lambda row: f"the request table has the last token at {last[request[row]]}"),
        *tables.at_rows(elsewhere, lambda row: f"made by replica {replica[row]}, sent to {sent_to[request[row]]}"),
    ]


def exact_sums(tables: Tables) -> list[str]:
    """
    No component is negative, and a token's components add up to the time since the previous token, to the tick.

    Where hosts hold tokens back, those that catch up have a negative stall.
    """
    found = []
    for name in COMPONENTS:
        column = tables.tokens[f"{name}_ticks"]
        is_wrong = (column < 0) & ~tables.may_catch_up if name == "stall" else column < 0
        found += tables.at_rows(np.flatnonzero(is_wrong), lambda row, n=name, c=column: f"{n} lasts {c[row]} ticks")  # type: ignore[misc]
    sums = tables.component_sums()
    elapsed = np.empty_like(sums)
    elapsed[tables.by_request] = tables.since_previous()
    wrong = np.flatnonzero(sums != elapsed)
    return found + tables.at_rows(wrong, lambda row: f"components add up to {sums[row]} of {elapsed[row]} ticks")


def latencies_add_up(tables: Tables) -> list[str]:
    """Time to first token plus all inter-token latencies is the end-to-end latency, to the tick."""
    if not len(tables.by_request):
        return []
    starts = np.flatnonzero(tables.is_first)
    sums = tables.component_sums()[tables.by_request]
    n = tables.tokens["request"][tables.by_request[starts]]
    ttft, e2el = sums[starts], np.add.reduceat(sums, starts)
    arrived, first, last = (
        tables.requests[name][n] for name in ("arrived_at_ticks", "first_token_at_ticks", "last_token_at_ticks")
    )
    wrong = np.flatnonzero((ttft != first - arrived) | (e2el != last - arrived))
    return _listed(
        wrong,
        lambda i: (
            f"request {n[i]}: ttft {ttft[i]} of {first[i] - arrived[i]} ticks, "
            f"ttft + sum of itl {e2el[i]} of {last[i] - arrived[i]} ticks"
        ),
    )


def one_clock(tables: Tables) -> list[str]:
    """Tokens are in the order of their emission, and the steps of a replica end in the order in which they began."""
    emitted, step = tables.tokens["emitted_at_ticks"], tables.tokens["step"]
    back = np.flatnonzero(np.diff(emitted) < 0) + 1
    by_replica = np.argsort(tables.tokens["replica"], kind="stable")
    same = np.diff(tables.tokens["replica"][by_replica]) == 0
    overtaken = np.sort(by_replica[1:][same & (np.diff(step[by_replica]) < 0)])
    return [
        *tables.at_rows(back, lambda row: f"comes after a token of tick {emitted[row - 1]}"),
        *tables.at_rows(overtaken, lambda row: f"step {step[row]} ends after a later one"),
    ]


def batches(tables: Tables) -> list[str]:
    """The tokens of a step come together, no more than its batch has requests, and no batch is above the limits."""
    batch, emitted = tables.tokens["batch_size"], tables.tokens["emitted_at_ticks"]
    limits = tables.limits.column(lambda replica: min(replica.max_num_seqs, replica.max_num_batched_tokens))
    limit = limits[tables.tokens["replica"]]
    large = np.flatnonzero((batch < 1) | (batch > limit))
    step = tables.tokens["step"]
    key = tables.tokens["replica"] * (step.max(initial=0) + 1) + step
    _, first, of_step, n_rows = np.unique(key, return_index=True, return_inverse=True, return_counts=True)
    leader = first[of_step]
    apart = np.flatnonzero((batch != batch[leader]) | (emitted != emitted[leader]))
    crowded = np.sort(first[n_rows > batch[first]])
    return [
        *tables.at_rows(large, lambda row: f"batch of {batch[row]}, the limit is {limit[row]}"),
        *tables.at_rows(
            apart,
            lambda row: f"batch of {batch[row]}, its step has {batch[leader[row]]} at tick {emitted[leader[row]]}",
        ),
        *tables.at_rows(crowded, lambda row: f"{n_rows[of_step[row]]} tokens from a batch of {batch[row]}"),
    ]


def kv_blocks(tables: Tables) -> list[str]:
    """
    The KV blocks that requests must hold at once never exceed those of their replica.

    When its token of index j is emitted, a request holds the entries of its prompt and of j tokens. One that was
    never preempted, and whose replica never failed, keeps them until its last token; of others only the moment of
    emission is sure. Blocks of prompts under way and of the token being made are not counted: the trace does not say
    since when they are held.
    """
    tokens, requests = tables.tokens, tables.requests
    size = tables.limits.column(lambda replica: replica.block_size)[tokens["replica"]]
    request, token = tokens["request"], tokens["token"]
    context = requests["prompt_tokens"][request] + token
    held = -(-context // size)
    stays = (requests["preemptions"][request] == 0) & (requests["restarts"][request] == 0)
    ends = token + 1 == requests["output_tokens"][request]
    before = np.where(stays & (token > 0), -(-(context - 1) // size), 0)
    taken, freed = held - before, np.where(stays & ~ends, 0, held)
    found = []
    for replica, n_blocks in enumerate(limits.kv_blocks for limits in tables.limits.replicas):
        rows = np.flatnonzero(tokens["replica"] == replica)
        _, first, moment = np.unique(tokens["emitted_at_ticks"][rows], return_index=True, return_inverse=True)
        level = _sums(taken[rows], moment, len(first)).cumsum()
        # What is freed at a tick was held when the tokens of that tick were emitted.
        level[1:] -= _sums(freed[rows], moment, len(first)).cumsum()[:-1]
        at_row = dict(zip(rows[first].tolist(), level.tolist(), strict=True))
        found += tables.at_rows(
            rows[first[level > n_blocks]],
            lambda row, r=replica, n=n_blocks, levels=at_row: f"replica {r} needs {levels[row]} KV blocks of {n}",  # type: ignore[misc]
        )
    return found


def no_idling(tables: Tables) -> list[str]:
    """
    A request that two successive steps of a one-stage replica serve does not queue in between.

    More cannot be seen in the trace: steps that only advance prompts leave no row, and with several stages a token
    may have to wait for its turn in the first one. Requests whose replica failed are left out: their steps may be of
    two replicas.
    """
    n_stages = tables.limits.column(lambda replica: replica.n_stages)[tables.tokens["replica"]]
    ordered, step, queue = tables.by_request, tables.tokens["step"], tables.tokens["queue_ticks"]
    stayed = tables.requests["restarts"][tables.tokens["request"][ordered]] == 0
    successive = ~tables.is_first & stayed & (np.diff(step[ordered], prepend=0) == 1)
    idle = np.sort(ordered[successive & (queue[ordered] != 0) & (n_stages[ordered] == 1)])
    return tables.at_rows(
        idle, lambda row: f"queued {queue[row]} ticks between steps {step[row] - 1} and {step[row]}"
    )


INVARIANTS: dict[str, Law] = {
    "references": references,
    "conservation": conservation,
    "causality": causality,
    "exact_sums": exact_sums,
    "latencies_add_up": latencies_add_up,
    "one_clock": one_clock,
    "batches": batches,
    "kv_blocks": kv_blocks,
    "no_idling": no_idling,
}
"""The laws by name; the first sentence of each function states it."""


def _sums(values: Ticks, group: Rows, n_groups: int) -> Ticks:
    """Exact sums of integers by group, shape (n_groups,)."""
    sums = np.zeros(n_groups, np.int64)
    np.add.at(sums, group, values)
    return sums


def _requests(wrong: npt.NDArray[np.bool_], what: Callable[[int], str]) -> list[str]:
    """Violations of these requests."""
    return _listed(np.flatnonzero(wrong), lambda number: f"request {number}: {what(number)}")


def _listed(found: Rows, what: Callable[[int], str]) -> list[str]:
    """List the first places in words, and the number of others."""
    texts = [what(index) for index in _first(found)]
    return [*texts, f"and {len(found) - MAX_PLACES:,} more"] if len(found) > MAX_PLACES else texts


def _first(found: Rows) -> Iterable[int]:
    return (int(index) for index in found[:MAX_PLACES])
