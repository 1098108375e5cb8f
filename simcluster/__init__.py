"""
Discrete-event simulator of LLM inference clusters.

    import simcluster
    result = simcluster.simulate(simcluster.load("llama-3.1-8b-1xwse3"))
    result.summary["median_itl_ms"], result.tokens(), result.requests()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["load", "simulate"]

if TYPE_CHECKING:
    from simcluster.results.run import simulate
    from simcluster.scenario.load import load


def __getattr__(name: str) -> Any:
    """Import what is asked for only then, so that `--help` stays quick."""
    if name == "load":
        from simcluster.scenario.load import load

        return load
    if name == "simulate":
        from simcluster.results.run import simulate

        return simulate
    raise AttributeError(f"module 'simcluster' has no attribute '{name}'")
