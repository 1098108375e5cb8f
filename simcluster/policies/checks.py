"""Checks of the decisions of policies that a caller passes; an error names the policy, request and rule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from simcluster.policies.views import Decision, RequestView, Room, RouterView, SchedulerView, blocks_for


class PolicyError(ValueError):
    """An impossible decision of a policy; the message names the policy, the request and the rule."""


def name_of(policy: object) -> str:
    """Name of a policy for messages and records."""
    return str(getattr(policy, "__name__", None) or type(policy).__name__)


def require_decision(scheduler: object, view: SchedulerView, decision: Decision) -> None:
    """
    Check a scheduler's decision; `view.waiting` must be a sequence.

    Raises:
        PolicyError: it breaks a rule.
    """
    if not isinstance(decision, Decision):
        raise PolicyError(f"policy '{name_of(scheduler)}' returned {decision!r:.80}; expected a Decision")
    waiting = {request.request: request for request in view.waiting}
    running = {request.request: request for request in view.running}
    free = view.free_blocks
    for number in decision.preempted:
        if number not in running:
            raise _error(scheduler, number, "preempts a request that is not running, or is in a step under way")
        free += running.pop(number).blocks
    n_admitted = sum(number in waiting for number, _ in decision.grants)
    _require_grants(scheduler, decision.grants, running | waiting, view.max_tokens, free, view.block_size)
    if len(decision.grants) > view.max_requests:
        raise _error(scheduler, decision.grants[-1][0], f"grants to more than {view.max_requests} requests of a step")
    n_running = view.n_running - len(decision.preempted) + n_admitted
    if n_admitted and n_running > view.max_running:
        raise _error(scheduler, decision.grants[-1][0], f"admits more than {view.max_running} running requests")


def require_admissions(
    admission: object, waiting: Iterable[RequestView], room: Room, grants: list[tuple[int, int]]
) -> None:
    """
    Check what an admission grants to waiting requests.

    Raises:
        PolicyError: it breaks a rule.
    """
    known = {request.request: request for request in waiting}
    _require_grants(admission, grants, known, room.tokens, room.blocks, room.block_size)
    if len(grants) > room.places:
        raise _error(admission, grants[-1][0], f"admits more than the {room.places} requests there is room for")


def require_steady(
    scheduler: object, view: SchedulerView, expected: list[tuple[int, int]], decision: Decision
) -> None:
    """
    Check that a scheduler decides as it declares by `steady_decode` while all running requests decode.

    Raises:
        PolicyError: its decision differs from `expected`, what its admission grants after a token for each.
    """
    require_decision(scheduler, view, decision)
    differing = set(decision.grants).symmetric_difference(expected) | {(number, 0) for number in decision.preempted}
    if differing:
        number = min(differing)[0]
        given, declared = dict(decision.grants).get(number, 0), dict(expected).get(number, 0)
        rule = f"declares by steady_decode that this step computes {declared} of its tokens, and grants {given}"
        raise _error(scheduler, number, rule)


def require_served(scheduler: object, left: list[int]) -> None:
    """
    Check that no request is left when no event is, at which a scheduler would be asked again.

    Raises:
        PolicyError: some are.
    """
    if left:
        raise _error(scheduler, min(left), f"leaves it without tokens, and {len(left)} requests in all")


def require_replica(router: object, request: int, view: RouterView, chosen: object) -> None:
    """
    Check a router's choice.

    Raises:
        PolicyError: it is not a replica that accepts the request.
    """
    if type(chosen) is not int or chosen not in {replica.replica for replica in view.accepting}:
        numbers = ", ".join(str(replica.replica) for replica in view.accepting)
        raise _error(router, request, f"chose replica {chosen!r}; expected one that accepts it: {numbers}")


def _require_grants(
    policy: object, grants: list[tuple[int, int]], known: Mapping[int, RequestView], max_tokens: int, blocks: int,
    block_size: int,
) -> None:  # fmt: skip
    """Check the tokens and KV blocks of grants; `known` holds the requests that may take part, by number."""
    left, seen = max_tokens, set[int]()
    for number, n_tokens in grants:
        request = known.get(number)
        if request is None:
            raise _error(policy, number, "grants tokens to a request that can take no part in this step")
        if number in seen:
            raise _error(policy, number, "grants tokens to a request twice")
        seen.add(number)
        if type(n_tokens) is not int or not 1 <= n_tokens <= request.pending:
            raise _error(policy, number, f"grants {n_tokens!r} tokens to a request with {request.pending} pending")
        left -= n_tokens
        if left < 0:
            raise _error(policy, number, f"grants more than the {max_tokens} tokens of a step")
        blocks -= blocks_for(request.computed + n_tokens, block_size) - request.blocks
        if blocks < 0:
            raise _error(policy, number, f"grants tokens that need {-blocks} KV blocks more than are free")


def _error(policy: object, request: int, rule: str) -> PolicyError:
    return PolicyError(f"policy '{name_of(policy)}', request {request}: it {rule}")
