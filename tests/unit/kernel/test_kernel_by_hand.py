"""Short runs of one replica, computed by hand: batching, chunks, preemption, components."""

from __future__ import annotations

import pytest
from support import GivenService, Played, linear_stage, load, plan, play

from simcluster.work.batch import Batch

FIDELITIES = ["auto", "op"]


def tokens_of(run: Played) -> list[tuple[int, int, int, int]]:
    """Request, token, step and tick of every row."""
    return list(zip(*(run.tokens[n].tolist() for n in ("request", "token", "step", "emitted_at_ticks")), strict=True))


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_continuous_batching(fidelity: str) -> None:
    """A request that arrives during a step joins the next one, and one that ends leaves at once."""
    stage = linear_stage([{"launch": (10, 0, 0), "compute": (0, 0, 1)}])
    run = play([plan([stage])], load([0, 5], [4, 2], [3, 2]), fidelity=fidelity)

    # Step 0 is the prompt of request 0 (14 ticks); step 1 its decode with the prompt of request 1 (12); then decodes.
    assert [(0, 0, 0, 14), (0, 1, 1, 26), (1, 0, 1, 26), (0, 2, 2, 36), (1, 1, 2, 36)] == tokens_of(run)
    assert [1, 2, 2, 2, 2] == run.tokens["batch_size"].tolist()


def test_what_a_prompt_adds_to_a_decode_is_interference() -> None:
    """In a mixed step the decoding request is charged its own work and, as interference, the rest of the step."""
    stage = linear_stage([{"launch": (10, 0, 0)}, {"compute": (0, 0, 1)}])
    run = play([plan([stage])], load([0, 5], [4, 2], [3, 2]))
    rows = {(r, t): i for i, (r, t, _, _) in enumerate(tokens_of(run))}
    decode, prompt = rows[0, 1], rows[1, 0]

    assert (10, 0, 2) == tuple(
        run.tokens[f"{n}_ticks"][decode] for n in ("launch_host", "compute", "prefill_interference")
    )
    assert (10, 2, 9) == tuple(run.tokens[f"{n}_ticks"][prompt] for n in ("launch_host", "compute", "queue"))


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_a_long_prompt_goes_in_chunks(fidelity: str) -> None:
    """A prompt of 10 in steps of 4 tokens takes three steps, and only the last one gives a token."""
    seen: list[Batch] = []

    def service(step: int, batch: Batch) -> int:
        seen.append(batch)
        return 7

    run = play([plan([GivenService(service)], max_tokens=4)], load([0], [10], [2]), fidelity=fidelity)

    assert [(0, 0, 2, 21), (0, 1, 3, 28)] == tokens_of(run)
    # Chunks of 4, 4 and 2 tokens make 10 + 26 + 19 = 55 = 10 x 11 / 2 pairs; the decode attends to 11 entries.
    assert [(4, 10, 4, 0), (4, 26, 8, 0), (2, 19, 10, 1), (0, 0, 0, 1)] == [
        (b.prefill_tokens, b.prefill_pairs, b.prefill_context, b.outputs) for b in seen
    ]
    assert (1, 11) == (seen[-1].decode_tokens, seen[-1].decode_context)


def test_the_last_admitted_is_preempted_and_computed_again() -> None:
    """When blocks run out the later request is preempted, waits, and recomputes prompt and tokens."""
    seen: list[Batch] = []

    def service(step: int, batch: Batch) -> int:
        seen.append(batch)
        return 10

    run = play([plan([GivenService(service)], n_blocks=5, block_size=2)], load([0, 0], [4, 4], [4, 2]))

    # Both prompts take 4 of 5 blocks; the first decode takes the fifth, so the second request is preempted until the
    # first one is done, then computes its prompt and its first token again: 5 tokens.
    assert [(0, 0, 0, 10), (1, 0, 0, 10), (0, 1, 1, 20), (0, 2, 2, 30), (0, 3, 3, 40), (1, 1, 4, 50)] == tokens_of(
        run
    )
    assert [0, 1] == run.requests["preemptions"].tolist()
    assert 5 == seen[4].prefill_tokens
    assert 30 == run.tokens["queue_ticks"][-1]


def test_preempted_requests_go_before_waiting_ones() -> None:
    """A preempted request is admitted again before a request that was waiting all the time."""
    one = plan([GivenService(lambda step, batch: 10)], n_blocks=5, block_size=2, max_running=2)
    run = play([one], load([0, 0, 1], [4, 4, 4], [4, 2, 1]))

    assert [0, 1, 0] == run.requests["preemptions"].tolist()
    assert [(0, 3), (1, 1), (2, 0)] == [(r, t) for r, t, _, _ in tokens_of(run)][-3:]


def test_a_place_is_taken_in_the_order_of_arrival() -> None:
    """With one place requests are served one after the other, those of the same tick in their order."""
    run = play([plan([GivenService(lambda step, batch: 5)], max_running=1)], load([0, 0, 0], [1, 1, 1], [2, 1, 2]))

    assert [(0, 0), (0, 1), (1, 0), (2, 0), (2, 1)] == [(r, t) for r, t, _, _ in tokens_of(run)]
    assert [0, 10, 15] == run.requests["scheduled_at_ticks"].tolist()


def test_a_request_that_arrives_as_a_step_ends_is_in_the_next_one() -> None:
    """At one tick work ends first, then requests arrive, then the next step is formed."""
    run = play([plan([GivenService(lambda step, batch: 10)])], load([0, 10], [1, 1], [2, 1]))

    assert [(0, 0, 0, 10), (0, 1, 1, 20), (1, 0, 1, 20)] == tokens_of(run)


def test_requests_are_spread_over_as_many_steps_as_stages() -> None:
    """Two stages and four requests: two steps of two requests each are under way at a time."""
    stages = [GivenService(lambda step, batch: 10), GivenService(lambda step, batch: 10)]
    run = play([plan(stages)], load([0] * 4, [1] * 4, [3] * 4))

    assert {2} == set(run.tokens["batch_size"].tolist())
    assert [20, 30, 40, 50, 60, 70] == sorted(set(run.tokens["emitted_at_ticks"].tolist()))


def test_the_return_of_a_token_is_interconnect() -> None:
    """With two stages a token's way between them and back to the first is interconnect, to the tick."""
    stages = [GivenService(lambda step, batch: 10), GivenService(lambda step, batch: 10)]
    run = play([plan(stages, [3], return_ticks=4)], load([0], [1], [3]))

    assert [3, 7, 7] == run.tokens["interconnect_ticks"].tolist()
    assert [23, 50, 77] == run.emitted(0)


def test_a_later_arrival_makes_no_request_earlier() -> None:
    """A request waiting for a place starts at the same tick whether or not another one arrives behind it."""
    stages = [GivenService(lambda step, batch: 10), GivenService(lambda step, batch: 10)]
    two = plan(stages, return_ticks=100, max_running=1)
    alone = play([two], load([0, 1], [1, 1], [1, 1]))
    followed = play([two], load([0, 1, 20], [1, 1, 1], [1, 1, 1]))

    assert alone.requests["scheduled_at_ticks"][1] == followed.requests["scheduled_at_ticks"][1]


def test_a_request_fits_alone_or_not_at_all() -> None:
    """A replica serves a request if its tokens but the last one fit into the empty cache, and else refuses it."""
    small = plan([GivenService(lambda step, batch: 1)], n_blocks=3, block_size=4)
    run = play([small], load([0, 0], [12, 13], [1, 1]))

    assert ["finished", "failed"] == run.requests["status"]
