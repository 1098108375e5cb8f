"""Explain a run folder, or replications, by their path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from simcluster.results.read_run import require_scenarios
from simcluster.results.replications import read_all
from simcluster.variance import explain as explanation
from simcluster.variance.explanation import explanation_as_json


def explain(folder: str | Path) -> dict[str, Any]:
    """
    Explain where the spread of latencies in a run comes from, or in several replications of it together.

    Args:
        folder: a run folder, or a folder of replications, as `simcluster replay` writes them.

    Returns:
        What `simcluster explain --json` prints: for each latency the mean path, the exact share of each component in
        the variance and in the tail, and the variance by level.

    Raises:
        InputError: it is not a run folder, it is damaged, or it was written by an older version.
    """
    runs = read_all(Path(folder))
    require_scenarios(runs)
    return explanation_as_json(explanation.explain(runs))
