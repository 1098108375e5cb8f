"""
How busy each link was over a run: bytes of exchanges within stages and of sends between them, over what it can carry.

The trace has no bytes, but they follow from the tokens of a step, so they are added up afterwards. Every prompt
counts at the step of its first token. Left out: what was done again after a preemption or a failure, weights that are
streamed, transfers of other tenants, chosen tokens on their way back, and detours around links that were cut.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from math import fsum

import numpy as np

from simcluster.plans.planner import Planner
from simcluster.results.read_run import RunFolder
from simcluster.scenario.network import network
from simcluster.topology.model import Topology

_SIZES_PER_OCTAVE = 16
"""Steps whose tokens differ by less than that take one algorithm and are added up together."""

_MOST_STEPS = 2**40
"""Of a replica."""


def link_use(runs: Sequence[RunFolder], topology: Topology) -> dict[tuple[str, str], float] | None:
    """
    Of each directed link that was used, the share of its bandwidth over all of a run; the mean of several.

    Args:
        runs: one run, or replications.
        topology: on which they ran.

    Returns:
        By the ends of the link, the sender first. None where the graph has no way for an exchange.

    Raises:
        InputError: the resolved scenario of a run is not there, or cannot be used any more.
    """
    found = [one for run in runs if (one := _of_run(run, topology)) is not None]
    if len(found) < len(runs):
        return None
    used = dict.fromkeys(link for one in found for link in one)
    return {link: fsum(one.get(link, 0.0) for one in found) / len(runs) for link in used}


def _of_run(run: RunFolder, topology: Topology) -> dict[tuple[str, str], float] | None:
    scenario = run.scenario()
    if scenario.network is None:
        scenario = scenario.model_copy(update={"network": network(topology, scenario.replicas, needed=True)})
    planner = Planner(scenario)
    n_bytes: dict[tuple[str, str], float] = {}
    try:
        for replica, n_steps, n_tokens, n_outputs in _steps(run):
            for link, of_step in planner.link_bytes(replica, n_tokens / n_steps, n_outputs / n_steps).items():
                n_bytes[link] = n_bytes.get(link, 0.0) + of_step * n_steps
    except ValueError:  # no way, or no switch that adds: the fits were enough for the run
        return None
    capacities = planner.built_bytes_per_s
    duration_s = float(run.summary["duration"])
    return {link: of_run / capacities[link] / duration_s for link, of_run in n_bytes.items()} if duration_s else {}


def _steps(run: RunFolder) -> Iterator[tuple[int, int, int, int]]:
    """Steps of about equal size: their replica, how many they are, and the sums of their tokens and outputs."""
    prompts = run.requests["prompt_tokens"]
    sums: Counter[tuple[int, int, int]] = Counter()
    for block in run.tokens(("request", "token", "replica", "step")):
        tokens = np.where(block["token"] == 0, prompts[block["request"]], 1)
        steps, places = np.unique(block["replica"] * _MOST_STEPS + block["step"], return_inverse=True)
        # A step that lies in two blocks counts as two small ones.
        of_step = np.bincount(places, tokens)
        outputs = np.bincount(places)
        sizes = np.rint(np.log2(of_step) * _SIZES_PER_OCTAVE).astype(np.int64)
        for replica, size, n_tokens, n_outputs in zip(steps // _MOST_STEPS, sizes, of_step, outputs, strict=True):
            key = (int(replica), int(size))
            sums[*key, 0] += 1
            sums[*key, 1] += int(n_tokens)
            sums[*key, 2] += int(n_outputs)
    for replica, size in sorted({key[:2] for key in sums}):
        yield replica, sums[replica, size, 0], sums[replica, size, 1], sums[replica, size, 2]
