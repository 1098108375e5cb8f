"""Policies that a caller passes to a simulation, replacing those that the scenario names."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from simcluster.files.problems import nearest
from simcluster.policies.checks import PolicyError, name_of
from simcluster.policies.routers import ROUTERS, Router
from simcluster.policies.schedulers import SCHEDULERS, Scheduler


@dataclass(frozen=True)
class Policies:
    """
    Schedulers and a router for `simulate`; those left out are taken from the scenario.

    Functions are sent to worker processes by value. They must be pure: the same view gives the same decision.
    """

    scheduler: Scheduler | str | Mapping[str, Scheduler | str] | None = None
    """One for all pools, or a mapping from pool names: functions, or names of schedulers of simcluster."""
    router: Router | str | None = None

    def scheduler_of(self, pool: str) -> Scheduler | None:
        """
        Return the scheduler of a pool; None for that of the scenario.

        Raises:
            PolicyError: no scheduler has this name.
        """
        given = self.scheduler.get(pool) if isinstance(self.scheduler, Mapping) else self.scheduler
        return _named(given, SCHEDULERS, "scheduler") if isinstance(given, str) else given

    def chosen_router(self) -> Router | None:
        """
        Return the router; None for that of the scenario.

        Raises:
            PolicyError: no router has this name.
        """
        return _named(self.router, ROUTERS, "router") if isinstance(self.router, str) else self.router

    def described(self) -> dict[str, dict[str, str]]:
        """Return name and SHA-256 of the source of each given policy, keyed by role, for the record of a run."""
        given: dict[str, Any] = {"router": self.router}
        if isinstance(self.scheduler, Mapping):
            given |= {f"scheduler of {pool}": policy for pool, policy in sorted(self.scheduler.items())}
        else:
            given["scheduler"] = self.scheduler
        known: dict[str, Any] = {**SCHEDULERS, **ROUTERS}
        return {
            role: {"name": name_of(policy), "sha256": source_sha256(policy)}
            for role, policy in ((role, known.get(given, given)) for role, given in given.items())
            if policy is not None
        }


AS_IN_SCENARIO = Policies()
"""Only policies that the scenario names."""


def source_sha256(policy: Any) -> str:
    """
    Hash a policy's source, with its defaults and the plain values of its closure (SHA-256).

    Where no source is found (a function typed at a prompt), its byte code is hashed instead. Functions that it calls
    are not included.
    """
    code = getattr(policy, "__code__", None)
    try:
        text = inspect.getsource(policy if code is not None or inspect.isclass(policy) else type(policy))
    except (OSError, TypeError):
        text = "" if code is None else f"{code.co_code.hex()} {code.co_names} {code.co_consts!r}"
    enclosed = [repr(cell.cell_contents) for cell in getattr(policy, "__closure__", None) or ()
                if _is_plain(cell.cell_contents)]  # fmt: skip
    parts = (text, repr(getattr(policy, "__defaults__", None)), *enclosed)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _is_plain(value: Any) -> bool:
    """Whether the `repr` of a value is complete and the same on every machine."""
    if isinstance(value, dict):
        return all(_is_plain(part) for item in value.items() for part in item)
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def _named(name: str, known: Mapping[str, Any], role: str) -> Any:
    if name not in known:
        raise PolicyError(f"unknown {role} '{name}'; {nearest(name, known)}")
    return known[name]
