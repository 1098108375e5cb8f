"""Routers: which replica serves an arriving request."""

from __future__ import annotations

from collections.abc import Callable

from simcluster.policies.views import RouterView

Router = Callable[[RouterView], int]
"""Returns the identity of a replica that accepts the request."""


def round_robin(view: RouterView) -> int:
    """Choose the accepting replicas in turn."""
    accepting = view.accepting
    return accepting[view.number % len(accepting)].replica


def least_loaded(view: RouterView) -> int:
    """Choose the accepting replica with the fewest requests waiting or running; the first on ties."""
    return min(view.accepting, key=lambda replica: replica.in_system).replica


ROUTERS: dict[str, Router] = {"round_robin": round_robin, "least_loaded": least_loaded}
