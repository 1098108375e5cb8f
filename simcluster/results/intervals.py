"""Reliability of a summary: the calibration used, whether it was fitted to similar runs, a predictive interval."""

from __future__ import annotations

from collections.abc import Iterator
from math import fsum
from typing import Any

from simcluster.scenario.resolved import Scenario
from simcluster.workload.arrivals import Closed
from simcluster.workload.lengths import Fixed, Uniform

BUSY = ("compute", "weight_fetch", "kv_fetch")
WIDER = 2.0
"""Factor by which an interval widens outside the fitted range: a choice, as nothing was measured there."""


def calibration_of(scenario: Scenario) -> dict[str, Any]:
    """Name the constants that a result depends on, and what of the scenario is outside of their fitted range."""
    engine, beyond = scenario.engine.calibration, list(outside(scenario))
    constants = scenario.gpu or scenario.wafer
    return {
        "device": constants.title if constants else scenario.device.name,
        "status": scenario.gpu.status if scenario.gpu else "scaled" if scenario.wafer else "assumed",
        "engine": engine.title if engine else None,
        "in_fitted_range": not beyond,
        "outside": beyond,
    }


def uncertainty(scenario: Scenario, summary: dict[str, Any]) -> dict[str, Any]:
    """
    Find a predictive interval for means, and the average power.

    Nine of ten measured runs that were not fitted were within the stated share of their prediction; outside the
    fitted range the share is doubled. Without a named serving engine nothing was fitted to runs: no interval.
    """
    found: dict[str, Any] = {"average_power_share": power_share(scenario, summary)}
    engine = scenario.engine.calibration
    for name in ("tpot", "ttft"):
        mean_ms = summary[f"mean_{name}_ms"]
        found[f"mean_{name}_interval_ms"] = None
        if engine is not None and mean_ms is not None:
            share = getattr(engine, name).p90 * (1.0 if is_inside(scenario) else WIDER)
            found[f"mean_{name}_interval_ms"] = [mean_ms / (1 + share), mean_ms * (1 + share)]
    return found


def power_share(scenario: Scenario, summary: dict[str, Any]) -> float | None:
    """Find average power as a share of rated power, from the time devices compute or fetch; None if unknown."""
    gpu = scenario.gpu
    if gpu is None or not gpu.busy_power_share:
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
    """List what of a scenario is outside the range of its engine's fit."""
    calibration = scenario.engine.calibration
    if calibration is None:
        yield "no serving engine is named: scheduler and host times are general"
        return
    fitted = calibration.fitted_range
    if scenario.device.name not in fitted.devices:
        yield f"device {scenario.device.name}"
    if scenario.model.name not in fitted.models:
        yield f"model {scenario.model.name}"
    n_ranks = len(scenario.replicas[0].stages[0].devices)
    if not min(fitted.tensor_parallel) <= n_ranks <= max(fitted.tensor_parallel):
        yield f"{n_ranks} ranks"
    spec = scenario.requests_spec()
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
