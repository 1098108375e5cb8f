"""
The messages of every collective, round by round.

An algorithm of `costs.collectives` has as many rounds as its `steps`, and the largest load of a rank's port, out or
in, summed over the rounds, is its `share`: the closed form is the duration of these messages on equal links.
A round begins when all messages of the previous one have arrived. Left out: pipelining between rounds, and the order
in which a library starts the messages of one round.

Any number of ranks will do: ring, direct and the shots need no power of two, and a binomial tree only skips some
partners. Halving and doubling goes around a circle instead of pairing ranks by a bit of their numbers: for powers of
two it sends as much in each round as Rabenseifner's, for others it still needs ceil(log2 N) rounds and no more bytes.

Source:
    Thakur, Rabenseifner, Gropp, Optimization of Collective Communication Operations in MPICH, 2005 (ring, tree).
    Träff, Optimal, Non-pipelined Reduce-scatter and Allreduce Algorithms, 2024, doi:10.34726/10760 (the circle).
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import cache
from typing import NamedTuple

from simcluster.catalog.calibration.collectives import Collective

SWITCH = -1
"""The switch that reduces and multicasts, in place of a rank."""


class Message(NamedTuple):
    """Bytes from one rank to another."""

    source: int
    """A rank, or SWITCH."""
    target: int
    """A rank, or SWITCH."""
    share: Fraction
    """Share of the bytes of the array."""
    begins: Fraction
    """Start of the bytes in the array, from 0 below 1; beyond its end they continue at its start."""


Round = tuple[Message, ...]


@cache
def rounds(collective: Collective, algorithm: str, n_ranks: int) -> tuple[Round, ...]:
    """List the messages of each round; a single rank has no rounds."""
    return () if n_ranks == 1 else _ROUNDS[collective][algorithm](n_ranks)


def _parts(source: int, target: int, first: int, n_parts: int, n_ranks: int) -> Message:
    """Make a message with some of N equal parts of the array, which wrap around its end."""
    return Message(source, target, Fraction(n_parts, n_ranks), Fraction(first % n_ranks, n_ranks))


def _ring_reduce_scatter(n: int) -> tuple[Round, ...]:
    """Part p starts at rank p + 1, passes all ranks, each of which adds its own, and ends at rank p."""
    return tuple(tuple(_parts(r, (r + 1) % n, r - k, 1, n) for r in range(n)) for k in range(1, n))


def _ring_all_gather(n: int) -> tuple[Round, ...]:
    """Every rank passes on the part that it received last, at first its own."""
    return tuple(tuple(_parts(r, (r + 1) % n, r - k, 1, n) for r in range(n)) for k in range(n - 1))


def _to_owners(n: int) -> tuple[Round, ...]:
    """Every rank sends part p to rank p, all at once."""
    return (tuple(_parts(r, p, p, 1, n) for r in range(n) for p in range(n) if p != r),)


def _from_owners(n: int) -> tuple[Round, ...]:
    """Every rank p sends part p to all others, all at once."""
    return (tuple(_parts(p, r, p, 1, n) for p in range(n) for r in range(n) if p != r),)


def _one_shot(n: int) -> tuple[Round, ...]:
    """Every rank sends the whole array to all others."""
    return (tuple(_parts(r, p, 0, n, n) for r in range(n) for p in range(n) if p != r),)


def _tree(n: int) -> tuple[Round, ...]:
    """Go up a binomial tree to rank 0 and down again; a rank without a partner in a round is idle in it."""
    up = [
        tuple(_parts(r, r - distance, 0, n, n) for r in range(distance, n, 2 * distance))
        for distance in (1 << k for k in range((n - 1).bit_length()))
    ]
    down = [tuple(message._replace(source=message.target, target=message.source) for message in r) for r in up[::-1]]
    return (*up, *down)


def _halving_doubling(n: int) -> tuple[Round, ...]:
    """
    Rank r sends the parts furthest from its own to the rank half a circle on, which adds them; then half of the rest.

    Then rank r has the sum of part r, and the same messages go back in reverse order.
    """
    halving = []
    kept = n
    while kept > 1:
        sent_from = (kept + 1) // 2
        n_parts = kept - sent_from
        halving.append(tuple(_parts(r, (r + sent_from) % n, r + sent_from, n_parts, n) for r in range(n)))
        kept = sent_from
    doubling = [tuple(m._replace(source=m.target, target=m.source) for m in sent) for sent in halving[::-1]]
    return (*halving, *doubling)


def _nvls(n: int) -> tuple[Round, ...]:
    """
    The switch adds the arrays of all ranks, sends each part to its rank, and multicasts what the rank sends back.

    The two steps overlap: while the sums of some bytes come down to all ranks, the next bytes go up. One after the
    other, the additions would be bound by the upward direction and the multicast by the downward direction, and ports
    would carry 2 in all; overlapped, each direction carries 1 + 1/N, as in the closed form. So each of the two rounds
    here takes half of the array through both steps, a few bytes at a time.
    """
    half, part = Fraction(1, 2), Fraction(1, 2 * n)
    found = []
    for begins in (Fraction(0), half):
        supplied = [Message(r, SWITCH, half, begins) for r in range(n)]
        summed = [Message(SWITCH, r, part, begins + r * part) for r in range(n)]
        returned = [Message(r, SWITCH, part, begins + r * part) for r in range(n)]
        multicast = [Message(SWITCH, r, half, begins) for r in range(n)]
        found.append((*supplied, *summed, *returned, *multicast))
    return tuple(found)


def _pairwise(n: int) -> tuple[Round, ...]:
    """In round k rank r sends part r + k to rank r + k."""
    return tuple(tuple(_parts(r, (r + k) % n, r + k, 1, n) for r in range(n)) for k in range(1, n))


def _send(n: int) -> tuple[Round, ...]:
    """Everything from rank 0 to rank 1."""
    return ((_parts(0, 1, 0, n, n),),)


_ROUNDS: dict[Collective, dict[str, Callable[[int], tuple[Round, ...]]]] = {
    "all_reduce": {
        "ring": lambda n: _ring_reduce_scatter(n) + _ring_all_gather(n),
        "tree": _tree,
        "halving_doubling": _halving_doubling,
        "one_shot": _one_shot,
        "two_shot": lambda n: _to_owners(n) + _from_owners(n),
        "nvls": _nvls,
    },
    "all_gather": {"ring": _ring_all_gather, "direct": _from_owners},
    "reduce_scatter": {"ring": _ring_reduce_scatter, "direct": _to_owners},
    "all_to_all": {"pairwise": _pairwise, "direct": _to_owners},
    "send": {"direct": _send},
}
