"""
How busy each link was over a run: bytes of exchanges within stages and of sends between them, over what it can carry.

The trace has no bytes, but they follow from the tokens of a step, so they are added up afterwards. Every prompt
counts at the step of its first token. Left out: what was done again after a preemption or a failure, weights that are
streamed, transfers of other tenants, chosen tokens on their way back, and detours around links that were cut.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from math import fsum

import numpy as np

from simcluster.plans.links import Links
from simcluster.plans.planner import Planner
from simcluster.plans.prices import Prices
from simcluster.results.read_run import RunFolder
from simcluster.scenario.network import network
from simcluster.scenario.placement import StageLayers
from simcluster.scenario.resolved import Scenario
from simcluster.topology.model import Topology
from simcluster.work.op import ACTIVATION_BYTES, Collective, Linear

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
    links = Planner(scenario).links
    assert links is not None
    step_bytes = _StepBytes(scenario, links)
    n_bytes: dict[int, float] = {}
    try:
        for replica, n_steps, n_tokens, n_outputs in _steps(run):
            for link, of_step in step_bytes.of(replica, n_tokens / n_steps, n_outputs / n_steps).items():
                n_bytes[link] = n_bytes.get(link, 0.0) + of_step * n_steps
    except ValueError:  # no route, or no switch that adds: the run itself needed the fits only
        return None
    duration_s, routes = run.summary["duration"], links.routes
    built = routes.capacities_bytes_per_s
    return {routes.links[link]: n / built[link] / duration_s for link, n in n_bytes.items()} if duration_s else {}


class _StepBytes:
    """What the steps of a scenario's replicas put on its directed links as built."""

    def __init__(self, scenario: Scenario, links: Links) -> None:
        self._scenario, self._links, self._prices = scenario, links, Prices(scenario)
        self._exchanges = cache(self._exchanges_of)

    def of(self, number: int, n_tokens: float, n_outputs: float) -> dict[int, float]:
        """
        Bytes by link of a step: exchanges within stages, and sends of every rank to its peer in the next stage.

        Args:
            number: of the replica.
            n_tokens: of the step, prompts included.
            n_outputs: those of them whose logits are computed.

        Raises:
            NoRoute: no route between ranks that exchange or send.
            ValueError: no switch joins ranks whose collective needs one.
        """
        links, stages = self._links, self._scenario.replicas[number].stages
        found: dict[int, float] = {}
        sizes = {"tokens": n_tokens, "outputs": n_outputs}
        for place, stage in enumerate(stages):
            for (kind, form), count in self._exchanges(stage.layers).items():
                for leg in self._prices.legs(links, stage.devices, kind, form.at(sizes)):
                    for link, share in links.loads_of(leg.collective, leg.fit.algorithm, leg.groups).items():
                        found[link] = found.get(link, 0.0) + count * leg.n_bytes * float(share)
            if stage.next_hop is not None:
                for ends in zip(stage.devices, stages[place + 1].devices, strict=True):
                    for link in links.route(*ends):
                        sent = n_tokens * self._scenario.model.hidden * ACTIVATION_BYTES
                        found[link] = found.get(link, 0.0) + sent
        return found

    def _exchanges_of(self, layers: StageLayers) -> Counter[tuple[Collective, Linear]]:
        """How often a stage has each exchange, by its kind and the form of its bytes."""
        ops = self._prices.as_built(layers).all_ops
        return Counter((op.exchange, op.exchange_bytes) for op in ops if op.exchange)


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
