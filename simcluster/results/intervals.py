"""Reliability of a summary: the calibration used, whether it was fitted to similar runs, a predictive interval."""

from __future__ import annotations

from collections.abc import Iterator
from math import fsum
from typing import Any

from simcluster.scenario.resolved import Pool, Scenario
from simcluster.workload import WorkloadSpec
from simcluster.workload.arrivals import Closed
from simcluster.workload.lengths import Fixed, Uniform

BUSY = ("compute", "weight_fetch", "kv_fetch")
WIDER = 2.0
"""Factor by which an interval widens outside the fitted range: a choice, as nothing was measured there."""


def calibration_of(scenario: Scenario) -> dict[str, Any]:
    """Name the constants that a result depends on, and what of the scenario is outside of their fitted range."""
    beyond, of_pools = list(outside(scenario)), [_constants_of(pool) for pool in scenario.pools]
    joined = (dict.fromkeys(text for text in texts if text) for texts in zip(*of_pools, strict=True))
    device, status, engine = (", ".join(texts) for texts in joined)
    return {
        "device": device,
        "status": status,
        "engine": engine or None,
        "in_fitted_range": not beyond,
        "outside": beyond,
    }


def _constants_of(pool: Pool) -> tuple[str, str, str]:
    """Title of the device's constants, their status, and the title of the engine's; '' without an engine."""
    constants, engine = pool.gpu or pool.wafer, pool.engine.calibration
    status = pool.gpu.status if pool.gpu else "scaled" if pool.wafer else "assumed"
    return constants.title if constants else pool.device.name, status, engine.title if engine else ""


def uncertainty(scenario: Scenario, summary: dict[str, Any]) -> dict[str, Any]:
    """
    Find a predictive interval for means, and the average power.

    Nine of ten measured runs that were not fitted were within the stated share of their prediction; outside the
    fitted range the share is doubled. Without a named serving engine nothing was fitted to runs, nor for several
    pools together: no interval.
    """
    found: dict[str, Any] = {"average_power_share": power_share(scenario, summary)}
    engine = scenario.pools[0].engine.calibration if len(scenario.pools) == 1 else None
    for name in ("tpot", "ttft"):
        mean_ms = summary[f"mean_{name}_ms"]
        found[f"mean_{name}_interval_ms"] = None
        if engine is not None and mean_ms is not None:
            share = getattr(engine, name).p90 * (1.0 if is_inside(scenario) else WIDER)
            found[f"mean_{name}_interval_ms"] = [mean_ms / (1 + share), mean_ms * (1 + share)]
    return found


def power_share(scenario: Scenario, summary: dict[str, Any]) -> float | None:
    """Find average power as a share of rated power, from the time devices compute or fetch; None if unknown."""
    gpu = scenario.pools[0].gpu
    if len(scenario.pools) > 1 or gpu is None or not gpu.busy_power_share:
        return None
    n_later = max(summary["total_output_tokens"] - summary["completed"], 0)
    sums = {"ttft": (summary["mean_ttft_ms"] or 0.0) * summary["completed"],
            "itl": (summary["mean_itl_ms"] or 0.0) * n_later}  # fmt: skip
    total = fsum(sums.values())
    if not total:
        return None
    busy = fsum(sums[kind] * fsum(summary[f"{kind}_shares"][name] for name in BUSY) for kind in sums) / total
    return float(gpu.idle_power_share + gpu.busy_power_share * busy)


def is_inside(scenario: Scenario) -> bool:
    """Whether the engine's constants were fitted on runs that surround this one."""
    return not list(outside(scenario))


def outside(scenario: Scenario) -> Iterator[str]:
    """List what of a scenario is outside the range of its engines' fits; with several pools, each with its name."""
    if len(scenario.pools) == 1:
        yield from _outside(scenario.pools[0], scenario.requests_spec())
        return
    for pool in scenario.pools:
        yield from (f"{pool.name}: {text}" for text in _outside(pool, scenario.requests_spec()))


def _outside(pool: Pool, spec: WorkloadSpec) -> Iterator[str]:
    calibration = pool.engine.calibration
    if calibration is None:
        yield "no serving engine is named: scheduler and host times are general"
        return
    fitted = calibration.fitted_range
    if pool.device.name not in fitted.devices:
        yield f"device {pool.device.name}"
    if pool.model.name not in fitted.models:
        yield f"model {pool.model.name}"
    if not min(fitted.tensor_parallel) <= pool.n_ranks <= max(fitted.tensor_parallel):
        yield f"{pool.n_ranks} ranks"
    sizes: list[tuple[str, int, list[int]]] = []
    if isinstance(spec.arrivals, Closed):
        sizes.append(("requests at a time", spec.arrivals.concurrency, fitted.concurrency))
    else:
        yield "an open loop"
    for what, lengths, known in (
        ("prompt tokens", spec.prompt_tokens, fitted.prompt_tokens),
        ("output tokens", spec.output_tokens, fitted.output_tokens),
    ):
        longest = _longest(lengths)
        if longest is None:
            yield f"{what} that vary"
        else:
            sizes.append((what, longest, known))
    for what, size, (least, most) in sizes:
        if not least <= size <= most:
            yield f"{size:,} {what}"


def _longest(lengths: Any) -> int | None:
    if isinstance(lengths, Fixed):
        return lengths.value
    return lengths.bounds()[1] if isinstance(lengths, Uniform) else None
