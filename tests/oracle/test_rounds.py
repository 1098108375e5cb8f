"""The messages of collectives: rounds and bytes of the closed forms, and the right result at every rank."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from fractions import Fraction
from itertools import chain
from typing import NamedTuple

import pytest

from simcluster.catalog.calibration.collectives import ALGORITHMS, Collective
from simcluster.costs.collectives import COLLECTIVES
from simcluster.costs.rounds import SWITCH, Message, rounds

RANKS = (2, 3, 4, 5, 6, 7, 8, 12, 16, 17)

NAMES: list[tuple[Collective, str]] = [(c, algorithm) for c, names in ALGORITHMS.items() for algorithm in names]

Array = list[Counter[int]]
"""For each part of an array, how often the contribution of each rank is in it."""


class PortLoad(NamedTuple):
    """Shares of the array that pass a rank's port."""

    out_share: Fraction
    in_share: Fraction


def loads_of(messages: Iterable[Message], n_ranks: int) -> tuple[PortLoad, ...]:
    """The load that some messages put on each rank's port."""
    out, in_ = [Fraction(0)] * n_ranks, [Fraction(0)] * n_ranks
    for message in messages:
        if message.source != SWITCH:
            out[message.source] += message.share
        if message.target != SWITCH:
            in_[message.target] += message.share
    return tuple(map(PortLoad, out, in_))


def port_loads(collective: Collective, algorithm: str, n_ranks: int) -> tuple[PortLoad, ...]:
    """The load of each rank's port over all rounds of a collective."""
    return loads_of(chain.from_iterable(rounds(collective, algorithm, n_ranks)), n_ranks)


def ranks_of(collective: Collective) -> tuple[int, ...]:
    """Group sizes to try."""
    return (2,) if collective == "send" else RANKS


def parts(message: Message, n_parts: int) -> list[int]:
    """List the parts of the array, of `n_parts`, that a message carries."""
    first, count = message.begins * n_parts, message.share * n_parts
    assert first.denominator == count.denominator == 1
    return [part % n_parts for part in range(int(first), int(first + count))]


def after_round(arrays: list[Array], sent: tuple[Message, ...], add: bool) -> list[Array]:
    """Apply a round: messages carry the values at its beginning, and are added to the receiver's or replace them."""
    after = [[part.copy() for part in array] for array in arrays]
    for message in sent:
        for part in parts(message, len(arrays[0])):
            sent = arrays[message.source][part]
            after[message.target][part] = after[message.target][part] + sent if add else sent.copy()
    return after


def own(n_ranks: int) -> list[Array]:
    """Every rank has a full array of its own."""
    return [[Counter([rank]) for _ in range(n_ranks)] for rank in range(n_ranks)]


@pytest.mark.parametrize(("collective", "algorithm"), NAMES)
def test_rounds_and_bytes_are_those_of_the_closed_form(collective: Collective, algorithm: str) -> None:
    """Rounds number `steps`, and the busiest port's bytes, summed over rounds, are `share`: equal, no tolerance."""
    form = COLLECTIVES[collective][algorithm]
    for n_ranks in ranks_of(collective):
        found = rounds(collective, algorithm, n_ranks)
        busiest = sum((max(max(load) for load in loads_of(sent, n_ranks)) for sent in found), Fraction(0))
        assert form.steps(n_ranks) == len(found)
        assert form.share(n_ranks) == float(busiest)


@pytest.mark.parametrize(("collective", "algorithm"), NAMES)
def test_port_loads(collective: Collective, algorithm: str) -> None:
    """No rank's port carries more than `share`; all carry it both ways but in a tree and a send."""
    form = COLLECTIVES[collective][algorithm]
    for n_ranks in ranks_of(collective):
        loads = port_loads(collective, algorithm, n_ranks)
        assert n_ranks == len(loads)
        assert all(float(max(load)) <= form.share(n_ranks) for load in loads)
        if algorithm != "tree" and collective != "send":
            assert {(form.share(n_ranks),) * 2} == {(float(out), float(in_)) for out, in_ in loads}
        assert 0 == sum(out for out, _ in loads) - sum(in_ for _, in_ in loads) or algorithm == "nvls"


@pytest.mark.parametrize(("collective", "algorithm"), NAMES)
def test_one_rank_sends_nothing(collective: Collective, algorithm: str) -> None:
    """A group of one has no rounds."""
    assert () == rounds(collective, algorithm, 1)
    assert ((0, 0),) == port_loads(collective, algorithm, 1)


@pytest.mark.parametrize("n_ranks", RANKS)
@pytest.mark.parametrize("algorithm", [name for name in ALGORITHMS["all_reduce"] if name != "nvls"])
def test_all_reduce_sums_everywhere(algorithm: str, n_ranks: int) -> None:
    """At the end every rank has every part with each rank's contribution in it exactly once."""
    arrays = own(n_ranks)
    found = rounds("all_reduce", algorithm, n_ranks)
    for number, sent in enumerate(found):
        arrays = after_round(arrays, sent, add=2 * number < len(found))
    all_ranks = Counter(range(n_ranks))
    assert all(part == all_ranks for array in arrays for part in array)


@pytest.mark.parametrize("n_ranks", RANKS)
def test_nvls_sums_everywhere(n_ranks: int) -> None:
    """The switch gets each byte from every rank once, hands each sum to one rank, and every rank gets all sums."""
    n_parts = 2 * n_ranks
    supplied, summed, returned, multicast = (Counter[tuple[int, int]]() for _ in range(4))
    for sent in rounds("all_reduce", "nvls", n_ranks):
        for message in sent:
            up, whole = message.target == SWITCH, message.share == Fraction(1, 2)
            tally = (supplied if whole else returned) if up else (multicast if whole else summed)
            rank = message.source if up else message.target
            tally.update((rank, part) for part in parts(message, n_parts))
    all_parts = Counter((rank, part) for rank in range(n_ranks) for part in range(n_parts))
    assert all_parts == supplied == multicast
    assert summed == returned
    assert Counter(range(n_parts)) == Counter(part for _, part in summed.elements())


@pytest.mark.parametrize("n_ranks", RANKS)
@pytest.mark.parametrize("algorithm", ALGORITHMS["reduce_scatter"])
def test_reduce_scatter_sums_a_part_at_each_rank(algorithm: str, n_ranks: int) -> None:
    """At the end rank p has part p with each rank's contribution in it exactly once."""
    arrays = own(n_ranks)
    for sent in rounds("reduce_scatter", algorithm, n_ranks):
        arrays = after_round(arrays, sent, add=True)
    assert all(arrays[rank][rank] == Counter(range(n_ranks)) for rank in range(n_ranks))


@pytest.mark.parametrize("n_ranks", RANKS)
@pytest.mark.parametrize("algorithm", ALGORITHMS["all_gather"])
def test_all_gather_brings_every_part(algorithm: str, n_ranks: int) -> None:
    """At the end every rank has part p of rank p, for all p, though it began with its own part only."""
    arrays = [[Counter([rank] if part == rank else []) for part in range(n_ranks)] for rank in range(n_ranks)]
    for sent in rounds("all_gather", algorithm, n_ranks):
        arrays = after_round(arrays, sent, add=False)
    assert all(array == [Counter([part]) for part in range(n_ranks)] for array in arrays)


@pytest.mark.parametrize("n_ranks", RANKS)
@pytest.mark.parametrize("algorithm", ALGORITHMS["all_to_all"])
def test_all_to_all_brings_each_rank_its_part(algorithm: str, n_ranks: int) -> None:
    """Every rank sends part p of its array to rank p, once, and nothing else."""
    messages = [message for sent in rounds("all_to_all", algorithm, n_ranks) for message in sent]
    expected = [(r, p, [p]) for r in range(n_ranks) for p in range(n_ranks) if p != r]
    assert expected == sorted((m.source, m.target, parts(m, n_ranks)) for m in messages)


def test_send() -> None:
    """One message carries all from the first rank to the second."""
    assert (((0, 1, 1, 0),),) == rounds("send", "direct", 2)


@pytest.mark.parametrize("n_ranks", [2, 4, 8, 16])
def test_halving_and_doubling_of_powers_of_two(n_ranks: int) -> None:
    """For powers of two the rounds carry a half, a quarter, and so on, and the same in reverse."""
    found = rounds("all_reduce", "halving_doubling", n_ranks)
    halves = [Fraction(1, 2 << k) for k in range(len(found) // 2)]
    assert halves + halves[::-1] == [sent[0].share for sent in found]
