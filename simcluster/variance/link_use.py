"""
The use of links over a run: bytes of exchanges within stages and of sends between them, over what a link can carry.

The trace has no bytes, but they follow from the tokens of a step, so they are added up afterwards. Every prompt
counts at the step of its first token. Left out: work repeated after a preemption or a failure, streamed weights,
transfers of other tenants, chosen tokens on their way back, and detours around links that were cut.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from math import fsum

from simcluster.plans.conditions import NORMAL_CONDITIONS
from simcluster.plans.links import Links, routes
from simcluster.plans.prices import Prices
from simcluster.results.read_run import RunFolder
from simcluster.scenario.network import network
from simcluster.scenario.placement import StageLayers
from simcluster.scenario.resolved import Scenario
from simcluster.topology.model import Topology
from simcluster.variance.steps import step_summary
from simcluster.work.op import ACTIVATION_BYTES, Collective, Linear


def link_use(runs: Sequence[RunFolder], topology: Topology) -> dict[tuple[str, str], float] | None:
    """
    Find the share of its bandwidth that each directed link used over a run, or in the mean of several runs.

    Args:
        runs: one run, or replications.
        topology: of the runs.

    Returns:
        By the ends of the link, the sender first; unused links are left out. None where the graph has no route for
        an exchange.

    Raises:
        InputError: the resolved scenario of a run does not exist, or is not usable any more.
    """
    found = [one for run in runs if (one := _of_run(run, topology)) is not None]
    if len(found) < len(runs):
        return None
    used = dict.fromkeys(link for one in found for link in one)
    return {link: fsum(one.get(link, 0.0) for one in found) / len(runs) for link in used}


def _of_run(run: RunFolder, topology: Topology) -> dict[tuple[str, str], float] | None:
    scenario = run.scenario()
    links = run.planner().links
    if links is None:
        graph = network(topology, scenario.replicas, needed=True)
        assert graph is not None
        links = Links(graph, routes(graph, scenario.topology), NORMAL_CONDITIONS)
    step_bytes = _StepBytes(scenario, links, run.planner().prices)
    n_bytes: dict[int, float] = {}
    try:
        for replica, n_steps, n_tokens, n_outputs in step_summary(run).sizes:
            for link, of_step in step_bytes.of(replica, n_tokens / n_steps, n_outputs / n_steps).items():
                n_bytes[link] = n_bytes.get(link, 0.0) + of_step * n_steps
    except ValueError:  # no route, or no switch that adds: the run itself needed the fits only
        return None
    duration_s, ends, built = run.summary["duration"], links.routes.links, links.routes.capacities_bytes_per_s
    return {ends[link]: n / built[link] / duration_s for link, n in n_bytes.items()} if duration_s else {}


class _StepBytes:
    """What the steps of a scenario's replicas put on its directed links as built; prices by the name of the pool."""

    def __init__(self, scenario: Scenario, links: Links, prices: Mapping[str, Prices]) -> None:
        self._scenario, self._links, self._prices = scenario, links, prices
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
        pool, replica = self._scenario.placed_replicas[number]
        links, stages, prices = self._links, replica.stages, self._prices[pool.name]
        found: dict[int, float] = {}
        sizes = {"tokens": n_tokens, "outputs": n_outputs}
        for place, stage in enumerate(stages):
            for (kind, form), count in self._exchanges(pool.name, stage.layers).items():
                for leg in prices.legs(links, stage.devices, kind, form.at(sizes)):
                    for link, share in links.loads_of(leg.collective, leg.fit.algorithm, leg.groups).items():
                        found[link] = found.get(link, 0.0) + count * leg.n_bytes * float(share)
            if stage.next_hop is not None:
                for ends in zip(stage.devices, stages[place + 1].devices, strict=True):
                    for link in links.route(*ends):
                        sent = n_tokens * pool.model.hidden * ACTIVATION_BYTES
                        found[link] = found.get(link, 0.0) + sent
        return found

    def _exchanges_of(self, pool: str, layers: StageLayers) -> Counter[tuple[Collective, Linear]]:
        """How often a stage of a pool has each exchange, by its kind and the form of its bytes."""
        ops = self._prices[pool].as_built(layers).all_ops
        return Counter((op.exchange, op.exchange_bytes) for op in ops if op.exchange)
