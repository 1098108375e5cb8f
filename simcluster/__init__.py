"""
Discrete-event simulator of LLM inference clusters.

    import simcluster
    result = simcluster.simulate(simcluster.load("llama-3.1-8b-1xwse3"))
    result.summary["median_itl_ms"], result.tokens(), result.requests()
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Policies", "compare", "explain", "load", "simulate", "sweep"]

if TYPE_CHECKING:
    from simcluster.comparison.compare import compare
    from simcluster.policies.chosen import Policies
    from simcluster.results.run import simulate
    from simcluster.scenario.load import load
    from simcluster.sweeps.sweep import sweep
    from simcluster.variance.explain_folder import explain

_MODULES = {
    "Policies": "simcluster.policies.chosen",
    "compare": "simcluster.comparison.compare",
    "explain": "simcluster.variance.explain_folder",
    "load": "simcluster.scenario.load",
    "simulate": "simcluster.results.run",
    "sweep": "simcluster.sweeps.sweep",
}
"""The module of each public name. No part of the package may have such a name: importing it would rebind it."""


def __getattr__(name: str) -> Any:
    """Import what a public name stands for at its first use, so that `--help` stays quick."""
    if name not in _MODULES:
        raise AttributeError(f"module 'simcluster' has no attribute '{name}'")
    function = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return function


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
