"""
Effect of expert routing on decode steps: distinct experts per layer, and the spread of step times.

    python docs/examples/routing.py

Prints the table of docs/noise.md: decode steps of several batch sizes on tensor-parallel H100 and H200, with
contexts of a thousand tokens and routing as the only noise, for several spreads of the experts' popularity.
"""
# ruff: noqa: T201

from __future__ import annotations

import numpy as np

from simcluster import load
from simcluster.catalog.shapes import layer_kinds
from simcluster.noise.experts import routings
from simcluster.plans.planner import Planner
from simcluster.work.batch import Batch

LAID_OUT = {
    "mixtral-8x7b": ["topology=h100-8", "deployment.tensor_parallel_size=2"],
    "deepseek-v3": ["topology=h200-8", "deployment.tensor_parallel_size=8", "deployment.weights=8 bit"],
}
SIGMAS = (0, 40, 80)
REQUESTS = (2, 8, 32, 128)
N_STEPS = 1000


def steps(model: str, sigma: int, n_requests: int) -> tuple[float, float]:
    """Mean number of experts touched in a layer, and standard deviation over mean of the time of a decode step."""
    world = f"noise={{preset: none, moe_routing: {{sigma: {sigma} %}}}}"
    scenario = load("llama-3.1-70b-8xh100", [f"model={model}", *LAID_OUT[model], world])
    plan, moe = Planner(scenario).plan(0), scenario.pools[0].model.moe
    assert not isinstance(plan, str)
    assert moe is not None
    (stage,) = plan.pipeline.stages
    n = n_requests
    batch = Batch(n, 1000 * n, 0, 0, 0, n, n)
    ticks = np.array([stage.service(step, batch, 0).ticks for step in range(N_STEPS)])
    layers = tuple(number for number, kind in enumerate(layer_kinds(scenario.pools[0].model)) if kind == "moe")
    touched = routings(scenario.pools[0].model.name, moe, sigma / 100, layers).touched(n)
    return float(touched.mean()), float(ticks.std() / ticks.mean())


def table() -> list[str]:
    """The rows of the page's table."""
    rows = []
    for model in LAID_OUT:
        for n in REQUESTS:
            found = [steps(model, sigma, n) for sigma in SIGMAS]
            touched = " / ".join(f"{count:.1f}" for count, _ in found)
            spread = " / ".join(f"{100 * cv:.2f} %" for _, cv in found)
            rows.append(f"| {model} | {n} | {touched} | {spread} |")
    return rows


if __name__ == "__main__":
    print("\n".join(table()))
