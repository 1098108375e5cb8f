"""Errors of simulated cases, in total and by group: as rows of a table and as one JSON document."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from simcluster.calibrate.runs.cases import Case
from simcluster.calibrate.runs.simulated import Outcome, not_skipped

GROUPS: dict[str, Callable[[Case], str]] = {
    "engine": lambda case: case.backend or "-",
    "model": lambda case: case.model,
    "precision": lambda case: case.precision or "-",
    "parallelism": lambda case: f"tp{case.tp_size} pp{case.pp_size} ep{case.moe_ep_size}",
    "concurrency": lambda case: str(case.concurrency),
}
"""Keys by which cases are grouped."""

KEYS = ("median_abs_err_pct", "mean_abs_err_pct", "p90_abs_err_pct", "bias_pct")


def statistics(errors: Sequence[float]) -> dict[str, Any]:
    """Find median, mean and 90th percentile of sizes of relative errors, and their median with sign, in percent."""
    found = np.array([error for error in errors if np.isfinite(error)])
    if not len(found):
        return {"cases": 0, **dict.fromkeys(KEYS)}
    sizes = np.abs(found)
    values = (np.median(sizes), sizes.mean(), np.quantile(sizes, 0.9), np.median(found))
    return {
        "cases": len(found),
        **{key: round(100 * float(value), 3) for key, value in zip(KEYS, values, strict=True)},
    }


def document(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Make the JSON document of a set of cases; `ttft` excludes the runs that waited for admission."""
    shown = not_skipped(outcomes)
    return {
        "cases": len(shown),
        "skipped": [f"line {o.case.line}, {o.case.title}: {o.skipped}" for o in outcomes if o.skipped],
        "tpot": statistics([o.tpot_error for o in shown]),
        "ttft": statistics([o.ttft_error for o in shown if not o.case.queueing]),
        "ttft_with_queueing": statistics([o.ttft_error for o in shown]),
        "groups": {name: dict(_grouped(shown, key)) for name, key in GROUPS.items()},
        "rows": [row(outcome) for outcome in shown],
    }


def row(outcome: Outcome) -> dict[str, Any]:
    """Make the row of a case: measured, simulated, relative error."""
    case = outcome.case
    return {
        "line": case.line, "id": case.id, "system": case.system, "backend": case.backend, "model": case.model,
        "precision": case.precision, "tp_size": case.tp_size, "pp_size": case.pp_size,
        "moe_ep_size": case.moe_ep_size, "isl": case.isl, "osl": case.osl, "concurrency": case.concurrency,
        "queueing": case.queueing, "in_fitted_range": outcome.in_range,
        "ttft_ms": _rounded(case.ttft_ms), "predicted_ttft_ms": _rounded(outcome.ttft_ms),
        "ttft_err_pct": _rounded(100 * outcome.ttft_error),
        "tpot_ms": _rounded(case.tpot_ms), "predicted_tpot_ms": _rounded(outcome.tpot_ms),
        "tpot_err_pct": _rounded(100 * outcome.tpot_error),
    }  # fmt: skip


def _rounded(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None


def _grouped(outcomes: Iterable[Outcome], key: Callable[[Case], str]) -> Iterable[tuple[str, dict[str, Any]]]:
    groups: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(key(outcome.case), []).append(outcome)
    for name in sorted(groups, key=lambda text: (len(text), text) if text.isdigit() else (0, text)):
        members = groups[name]
        yield (
            name,
            {
                "tpot": statistics([o.tpot_error for o in members]),
                "ttft": statistics([o.ttft_error for o in members if not o.case.queueing]),
            },
        )


def summary_rows(found: dict[str, Any]) -> Iterable[tuple[str, ...]]:
    """Write the errors of `document` as text: a row for all, and one for each group if its kind has several."""
    yield "all", *_cells(found["tpot"]), *_cells(found["ttft"])
    for kind, groups in found["groups"].items():
        if len(groups) > 1:
            for name, errors in groups.items():
                yield f"{kind} {name}", *_cells(errors["tpot"]), *_cells(errors["ttft"])


def _cells(errors: dict[str, Any]) -> tuple[str, ...]:
    values = ("-" if errors[key] is None else f"{errors[key]:+.1f}" if key == "bias_pct" else f"{errors[key]:.1f}"
              for key in KEYS)  # fmt: skip
    return (str(errors["cases"]), *values)


HEADER = (
    "",
    *(f"{name} {column}" for name in ("TPOT", "TTFT") for column in ("cases", "median", "mean", "p90", "bias")),
)
"""Header of `summary_rows`."""
