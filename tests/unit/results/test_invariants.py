"""The laws hold on a sound run, and each finds what breaks it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import Played, linear_stage, load, plan, play, with_column

from simcluster.results.invariants import INVARIANTS, MAX_PLACES, Limits, ReplicaLimits, check_run
from simcluster.results.run import record
from simcluster.scenario.load import load as load_scenario

OPS = [{"launch": (3, 0, 0), "compute": (2, 1, 2), "fetch": (4, 2, 0), "exchange": (1, 0, 1)}]


@pytest.fixture(scope="module")
def run() -> Played:
    """Two replicas, preemptions, a refused request, and requests that a horizon cuts off."""
    generator = np.random.default_rng(1)
    outputs = generator.integers(2, 9, 60)
    outputs[7] = 90
    requests = load(
        np.sort(generator.integers(0, 1500, 60)).tolist(), generator.integers(1, 20, 60).tolist(), outputs.tolist()
    )
    one = plan([linear_stage(OPS)], n_blocks=12, block_size=3, max_running=5, max_tokens=8)
    return play([one, one], requests, max_model_len=60, horizon_ticks=3000)


def test_a_sound_run_breaks_no_law(run: Played) -> None:
    """The run that the others are changed from has every kind of request, and no violation."""
    assert {"finished", "failed", "unfinished"} == set(run.requests["status"])
    assert run.requests["preemptions"].sum() > 0
    assert [] == run.violations()


def broken(run: Played) -> set[str]:
    return {violation.invariant for violation in run.violations()}


def with_limits(limits: Limits, changes: list[dict[str, Any]]) -> Limits:
    """The limits with some of each replica changed."""
    pairs = zip(limits.replicas, changes, strict=True)
    return Limits(tuple(replace(replica, **change) for replica, change in pairs))


def row_of(run: Played, token: int = 1) -> int:
    """A token in the middle of its request, in the middle of the run."""
    rows = np.flatnonzero(run.tokens["token"] == token)
    return int(rows[len(rows) // 2])


def request_with(run: Played, status: str) -> int:
    return run.requests["status"].index(status)


CHANGES: list[tuple[str, str, Any, Any]] = [
    ("tokens", "request", 99, "references"),
    ("tokens", "replica", 2, "references"),
    ("tokens", "token", 7, "conservation"),
    ("tokens", "replica", "other", "causality"),
    ("tokens", "compute_ticks", "more", "exact_sums"),
    ("tokens", "queue_ticks", -1, "exact_sums"),
    ("tokens", "emitted_at_ticks", "more", "batches"),
    ("tokens", "emitted_at_ticks", 0, "one_clock"),
    ("tokens", "emitted_at_ticks", 0, "causality"),
    ("tokens", "step", 10**6, "one_clock"),
    ("tokens", "batch_size", 6, "batches"),
    ("tokens", "batch_size", 0, "batches"),
]


@pytest.mark.parametrize(("table", "column", "value", "law"), CHANGES)
def test_a_changed_token_is_found(run: Played, table: str, column: str, value: Any, law: str) -> None:
    """One wrong entry in the token table breaks the law that it is against."""
    row = row_of(run)
    old = int(run.tokens[column][row])
    new = {"more": old + 1, "other": 1 - old}.get(value, value)

    assert law in broken(with_column(run, table, column, row, new))


@pytest.mark.parametrize(
    ("status", "column", "change", "law"),
    [
        ("finished", "tokens_emitted", -1, "conservation"),
        ("finished", "output_tokens", 1, "conservation"),
        ("finished", "last_token_at_ticks", 1, "latencies_add_up"),
        ("finished", "first_token_at_ticks", -1, "latencies_add_up"),
        ("finished", "arrived_at_ticks", 1, "exact_sums"),
        ("finished", "arrived_at_ticks", 10**6, "causality"),
        ("finished", "scheduled_at_ticks", 10**6, "causality"),
        ("finished", "scheduled_at_ticks", -(10**6), "causality"),
        ("finished", "request", 1, "references"),
        ("failed", "tokens_emitted", 1, "conservation"),
        ("unfinished", "tokens_emitted", 1, "conservation"),
        ("failed", "first_token_at_ticks", 50, "causality"),
    ],
)
def test_a_changed_request_is_found(run: Played, status: str, column: str, change: int, law: str) -> None:
    """One wrong entry in the request table breaks the law that it is against."""
    number = request_with(run, status)
    value = int(run.requests[column][number]) + change

    assert law in broken(with_column(run, "requests", column, number, value))


@pytest.mark.parametrize(
    ("status", "other"), [("finished", "lost"), ("finished", "failed"), ("unfinished", "finished")]
)
def test_a_changed_status_is_found(run: Played, status: str, other: str) -> None:
    """A request whose status contradicts its tokens breaks conservation."""
    number = request_with(run, status)

    assert "conservation" in broken(with_column(run, "requests", "status", number, other))


def test_a_refusal_without_reason_is_found(run: Played) -> None:
    """A failed request says why."""
    assert "conservation" in broken(with_column(run, "requests", "reason", request_with(run, "failed"), ""))


def without(run: Played, row: int) -> Played:
    return replace(run, tokens={name: np.delete(column, row) for name, column in run.tokens.items()})


def test_a_lost_token_is_found(run: Played) -> None:
    """A row that is missing breaks conservation, and so does one that is there twice."""
    row = row_of(run)
    twice = {name: np.insert(column, row, column[row]) for name, column in run.tokens.items()}

    assert "conservation" in broken(without(run, row))
    assert "conservation" in broken(replace(run, tokens=twice))


def test_fewer_blocks_than_are_held_are_found(run: Played) -> None:
    """With half of the blocks that there were the same trace cannot be, and with all of them it can."""
    half = with_limits(run.limits, [{"kv_blocks": 12}, {"kv_blocks": 6}])

    assert {"kv_blocks"} == broken(replace(run, limits=half))
    assert "replica 1 needs" in replace(run, limits=half).violations()[0].text


def test_the_blocks_that_must_be_held_are_exact_without_preemption() -> None:
    """Where no request is preempted and every prompt is one step, the law finds one block too few."""
    run = play([plan([linear_stage(OPS)], block_size=4)], load([0, 1, 40], [9, 6, 3], [6, 8, 3]))
    context = {number: run.requests["prompt_tokens"][number] for number in range(3)}
    levels = []
    for tick in sorted(set(run.tokens["emitted_at_ticks"].tolist())):
        held = 0
        for number in range(3):
            emitted = [t for t in run.emitted(number) if t <= tick]
            if emitted and run.requests["last_token_at_ticks"][number] >= tick:
                held += -(-(context[number] + len(emitted) - 1) // 4)
        levels.append(held)
    most = max(levels)

    assert set() == broken(replace(run, limits=with_limits(run.limits, [{"kv_blocks": most}])))
    assert {"kv_blocks"} == broken(replace(run, limits=with_limits(run.limits, [{"kv_blocks": most - 1}])))


def test_idling_is_found_on_one_stage_only(run: Played) -> None:
    """Queueing between two successive steps of the same request is idling, unless there are several stages."""
    rows = np.flatnonzero(
        (run.tokens["token"] > 0) & (run.tokens["weight_fetch_ticks"] > 0) & (run.tokens["queue_ticks"] == 0)
    )
    changed = with_column(run, "tokens", "queue_ticks", rows[0], 1)
    changed = with_column(
        changed, "tokens", "weight_fetch_ticks", rows[0], run.tokens["weight_fetch_ticks"][rows[0]] - 1
    )

    assert {"no_idling"} == broken(changed)
    assert set() == broken(replace(changed, limits=with_limits(changed.limits, [{"n_stages": 2}] * 2)))


def test_places_are_reported_with_request_token_and_tick(run: Played) -> None:
    """A violation names the request, the token and the tick, and what is wrong there."""
    row = row_of(run)
    changed = with_column(run, "tokens", "queue_ticks", row, -7)
    request, token, tick = (run.tokens[name][row] for name in ("request", "token", "emitted_at_ticks"))
    texts = [str(violation) for violation in changed.violations()]

    assert f"exact_sums: request {request}, token {token}, tick {tick}: queue lasts -7 ticks" in texts


def test_many_places_are_counted(run: Played) -> None:
    """Of a law that is broken everywhere the first places are listed and the rest is counted."""
    changed = replace(run, tokens=run.tokens | {"stall_ticks": run.tokens["stall_ticks"] + 1})
    texts = [violation.text for violation in changed.violations() if violation.invariant == "exact_sums"]

    assert MAX_PLACES + 1 == len(texts)
    assert f"and {len(run.tokens['token']) - MAX_PLACES:,} more" == texts[-1]


def test_every_law_is_stated() -> None:
    """Every law is known under its name and stated in one sentence at least."""
    for name, law in INVARIANTS.items():
        assert name == law.__name__
        assert law.__doc__ is not None
        assert "." in law.__doc__


def test_a_run_folder_is_checked(tmp_path: Path) -> None:
    """A recorded run keeps all laws when it is read back, under the limits of its scenario."""
    scenario = load_scenario("llama-3.1-70b-8xh100", ["workload.output_tokens.value=9", "noise=datacenter"])
    record(scenario, tmp_path / "run")

    assert [] == check_run(tmp_path / "run")
    assert Limits((ReplicaLimits(scenario.replicas[0].kv_blocks, 16, 256, 8192, 1),)) == Limits.of(scenario)
