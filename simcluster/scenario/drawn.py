"""Which sources of random numbers a scenario draws from, and which devices have streams of their own."""

from __future__ import annotations

from collections.abc import Iterator

from simcluster.noise.experts import varies
from simcluster.noise.sources import Noise, Source
from simcluster.scenario.resolved import Pool, Scenario
from simcluster.scenario.spec import DRAWN, OF_DEVICES

_SPREAD: dict[Source, tuple[str, ...]] = {
    "op_jitter": ("cv",),
    "arrival_skew": ("mean_s",),
    "small_messages": ("sigma", "shoulder", "tail"),
    "device_spread": ("compute", "memory", "outliers"),
    "drift": ("compute", "memory"),
    "clock_excursions": ("every_s",),
    "rare_stalls": ("every_s",),
    "host_pauses": ("every_s",),
}
"""Parameters of which one must be positive for a source to draw anything that matters."""
OF_COLLECTIVES = ("arrival_skew", "small_messages")
"""Sources that draw for ranks which meet, and nothing for a rank alone."""
_OF_GROUPS = ("op_jitter", "small_messages", "moe_routing", "rare_stalls")


def drawn_sources(scenario: Scenario) -> list[str]:
    """Which of `spec.DRAWN` a scenario draws from, in their order."""
    spec = scenario.requests_spec()
    drawn = {
        "arrivals": spec.arrivals is not None and spec.arrivals.kind not in ("single", "closed", "deterministic"),
        "prompt_tokens": spec.prompt_tokens is not None and spec.prompt_tokens.kind != "fixed",
        "output_tokens": spec.output_tokens is not None and spec.output_tokens.kind != "fixed",
        "spread": spec.spread_quantised,
    }
    for event in scenario.events:
        drawn[event.noise or "events"] = drawn.get(event.noise or "events", False) or event.mtbf_s is not None
    for source in OF_DEVICES:
        drawn[source] = any(_draws(pool, scenario.noise, source) for pool in scenario.pools)
    return [source for source in DRAWN if drawn.get(source)]


def devices_drawn(scenario: Scenario, source: str) -> list[str]:
    """Devices with a stream of this source: all, or the first of each stage or replica where they share one."""
    if source not in OF_DEVICES:
        return []
    return [
        name
        for pool in scenario.pools
        if _draws(pool, scenario.noise, source)
        for name in _devices_of_pool(pool, source)
    ]


def _draws(pool: Pool, noise: Noise, source: Source) -> bool:
    """Whether a source of devices draws anything that matters in a pool."""
    values = noise.values(source, pool.device.kind)
    if values is None:
        return False
    if source == "moe_routing":
        return varies(pool.model, pool.wafer is not None, pool.weight_stream is not None)
    is_needed = pool.n_ranks > 1 or source not in OF_COLLECTIVES
    return is_needed and any(values.get(name, 0) > 0 for name in _SPREAD[source])


def _devices_of_pool(pool: Pool, source: str) -> Iterator[str]:
    """Devices of a pool with a stream of this source."""
    for replica in pool.replicas:
        stages = [s for s in replica.stages if source != "moe_routing" or "moe" in s.layers.kinds]
        if source == "host_pauses":
            yield replica.stages[0].devices[0]
            continue
        for stage in stages:
            yield from stage.devices[:1] if source in _OF_GROUPS else stage.devices
